"""What the demo stands on: the accounts and rules of this configuration. Own accounts and rules take part in it."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from payonce.accounts import SANDBOX_URL, offers_of
from payonce.config import Settings
from payonce.core.routing import Asked, route
from payonce.merchants import DEFAULT_MERCHANT
from payonce.providers import load_adapters

HOME: Final = "INR"  # the currency whose first account has the outage
ABROAD: Final = "USD"  # the currency in which the threshold is tried


class Ground(Struct, frozen=True, kw_only=True):
    """``lead`` is where HOME goes first; its vendor has the outage. ``named`` is an account that a payment in EUR names:
    where several take it, the last one."""

    vendors: Mapping[str, str]  # account -> adapter, whose name the simulator has in the ledger too
    lead: str
    named: str
    threshold_minor: int  # of ABROAD

    @property
    def vendor(self) -> str:
        """Who has the outage."""
        return self.vendors.get(self.lead, "")

    def title(self, vendor: str) -> str:
        """The accounts of a vendor, for people."""
        return ", ".join(name for name, its in self.vendors.items() if its == vendor) or vendor


def ground_of(settings: Settings) -> Ground:
    """Raises ConfigError when an adapter is not installed."""
    offers = offers_of(settings.providers, load_adapters())
    vendors = {p.name: p.adapter for p in settings.providers if p.mode == settings.mode}

    def ways(currency: str, amount_minor: int) -> list[str]:
        asked = Asked(mode=settings.mode, currency=currency, amount_minor=amount_minor, merchant_id=DEFAULT_MERCHANT)
        return [c.account for c in route(settings.rules, asked, offers).taken]

    return Ground(
        vendors=vendors,
        lead=next(iter(ways(HOME, 1050)), ""),
        named=next(reversed(ways("EUR", 4200)), ""),
        threshold_minor=settings.rules.high_value_minor.get(ABROAD, settings.rules.high_value_default_minor),
    )


def elsewhere(settings: Settings) -> str:
    """The first account that leads out of the sandbox, or nothing: the demo's tokens and ledger exist only there."""
    ours = (p for p in settings.providers if p.mode == settings.mode)
    return next((p.name for p in ours if not p.base_url.startswith(SANDBOX_URL)), "")
