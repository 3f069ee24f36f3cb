"""The routing rules as they are, and a dry run of changed ones over payments that were made: for whoever runs payonce. A dry
run stores and sends nothing; it says which account would have been asked first, not what would have become of a payment."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from payonce import dryrun
from payonce.accounts import EVERYBODY
from payonce.core.errors import ConfigError, FieldError, Refused
from payonce.core.routing import Offer
from payonce.dryrun import Tried, dry_run_body
from payonce.effective import rule_body
from payonce.outside import Outside, offer
from payonce.rules import high_value_in_words
from payonce.shown.routing_bodies import LAST_MAX, HighValueBody, OfferBody, RoutingBody

from .fields import Fields, small_body
from .house import House, require_house, there
from .incoming import BODY_S, Query, Request
from .payments import NO_STORE
from .problems import Answer, Later

LAST: Final = 1000  # payments of a dry run that says nothing else
RETRY_S: Final = 2

_encode: Any = msgspec.json.Encoder().encode


class RoutingDoor:
    """The handlers. One dry run at a time in a process: each reads up to 10,000 payments."""

    def __init__(self, house: House | None, *, body_s: float = BODY_S) -> None:
        self._given, self._body_s, self._running = house, body_s, False

    async def show(self, request: Request) -> Answer:
        require_house(request)
        Query(request).check()
        return Answer(200, _encode(routing_body(self._house, self._offers())), headers=NO_STORE)

    async def try_out(self, request: Request) -> Answer:
        require_house(request)
        fields = TextFields(await small_body(request, self._body_s), ("toml", "last"))
        Query(request).check()
        text, last = fields.toml("toml"), fields.number("last", 1, LAST_MAX, LAST)
        fields.check()
        if self._running:
            raise Later("over_capacity", "Another dry run is under way.", retry_after_s=RETRY_S)
        self._running = True
        try:
            tried = await self._tried(text)
            house = self._house
            present = Outside(accounts=house.accounts, rules=house.settings.rules)
            scope = request.caller.scope
            found = await dryrun.over_last(house.store, scope, present, tried.rules, last=last, clock=house.clock)
        finally:
            self._running = False
        return Answer(200, _encode(dry_run_body(found, tried)), headers=NO_STORE)

    @property
    def _house(self) -> House:
        return there(self._given)

    async def _tried(self, text: str) -> Tried:
        """In a thread: some texts take long to read."""
        try:
            return await asyncio.to_thread(dryrun.tried, text, self._house.settings, self._offers())
        except ConfigError as error:
            said = str(error)
            raise Refused("validation_failed", said, (FieldError("toml", said),)) from None

    def _offers(self) -> list[Offer]:
        return [offer(a.name, a.mode, a.adapter.CAPABILITIES) for a in self._house.accounts.values()]


class TextFields(Fields):
    """With a text of several lines."""

    def toml(self, name: str) -> str:
        """Needed. What is wrong within it is for the parser to say."""
        value = self._body.get(name)
        if not isinstance(value, str):
            self.bad(name, "must be a string: rules as payonce.toml has them")
            return ""
        return value


def routing_body(house: House, offers: Sequence[Offer]) -> RoutingBody:
    """The rules of the settings, with what is probably not meant in them."""
    settings = house.settings
    rules = settings.rules
    adapters = {p.name: p.adapter for p in settings.providers}
    return RoutingBody(
        origin=settings.rules_origin,
        rules=[rule_body(rule) for rule in rules.rules],
        high_value=HighValueBody(
            default=rules.high_value_default_minor,
            currencies=dict(rules.high_value_minor),
            origin=settings.high_value_origin,
            words=high_value_in_words(rules),
        ),
        accounts=[_offer_body(house, o, adapters.get(o.account, "")) for o in offers],
        warnings=dryrun.warnings_about(rules, settings, offers),
        toml=dryrun.toml_of(rules),
    )


def _offer_body(house: House, o: Offer, adapter: str) -> OfferBody:
    served = house.accounts[o.account].merchants
    return OfferBody(
        account=o.account,
        adapter=adapter or house.accounts[o.account].adapter.name,
        mode=o.mode,
        merchants=EVERYBODY if served is None else sorted(served),
        currencies=None if o.currencies is None else sorted(o.currencies),
        methods=None if o.methods is None else sorted(o.methods),
        holds=o.holds,
    )
