"""POST /webhooks/{account}: a provider's webhook, raw. Verified and stored before it is answered; what it is about is found
and read afterwards. Nothing of a body is in an answer or a log."""

import asyncio
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import ClientDisconnect

from payonce.core.errors import Refused, StoreUnavailable
from payonce.inbox import Receiver
from payonce.mail import WEBHOOK_BYTES_MAX
from payonce.telemetry import get_logger

from .incoming import BODY_S, DRAINED_BYTES_MAX, Request, shown
from .problems import RETRY_AFTER_S, Answer, NoSuchPath, problem

SAID_CHARS_MAX: Final = 800  # of an error's text in the log
# The same where there is no such account: whose names those are is no stranger's to learn. The log says which it was.
REFUSED: Final = "It is not signed with a secret of an account of this name, or not fresh, or no event."
RETRY: Final = ((b"retry-after", b"%d" % RETRY_AFTER_S),)

log = get_logger("api")


class WebhookReceipt(Struct, frozen=True):
    """The webhook is kept, and what it is about will be read at its provider."""

    status: Annotated[Literal["stored"], Meta(description="Always `stored`.")]
    id: Annotated[
        str,
        Meta(
            description="Its id here, the same for every delivery: `payonce webhooks show ID`.",
            pattern="^wh_[0-9a-hjkmnp-tv-z]{20}$",
            examples=["wh_5t0c2d9e81b7a3460d1e"],
        ),
    ]
    repeated: Annotated[bool, Meta(description="It was here already, and is kept once.", examples=[False])]


class WebhookDoor:
    """See the module docstring. ``webhooks`` None: no account takes any here. A body must have come whole after ``body_s``
    seconds."""

    def __init__(self, webhooks: Receiver | None, *, body_s: float = BODY_S) -> None:
        self._webhooks, self._body_s = webhooks, body_s

    async def hear(self, request: Request) -> Answer:
        """Raises Refused (``webhook_refused``, ``webhook_too_large``, ``body_timeout``), NoSuchPath where none is taken at all,
        and ClientDisconnect."""
        body = await _read_raw(request, self._body_s)
        if self._webhooks is None:
            raise NoSuchPath
        try:
            stored = await self._webhooks.hear(request.path_value("account"), _headers(request), body)
        except StoreUnavailable as error:
            log.warning("the store took no webhook", request_id=request.request_id, said=str(error)[:SAID_CHARS_MAX])
            return problem(Refused("webhook_not_stored", "The store took no write."), request, headers=RETRY)
        except Refused as refused:
            if refused.code not in ("not_found", "webhook_refused"):
                raise
            if refused.code == "not_found":
                log.warning(
                    "webhook for no account", request_id=request.request_id, account=shown(request.path_value("account"))
                )
            raise Refused("webhook_refused", REFUSED) from None
        return Answer(200, msgspec.json.encode(WebhookReceipt("stored", stored.id, stored.repeated)))


def _headers(request: Request) -> dict[str, str]:
    """Names in lower case; what stands several times is joined, so that no reader can choose."""
    found: dict[str, list[str]] = {}
    for name, value in request.scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in found.items()}


async def _read_raw(request: Request, deadline_s: float) -> bytes:
    """The whole body, whatever its media type, as the bytes that came. Raises Refused and ClientDisconnect."""
    try:
        async with asyncio.timeout(deadline_s):
            chunks, size, more = list[bytes](), 0, True
            while more and size <= DRAINED_BYTES_MAX:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk, more = message.get("body", b""), message.get("more_body", False)
                size += len(chunk)
                if size <= WEBHOOK_BYTES_MAX:
                    chunks.append(chunk)
    except TimeoutError:
        raise Refused("body_timeout", f"The body was not complete after {deadline_s:g} seconds.") from None
    if size > WEBHOOK_BYTES_MAX:
        raise Refused("webhook_too_large", f"The body has more than {WEBHOOK_BYTES_MAX} bytes.")
    return b"".join(chunks)
