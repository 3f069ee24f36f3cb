"""The store contract, and the comparison with the model, over DynamoDB as the local emulator does it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.dynamodb.ground import Ground, ground

from payonce.ports import Store
from payonce.testing.store_contract import StoreContract
from payonce.testing.store_model import compare_with_model

_grounds: list[Ground] = []


@pytest.fixture(scope="module", autouse=True)
def _aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One emulator for all of them."""
    with ground(tmp_path_factory.mktemp("aws")) as made:
        _grounds.append(made)
        yield
        _grounds.clear()


class TestDynamo(StoreContract):
    async def open(self, folder: Path) -> Store:
        return await _grounds[0].store()

    def test_random_histories_equal_the_model(self) -> None:
        """After every step of any history every read answers what the model answers."""
        compare_with_model(self.open, examples=4, steps=12)
