"""The steps of the live conformance suite, in order: what is asked of the vendor, and what must come of it by the terms that
the adapter declares. Each is named after what holds when it passes."""

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from payonce.adapter import (
    EXPONENTS,
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    Intent,
    Refunded,
    Refunding,
    RequiresAction,
    Succeeded,
    Unreadable,
    Voided,
    WebhookRefused,
    Window,
)

from .conformance import (
    OPEN,
    PAGES_MAX,
    SECOND_US,
    TAKEN,
    Charge,
    Planned,
    Vendor,
    amount,
    fail,
    require_money,
    told,
    tried,
)

GIVEN_BACK: Final = (Refunded, Refunding)
MONEY: Final = (Succeeded, Authorized, Captured)
NO_TOKEN: Final = "no payment method that succeeds was given: --token"  # noqa: S105 - no secret
NOTHING_PAID: Final = "nothing was paid before"
NO_CONTAINER: Final = "no container was made"
DECIDED_LATER: Final = (NOTHING_PAID, NO_CONTAINER)  # reasons to skip that a plan cannot know beforehand
EARLY_US: Final = 300 * SECOND_US  # the vendor's clock may differ from ours


class Suite:
    """The steps, and what they found on the way."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor, self.account, self.wanted = vendor, vendor.account, vendor.wanted
        self.terms = vendor.account.terms
        self.adapter: Any = vendor.account.adapter  # it may have more methods than every adapter has
        self.first = vendor.fresh(self.wanted.token)
        self.paid: Charge | None = None
        self.began_us = vendor.clock.now_us()
        facts = self.adapter.CAPABILITIES
        currency, places = self.wanted.currency, EXPONENTS[self.wanted.currency]
        unit = max(facts.multiples.get(currency, 1), 10 ** max(0, places - facts.exponents.get(currency, places)))
        self.part = max(unit, self.wanted.amount_minor // 2 // unit * unit)  # of the amount, as the vendor takes it
        self.least = unit

    def plan(self) -> Iterator[Planned]:
        """Every step, in order. Why one is skipped is known when its turn comes."""
        steps, t, token, no = self.vendor.steps, self.terms, self.wanted.token, self.wanted.decline_token
        container = "" if t.container else "this provider has no container"
        unread = "" if t.readable else "this provider cannot be asked by our reference"
        yield Planned("an unused reference shows nothing", unread, self.nothing_there)
        yield Planned("a container is made under our reference", container, self.create)
        yield Planned("the same create makes no second payable container", container, self.create_again)
        yield Planned("the same key with another amount makes nothing", container, self.create_other)
        yield Planned("our reference finds the container", container or unread or self._no_container(), self.lookup)
        yield Planned("a good payment method takes the money once", NO_TOKEN if not token else self._no_container(), self.pay)
        alone = "" if t.container or "replay" in steps else "neither key nor container protects a charge: none is sent twice"
        yield Planned("the same charge again takes nothing more", alone or self._unpaid(), self.pay_again)
        keyed = "" if "replay" in steps else "its charges have no idempotency key"
        yield Planned("the charge's key with another amount takes nothing", keyed or self._unpaid(), self.pay_other)
        yield Planned("a read shows one charge of this amount", self._unpaid(), self.read)
        refused = "no payment method that is declined was given: --decline-token"
        yield Planned("a bad payment method is declined in known words", "" if no else refused, self.decline)
        holds = "" if {"capture"} & steps and not (t.own_capture and not self._manual()) else "nothing is captured later here"
        yield Planned("a hold is captured", NO_TOKEN if not token else holds, self.capture)
        voids = "" if "void" in steps else "this provider lets nobody void: a hold lapses"
        yield Planned("a hold is voided", NO_TOKEN if not token else voids, self.void)
        closes = "" if t.closable else "its containers cannot be closed"
        yield Planned("a closed container shows as closed", closes, self.close)
        refunds = "" if "refund" in steps else "this provider gives nothing back"
        small = "" if self.part < self.wanted.amount_minor else "the amount is too small for a part of it"
        yield Planned("a part is given back", refunds or small or self._unpaid(), self.refund_part)
        replayed = "" if t.refund_replay_span_s else "refunds have no idempotency key here, so none is ever sent twice"
        yield Planned(
            "the same refund again gives nothing more", refunds or replayed or small or self._unpaid(), self.refund_again
        )
        yield Planned("the rest is given back", refunds or small or self._unpaid(), self.refund_rest)
        yield Planned("more than was taken is not given back", refunds or small or self._unpaid(), self.refund_more)
        yield Planned("a read shows every refund", refunds or small or self._unpaid(), self.refunds_shown)
        lists = "" if hasattr(self.adapter, "build_listing") else "this adapter lists nothing"
        yield Planned("a listing of these minutes has the charge", lists or self._unpaid(), self.listing)
        yield Planned("a webhook is verified, and a changed one refused", self._unheard(), self.webhook)

    def _unpaid(self) -> str:
        return "" if self.paid else NOTHING_PAID

    def _no_container(self) -> str:
        return NO_CONTAINER if self.terms.container and not self.first.container else ""

    def _manual(self) -> bool:
        """The merchant may capture later: the first request says so, or the vendor only ever holds."""
        return self.terms.own_capture or "capture" in self.vendor.steps

    def _unheard(self) -> str:
        if not hasattr(self.adapter, "verify_webhook"):
            return "this adapter hears no webhooks"
        if not self.adapter.webhook_secrets(self.account.credentials):
            return "the account has no webhook_secret"
        return "" if self.wanted.webhook else "no recorded webhook was given: --webhook-file"

    # --- creating -----------------------------------------------------------------------------------------------------

    async def nothing_there(self) -> str:
        seen = await self.vendor.ask(self.vendor.step(self.vendor.fresh(), "read"))
        if isinstance(seen, Unreadable):
            fail(f"the read was not answered as documented: {seen.reason}. Are the credentials right?")
        if isinstance(seen, Found) and (seen.tries or seen.container_id):
            fail(f"a reference that nobody used shows {told(seen)}")
        return told(seen)

    async def create(self) -> str:
        self.first = await self.vendor.created(self.first)
        return f"container {self.first.container} for {amount(self.first)}"

    async def create_again(self) -> str:
        fire = await self.vendor.created(self.vendor.fresh())
        again = await self.vendor.ask(self.vendor.step(replace(fire, container=""), "create"))
        if not isinstance(again, Created):
            return f"no second one: {told(again)}"
        if again.container == fire.container:
            return f"the same container {again.container}"
        if "replay" in self.vendor.steps or self.terms.keyed:
            fail(f"two containers under one key: {fire.container} and {again.container}")
        return f"another container {again.container}: creates are not deduplicated, so a second one is never fired"

    async def create_other(self) -> str:
        fire = await self.vendor.created(self.vendor.fresh())
        other = replace(fire, amount_minor=fire.amount_minor + 10 * self.least, container="")
        again = await self.vendor.ask(self.vendor.step(other, "create"))
        if isinstance(again, Created) and again.container == fire.container:
            fail(f"{again.container} was made for {amount(fire)}, and is taken for one of {amount(other)}")
        return f"not confused: {told(again)}"

    async def lookup(self) -> str:
        self._require_container()
        asked = replace(self.first, container="")
        seen = await self.vendor.look(asked, lambda s: isinstance(s, Found) and bool(s.container_id))
        if not isinstance(seen, Found) or seen.container_id != self.first.container:
            fail(f"{self.first.container} was made, and its reference shows {told(seen)}")
        return f"{seen.container_id}, {seen.container}"

    def _require_container(self) -> None:
        if self._no_container():
            fail(NO_CONTAINER)

    # --- paying -------------------------------------------------------------------------------------------------------

    async def pay(self) -> str:
        learned = await self.vendor.pay(self.first)
        if isinstance(learned, RequiresAction):
            fail(f"the customer has to act, and did not within {self.wanted.wait_s} s: give a longer --wait, and act")
        if not isinstance(learned, TAKEN):
            fail(f"the money should have been taken, and is not known to be: {told(learned)}")
        require_money(learned, self.first, self.first.amount_minor)
        self.paid = Charge(self.first, learned.ref)
        return f"{learned.ref} took {amount(self.first)}"

    async def pay_again(self) -> str:
        fire, ref = self._charge()
        kind: Any = "replay" if "replay" in self.vendor.steps else "fire"
        again = await self.vendor.ask(self.vendor.step(fire, kind))
        if isinstance(again, MONEY) and again.ref != ref:
            fail(
                f"the same charge was taken twice, as {ref} and as {again.ref}: replay_span_s and container promise that it "
                "cannot be. Give one of them back by hand."
            )
        await self._require_one(fire, ref)
        return f"still {ref} alone: {told(again)}"

    async def pay_other(self) -> str:
        fire, ref = self._charge()
        other = replace(fire, amount_minor=fire.amount_minor + 10 * self.least)
        again = await self.vendor.ask(self.vendor.step(other, "replay"))
        if isinstance(again, MONEY) and (again.ref != ref or again.amount_minor != fire.amount_minor):
            fail(f"{ref} took {amount(fire)}; its key with {amount(other)} got {told(again)}")
        return f"nothing taken: {told(again)}"

    async def read(self) -> str:
        fire, ref = self._charge()
        seen = await self._require_one(fire, ref)
        charge = tried(seen)
        require_money(charge, fire, fire.amount_minor)
        return told(charge)

    async def decline(self) -> str:
        fire = await self.vendor.created(self.vendor.fresh(self.wanted.decline_token))
        learned = await self.vendor.pay(fire)
        if not isinstance(learned, Declined):
            fail(f"should have been declined, and is {told(learned)}")
        final = "provisional" if learned.flips_until_us else "final"
        kind = "hard" if learned.hard else "soft"
        return f"{learned.vendor_code or 'no code'} means {learned.code}: {kind}, {learned.scope}, {final}"

    async def _require_one(self, fire: Intent, ref: str) -> AnyOutcome:
        """A read shows this charge, and no other that took money. Raises AssertionError."""
        if not self.terms.readable:
            return Absent()
        seen = await self.vendor.look(fire, lambda s: isinstance(tried(s), MONEY))
        money = [t for t in seen.tries if isinstance(t, Succeeded | Authorized)] if isinstance(seen, Found) else []
        if [t.ref for t in money] != [ref]:
            fail(f"one charge, {ref}, was made, and a read shows {', '.join(map(told, money)) or told(seen)}")
        return seen

    def _charge(self) -> tuple[Intent, str]:
        if self.paid is None:
            fail(NOTHING_PAID)
        return self.paid.intent, self.paid.ref

    # --- holding ------------------------------------------------------------------------------------------------------

    async def _held(self) -> tuple[Intent, Authorized]:
        fire = await self.vendor.created(self.vendor.fresh(self.wanted.token, manual=True))
        learned = await self.vendor.pay(fire)
        if not isinstance(learned, Authorized):
            fail(f"the money should be held and not taken, and is {told(learned)}")
        require_money(learned, fire, fire.amount_minor)
        return fire, learned

    async def capture(self) -> str:
        fire, held = await self._held()
        wanted = self.part if self.adapter.CAPABILITIES.partial_capture else fire.amount_minor
        taken = await self.vendor.capture(fire, held, wanted)
        if not isinstance(taken, TAKEN):
            fail(f"{amount(fire, wanted)} of the hold should have been taken: {told(taken)}")
        require_money(taken, fire, wanted)
        return f"{taken.ref} took {amount(fire, wanted)} of {amount(fire)}"

    async def void(self) -> str:
        fire, held = await self._held()
        learned = await self.vendor.ask(self.vendor.step(fire, "void", provider_ref=held.ref))
        if isinstance(learned, MONEY):
            fail(f"the hold should have been released, and is {told(learned)}")
        seen = await self.vendor.look(fire, _gone)
        if not _gone(seen):
            fail(f"the void was answered with {told(learned)}, and a read still shows {told(tried(seen))}")
        return f"released: {told(learned)}; a read shows {told(tried(seen))}"

    async def close(self) -> str:
        fire = await self.vendor.created(self.vendor.fresh())
        learned = await self.vendor.ask(self.vendor.step(fire, "close"))
        if isinstance(learned, Closed) and learned.container != fire.container:
            fail(f"{fire.container} was to be closed, and {learned.container} was")
        seen = await self.vendor.look(fire, lambda s: isinstance(s, Found) and s.container == "closed")
        if not isinstance(seen, Found) or seen.container != "closed":
            fail(f"the close was answered with {told(learned)}, and a read shows {told(seen)}")
        return f"{fire.container} is closed"

    # --- giving back --------------------------------------------------------------------------------------------------

    def _refund(self, operation: int, minor: int) -> Intent:
        fire, ref = self._charge()
        return self.vendor.step(fire, "refund", operation=operation, provider_ref=ref, refund_minor=minor)

    async def _give(self, about: Intent) -> Refunded | Refunding:
        learned = await self.vendor.ask(about)
        if isinstance(learned, OPEN):
            seen = await self.vendor.look(replace(about, kind="read"), lambda s: about.refund_reference in _refunds(s))
            learned = _refunds(seen).get(about.refund_reference, learned)
        if not isinstance(learned, GIVEN_BACK):
            fail(f"{amount(about, about.refund_minor)} should have been given back: {told(learned)}")
        said = (learned.reference, learned.amount_minor, learned.currency)
        if said != (about.refund_reference, about.refund_minor, about.currency):
            fail(f"{amount(about, about.refund_minor)} under {about.refund_reference} was asked, and it says {told(learned)}")
        return learned

    async def refund_part(self) -> str:
        return told(await self._give(self._refund(2, self.part)))

    async def refund_again(self) -> str:
        first = self._refund(2, self.part)
        again = await self.vendor.ask(first)
        seen = await self._shown(first)
        if isinstance(again, GIVEN_BACK) and again.ref != seen.ref:
            fail(f"given back twice under one reference: {seen.ref} and {again.ref}")
        return f"still {seen.ref} alone: {told(again)}"

    async def refund_rest(self) -> str:
        return told(await self._give(self._refund(3, self._charge()[0].amount_minor - self.part)))

    async def refund_more(self) -> str:
        learned = await self.vendor.ask(self._refund(4, self.least))
        if isinstance(learned, GIVEN_BACK):
            fail(f"everything was given back already, and more was: {told(learned)}")
        return told(learned)

    async def refunds_shown(self) -> str:
        whole = self._charge()[0].amount_minor
        shown = [await self._shown(self._refund(n, minor)) for n, minor in ((2, self.part), (3, whole - self.part))]
        return "; ".join(told(each) for each in shown)

    async def _shown(self, about: Intent) -> Refunded | Refunding:
        """The refund as a read shows it, once. Raises AssertionError."""
        read = self.vendor.step(about, "read", refund_reference=about.refund_reference)
        seen = await self.vendor.look(read, lambda s: about.refund_reference in _refunds(s))
        ours = [r for r in seen.refunds if r.reference == about.refund_reference] if isinstance(seen, Found) else []
        if len(ours) != 1 or not isinstance(ours[0], GIVEN_BACK):
            fail(f"the refund {about.refund_reference} was made once: a read shows {', '.join(map(told, ours)) or told(seen)}")
        if ours[0].amount_minor != about.refund_minor:
            fail(f"{amount(about, about.refund_minor)} was given back, and a read shows {told(ours[0])}")
        return ours[0]

    # --- listing and hearing ------------------------------------------------------------------------------------------

    async def listing(self) -> str:
        fire, ref = self._charge()
        until_us, pause_s = self.vendor.clock.now_us() + self.wanted.wait_s * SECOND_US, 2
        while True:
            found, pages = await self._listed()
            if ref in found:
                if found[ref] != fire.reference:
                    fail(f"{ref} is listed under {found[ref]!r}, not under our reference {fire.reference!r}")
                return f"{ref} under {fire.reference}, among {len(found)} on {pages} pages"
            if self.vendor.clock.now_us() + pause_s * SECOND_US > until_us:
                fail(f"{ref} took money, and {len(found)} charges on {pages} pages are listed without it")
            await self.vendor.clock.sleep(pause_s)

    async def _listed(self) -> tuple[dict[str, str], int]:
        """Everything of these minutes: the provider's id -> our reference, and how many pages that were."""
        window = Window(from_us=self.began_us - EARLY_US, before_us=self.vendor.clock.now_us() + EARLY_US)
        found: dict[str, str] = {}
        for number in range(1, PAGES_MAX + 1):
            page = await self.vendor.list(window)
            if isinstance(page, Unreadable):
                fail(f"page {number} of the listing cannot be read: {page.reason}")
            found |= {t.ref: t.reference for t in page.tries if not isinstance(t, OPEN) or isinstance(t, RequiresAction)}
            if not page.next:
                return found, number
            window = replace(window, cursor=page.next)
        return found, PAGES_MAX

    async def webhook(self) -> str:
        came, adapter = self.wanted.webhook, self.adapter
        if came is None:
            fail("no recorded webhook was given")
        secrets = adapter.webhook_secrets(self.account.credentials)
        middle = len(came.body) // 2
        changed = came.body[:middle] + bytes([came.body[middle] ^ 1]) + came.body[middle + 1 :] if came.body else b"{}"
        try:
            adapter.verify_webhook(came.headers, came.body, secrets, came.at_us)
            event = adapter.parse_webhook(came.headers, came.body)
        except WebhookRefused as refusal:
            raise AssertionError(
                f"the webhook of the file is refused: {refusal}. Was it changed, or has the secret?"
            ) from refusal
        for says, body, good in (("a changed byte", changed, secrets), ("no secret", came.body, ())):
            try:
                adapter.verify_webhook(came.headers, body, good, came.at_us)
            except WebhookRefused:
                continue
            fail(f"the webhook is taken for genuine with {says}")
        ours, theirs = ", ".join(event.references), ", ".join(event.refs)
        return f"event {event.id}, {event.kind}: ours {ours or 'none'}, theirs {theirs or 'none'}"


def _gone(seen: AnyOutcome) -> bool:
    """No money is held or taken, by what a read shows."""
    one, closed = tried(seen), isinstance(seen, Found) and seen.container == "closed"
    return isinstance(one, Declined | Voided) or (closed and not isinstance(one, MONEY))


def _refunds(seen: AnyOutcome) -> dict[str, Any]:
    return {each.reference: each for each in seen.refunds} if isinstance(seen, Found) else {}
