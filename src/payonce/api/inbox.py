"""What providers sent, for whoever runs payonce: webhooks newest first, one with what of it may be shown, and another look
for its payment. A webhook is a hint: nothing here moves money, what is found is read at its provider."""

from typing import Any, Final, cast, get_args

import msgspec

from payonce.core.errors import FieldError, Refused
from payonce.inbox import replay
from payonce.mail import Webhook, WebhookState
from payonce.shown.house_bodies import REASON_CHARS_MAX
from payonce.shown.inbox_bodies import InboxPage, inbox_body, webhook_body
from payonce.shown.views import provider_body

from .fields import Fields, small_body
from .house import House, require_house, there
from .incoming import BODY_S, Query, Request
from .payments import NO_STORE
from .problems import Answer

INBOX_LIMIT, INBOX_LIMIT_MAX = 20, 100
WEBHOOK_STATES: Final[tuple[WebhookState, ...]] = get_args(WebhookState)

_encode: Any = msgspec.json.Encoder().encode


class InboxDoor:
    """The handlers."""

    def __init__(self, house: House | None, *, body_s: float = BODY_S) -> None:
        self._given, self._body_s = house, body_s

    async def list(self, request: Request) -> Answer:
        require_house(request)
        query = Query(request, ("state", "account", "cursor", "limit"))
        said = query.choice("state", WEBHOOK_STATES, f"must be one of {', '.join(WEBHOOK_STATES)}")
        account, cursor = query.text("account"), query.text("cursor")
        limit = query.number("limit", 1, INBOX_LIMIT_MAX, INBOX_LIMIT)
        query.check()
        state = cast("WebhookState | None", said)
        try:
            page = await self._house.inbox.list(limit, state=state, account=account, cursor=cursor)
        except ValueError:
            raise no_cursor() from None
        return Answer(200, _encode(InboxPage([inbox_body(w) for w in page.webhooks], page.next)), headers=NO_STORE)

    async def get(self, request: Request) -> Answer:
        require_house(request)
        Query(request).check()
        return self._shown(await self._one(request))

    async def replay(self, request: Request) -> Answer:
        """On the journal first. Due now, with all its tries before it, whatever became of it."""
        require_house(request)
        fields = ReasonFields(await small_body(request, self._body_s), ("reason",))
        Query(request).check()
        reason = fields.reason("reason")
        fields.check()
        w, house = await self._one(request), self._house
        await house.journal.write(
            "webhook.replayed",
            w.id,
            actor=request.actor,
            mode=request.caller.scope.mode,
            request_id=request.request_id,
            data={"reason": reason, "account": w.account, "was": w.state},
        )
        if not await replay(house.inbox, w.id, house.clock.now_us()):
            raise _unknown()
        if house.wake is not None:
            house.wake.send(w.id)
        return self._shown(await self._one(request), status=202)

    @property
    def _house(self) -> House:
        return there(self._given)

    async def _one(self, request: Request) -> Webhook:
        found = await self._house.inbox.get(request.path_value("id"))
        if found is None:
            raise _unknown()
        return found

    def _shown(self, w: Webhook, *, status: int = 200) -> Answer:
        """With what its adapter shows of it; without the adapter, nothing."""
        account = self._house.accounts.get(w.account)
        body = provider_body(account.adapter if account else None, w.body)
        return Answer(status, _encode(webhook_body(w, body)), headers=NO_STORE)


class ReasonFields(Fields):
    """With a reason: what every action of a person is put on record with."""

    def reason(self, name: str, *, required: bool = True) -> str:
        """On one line; "" when it is not needed and not there."""
        given = self.text(name, REASON_CHARS_MAX)
        if required and not (given or "").strip() and not self.errors:
            self.bad(name, f"must say why, in 1 to {REASON_CHARS_MAX} characters: it is put on record")
        return (given or "").strip()


def no_cursor() -> Refused:
    rule = "is not a cursor of this listing"
    return Refused("validation_failed", f"cursor {rule}.", (FieldError("cursor", rule),))


def _unknown() -> Refused:
    return Refused("not_found", "There is no such webhook.")
