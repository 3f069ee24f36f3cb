"""/return/{reference}: where a provider sends the customer's browser after an action. Nothing that comes with it is believed
or passed on: the payment is read at its provider, and the customer goes on to the address that the merchant stored."""

from html import escape
from typing import Final

from payonce.core import ids
from payonce.core.errors import StoreUnavailable
from payonce.core.payment import Mode, Payment
from payonce.engine import Engine
from payonce.telemetry import get_logger

from .incoming import Request
from .problems import Answer, NoSuchPath

ACTOR: Final = "return"  # without the address: it is the customer's, and the history is never erased
READS_MAX: Final = 40  # of an attempt: whoever knows the address could ask for reads without end
OPEN: Final = frozenset({"PENDING", "REQUIRES_ACTION", "IN_DOUBT"})
HTML: Final = b"text/html; charset=utf-8"

log = get_logger("api")


class ReturnDoor:
    """The handler. A browser brings no key: the reference itself, which only the payment's provider and its customer got, is
    what opens, whatever merchant the payment is of. ``mode`` is the server's: payments of the other one are not there."""

    def __init__(self, engine: Engine, mode: Mode) -> None:
        self.engine, self.mode = engine, mode

    async def back(self, request: Request) -> Answer:
        """On to the merchant, or a page that says that all is done. Raises NoSuchPath for a reference that is none of an
        attempt here. A body is not read."""
        p = await self._found(request.path_value("reference"))
        if request.scope["method"] != "HEAD":
            await self._hint(p)
        to = (await self.engine.details(p)).return_url
        if not to:
            return Answer(200, _page("You can close this window", "The shop is told how the payment ends."), HTML)
        url = on_to(to, p.id)
        link = f'<a href="{escape(url)}">Back to the shop</a>'
        return Answer(303, _page("Back to the shop", link), HTML, ((b"location", url.encode("ascii")),))

    async def _found(self, reference: str) -> Payment:
        payment_id = ids.payment_of(reference)
        p = await self.engine.store.get(payment_id) if payment_id else None
        if p is None or p.mode != self.mode or not any(a.reference == reference for a in p.attempts):
            raise NoSuchPath
        return p

    async def _hint(self, p: Payment) -> None:
        """Have it read now and not at its next due time, if there is anything to learn. What goes wrong here costs time only:
        it is no reason to keep the customer."""
        reads = max(sum(s.kind == "read" for s in a.steps) for a in p.attempts)
        if p.status not in OPEN or reads >= READS_MAX:
            return
        try:
            await self.engine.ingest(p.id, actor=ACTOR)
        except StoreUnavailable as error:
            log.warning("a customer came back, the store took no note of it", payment_id=p.id, error=str(error))


def on_to(url: str, payment_id: str) -> str:
    """The merchant's address with the payment in its query; what stands there already is kept."""
    front, hash_, fragment = url.partition("#")
    joint = "" if front[-1:] in ("?", "&") else "&" if "?" in front else "?"
    return f"{front}{joint}transactionId={payment_id}{hash_}{fragment}"


def _page(title: str, body: str) -> bytes:
    """``body`` is HTML already."""
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
    return (
        f"<!doctype html><html lang='en'><head>{head}<title>{title}</title></head>"
        f"<body><main><h1>{title}</h1><p>{body}</p></main></body></html>\n"
    ).encode()
