"""The contract of ``payonce.ports.Store``, for every implementation: subclass, say how to open one, run with pytest.

    class TestMine(StoreContract):
        async def open(self, folder: Path) -> Store:
            return await my_store(folder / "pay.db")

The sentences in quotes are the port's own. ``store_model`` compares a store with the model step by step.
"""

from .store_contract_reads import ReadsContract
from .store_contract_writes import WritesContract


class StoreContract(WritesContract, ReadsContract):
    """All of it. Every test opens a store of its own."""
