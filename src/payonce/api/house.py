"""What concerns whoever runs payonce: provider accounts, workers, the inbox, rules, configuration, the journal. Most of it is
for callers of ``mer_default`` only; to any other merchant such a path is not there, as that of the sandbox is."""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from payonce.config import Settings
from payonce.dispatch import Account
from payonce.figures import Figures
from payonce.health import Health
from payonce.hold import Hold
from payonce.inbox import Receiver
from payonce.lanes import Lanes
from payonce.mail import Inbox, Outbox
from payonce.merchants import DEFAULT_MERCHANT, Merchants
from payonce.merchants.journal import Journal
from payonce.merchants.keys import Keyring
from payonce.ports import Clock, Registry, Store, Wake
from payonce.shown.house_bodies import DeadLetterList

from .incoming import Request
from .problems import NoSuchPath


class House(Struct, frozen=True, kw_only=True):
    """What the handlers of this kind read, put together by ``serving.house_of``. ``accounts`` and ``lanes`` are those of
    the engine."""

    store: Store
    registry: Registry
    inbox: Inbox
    outbox: Outbox
    figures: Figures
    accounts: Mapping[str, Account]
    health: Health
    lanes: Lanes
    hold: Hold
    merchants: Merchants
    keys: Keyring
    journal: Journal
    settings: Settings
    clock: Clock
    started_us: int  # when this process began to serve
    worker: bool = False  # one runs in this process
    receiver: Receiver | None = None  # None: no webhooks are taken here
    wake: Wake | None = None  # who is told of a webhook that is to be looked up again; None: the next look finds it
    trouble: Callable[[], Awaitable[str]] | None = None  # why the store takes no writes now; "" when it does
    dead_letters: Callable[[], Awaitable[DeadLetterList]] | None = None  # None: there is no such queue


def is_house(request: Request) -> bool:
    """The caller is of the merchant who runs this house."""
    return request.caller.scope.merchant_id == DEFAULT_MERCHANT


def require_house(request: Request) -> None:
    """Raises NoSuchPath for a caller of any other merchant: to them nothing is here."""
    if not is_house(request):
        raise NoSuchPath


def there(house: House | None) -> House:
    """The house. Raises NoSuchPath for an application that was made without one."""
    if house is None:
        raise NoSuchPath
    return house
