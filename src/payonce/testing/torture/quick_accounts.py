"""The shipped adapters with the short times of the sandbox, as providers of their own name: ``quick_mock`` and so on.

An account that points at a sandbox in another process has its adapter's own times: a vendor may work on a request for a
minute, so a lost one is sent again after a minute at the soonest. A torture has no such time, and its vendors do not need
it. They come in by the door of third-party providers: ``install`` writes what an installer would leave in a folder of
packages, and whoever has that folder in PYTHONPATH has them installed.
"""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from payonce.adapter import Adapter
from payonce.config import SANDBOX_TERMS
from payonce.providers import cashfree, mock, payu, razorpay, stripe

PREFIX = "quick_"
TIMES = {name: SANDBOX_TERMS[name] for name in ("processing_s", "read_lag_s", "read_schedule_s")}


class Quick:
    """Another adapter in everything but its name and its times."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter, self.name = adapter, PREFIX + adapter.name
        self.CAPABILITIES = replace(adapter.CAPABILITIES, terms=replace(adapter.CAPABILITIES.terms, **TIMES))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)


MOCK = Quick(mock.ADAPTER)
RAZORPAY = Quick(razorpay.ADAPTER)
CASHFREE = Quick(cashfree.ADAPTER)
STRIPE = Quick(stripe.ADAPTER)
PAYU = Quick(payu.ADAPTER)
ALL = {each.adapter.name: each for each in (MOCK, RAZORPAY, CASHFREE, STRIPE, PAYU)}


def install(folder: Path) -> None:
    """Make ``folder`` a folder of packages in which they are installed."""
    info = folder / "payonce_quick_accounts-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: payonce-quick-accounts\nVersion: 1\n", encoding="utf-8")
    points = [f"{each.name} = {__name__}:{name.upper()}" for name, each in ALL.items()]
    (info / "entry_points.txt").write_text("\n".join(["[payonce.providers]", *points, ""]), encoding="utf-8")
