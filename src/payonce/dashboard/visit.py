"""What a page is given and what it gives back. A page is one file in ``pages`` with a table ``PAGES`` of screens; a screen is a
path with a handler for reading and, where something can be done there, one for the form that it shows."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from payonce.merchants import DEFAULT_MERCHANT
from payonce.merchants.keys import Caller, KeyScope
from payonce.ports import Entropy

from .asking import Asker

KEY_BITS: Final = 128


class View(Struct, frozen=True):
    """A page: its template, and what it shows."""

    template: str
    data: Mapping[str, Any] = {}
    status: int = 200


class Redirect(Struct, frozen=True):
    """Go on at another page (303). ``path`` is below the dashboard, such as ``/payments/pay_...``. ``notice`` is shown there,
    once; ``tone`` is ok, bad or neutral."""

    path: str
    notice: str = ""
    tone: str = "ok"


class Download(Struct, frozen=True):
    """A file, sent as it comes. ``cut`` is its last part instead, when it took too long to send all of it."""

    media_type: str
    name: str
    parts: AsyncIterator[bytes]
    cut: bytes = b""


class Visit(Struct, frozen=True, kw_only=True):
    """One look at one page. ``query``, ``form`` and ``path`` hold the first value of each name."""

    caller: Caller
    ask: Asker
    query: Mapping[str, str]
    form: Mapping[str, str]
    path: Mapping[str, str]
    now_us: int
    url: str  # of this page, below the dashboard, with its query
    partial: bool  # a part of the page is asked for, by a region that keeps itself up to date
    region: str  # the id of that region, "" where it is not known
    api_url: str  # where programs reach the API, for commands to copy
    many: Mapping[str, tuple[str, ...]]  # of the form, or of the query where there is no form: every value of a name
    entropy: Entropy

    def may(self, scope: KeyScope) -> bool:
        """The caller may do what needs this scope."""
        return self.caller.may(scope)

    @property
    def house(self) -> bool:
        """The caller runs payonce: what concerns every merchant is theirs to see."""
        return self.caller.scope.merchant_id == DEFAULT_MERCHANT

    @property
    def mode(self) -> str:
        return self.caller.scope.mode

    def fresh_key(self) -> str:
        """An idempotency key for a hidden field: the form may be sent twice, and is done once."""
        return f"dashboard_{self.entropy.bits(KEY_BITS):032x}"


Handler = Callable[[Visit], Awaitable[View | Redirect | Download]]


class Screen(Struct, frozen=True):
    """One path below the dashboard. ``{name}`` stands for one part of it. ``needs``: the scope for both handlers. ``house``:
    for callers of the default merchant only. ``nav``: the entry of the menu that is lit."""

    path: str
    GET: Handler
    nav: str = ""
    POST: Handler | None = None
    needs: KeyScope = "payments:read"
    house: bool = False


class Tab(Struct, frozen=True):
    """An entry of the menu; those that the caller may not see are left out."""

    name: str
    path: str
    label: str
    needs: KeyScope = "payments:read"
    house: bool = False


TABS: Final = (
    Tab("overview", "/", "Overview"),
    Tab("payments", "/payments", "Payments"),
    Tab("attention", "/attention", "Needs attention"),
    Tab("providers", "/providers", "Providers"),
    Tab("declines", "/declines", "Declines"),
    Tab("routing", "/routing", "Routing", house=True),
    Tab("webhooks", "/webhooks", "Webhooks in", house=True),
    Tab("deliveries", "/deliveries", "Webhooks out", needs="admin"),
    Tab("workers", "/workers", "Queues & workers", house=True),
    Tab("settings", "/settings", "Keys & settings", needs="admin"),
    Tab("record", "/record", "Record", needs="admin", house=True),
)


def allowed(caller: Caller, needs: KeyScope, *, house: bool) -> bool:
    """The caller may see what needs this scope and, if so marked, is the house's business."""
    return caller.may(needs) and (not house or caller.scope.merchant_id == DEFAULT_MERCHANT)
