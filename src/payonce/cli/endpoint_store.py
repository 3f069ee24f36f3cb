"""What the commands about merchants' endpoints have in common: whose they are, and the store they lie in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from msgspec import Struct

from payonce.bootstrap import App, SystemClock, SystemEntropy, open_app
from payonce.core.errors import ConfigError, Refused
from payonce.merchants import DEFAULT_MERCHANT, Merchants
from payonce.merchants.journal import Journal
from payonce.outbound.courier import Courier
from payonce.outbound.endpoints import Endpoint, Endpoints
from payonce.ports import Clock, Registry, Scope

from . import NOT_FOUND
from .keys import no_merchant
from .options import Exit, Where, start_logging
from .output import clean
from .reading import require_store


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class At(Where):
    """Where the store is, and whose rows."""

    merchant: Annotated[str, Parameter(help="Whose they are: a merchant's id.")] = DEFAULT_MERCHANT

    @property
    def flag(self) -> str:
        """What leads another command to the same merchant, with a space before it."""
        return "" if self.merchant == DEFAULT_MERCHANT else f" --merchant {self.merchant}"

    async def scope(self, registry: Registry) -> Scope:
        """Whose rows. Ends the command for a merchant that is not on record."""
        if await Merchants(registry, SystemClock(), SystemEntropy()).get(self.merchant) is None:
            raise no_merchant(self.merchant)
        return Scope(self.merchant, self.settings().mode)


OWN = At()


class Open(Struct, frozen=True):
    """A store that is open to change endpoints, and whose."""

    app: App
    endpoints: Endpoints
    courier: Courier
    scope: Scope
    at: At

    async def one(self, id: str) -> Endpoint:
        """Ends the command for an id that is unknown or of somebody else."""
        found = await self.endpoints.get(self.scope, id)
        if found is None:
            raise unknown(self.at, id)
        return found


@asynccontextmanager
async def changing(at: At) -> AsyncIterator[Open]:
    """The store that is there. Raises ConfigError where no key is set from which secrets are made."""
    settings = at.settings()
    require_store(settings)
    start_logging(settings, least="error")
    async with open_app(settings) as app:  # nothing is advanced here, so no provider is called
        scope = await at.scope(app.store.registry)
        if app.endpoints is None or app.courier is None:
            raise ConfigError(
                "webhooks.signing_key is not set, so no endpoint can have a secret here. Nothing was changed. Name where the "
                "key lies: env:NAME, file:PATH, aws-secret:NAME or aws-ssm:NAME, the same for every process."
            )
        yield Open(app, app.endpoints, app.courier, scope, at)


def looking(registry: Registry, clock: Clock) -> Endpoints:
    """The endpoints of a store that is only read: no secret can be made."""

    def no_key() -> bytes:
        raise Refused("webhooks_unavailable", "The store is open to be read only.")

    return Endpoints(registry, clock, SystemEntropy(), Journal(registry, clock), no_key)


def unknown(at: At, id: str) -> Exit:
    return Exit(
        NOT_FOUND,
        f"payonce: {at.merchant} has no endpoint {clean(id)[:80]!r} here. Nothing was changed.\n"
        f"`payonce endpoints list{at.flag}` shows them; they belong to one merchant and mode each.",
    )
