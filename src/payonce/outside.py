"""What is known from outside of a payment's history: the accounts, the routing rules, and which accounts may take nothing
new now. ``plan`` is told it as ``Facts``; everything else it reads from the history."""

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from .adapter import Capabilities
from .core import routing
from .core.due import Block, Facts
from .core.errors import Refused
from .core.idempotency import Details, NewPayment
from .core.payment import Attempt, Candidate, Mode, Payment
from .core.routing import Asked, Offer, Rules
from .core.verdict import unresolved
from .dispatch import Account
from .ports import Scope

SETTLE_S = Facts().settle_s
GONE = Block("it is not in this configuration")
TAKEN = Block(GONE.why, drained=True)  # for this payment's merchant: left in the way that seals what is under way there


def offer(name: str, mode: Mode, can: Capabilities) -> Offer:
    """What an account of an adapter can take."""
    return Offer(
        account=name,
        mode=mode,
        currencies=can.currencies,
        methods=can.methods,
        multiples=can.multiples,
        holds="capture" in can.steps and can.terms.readable,  # else nobody would see how a hold ends
    )


class Outside(Struct, frozen=True, kw_only=True):
    """See the module docstring."""

    accounts: Mapping[str, Account]
    rules: Rules = Rules()
    offers: dict[str, tuple[Account, Offer]] = field(default_factory=dict)  # by account, as long as it is the same

    def refusal(self, scope: Scope, request: NewPayment) -> Refused | None:
        """Why a new payment cannot be accepted: a sandbox token in live mode, or no account that may take it."""
        if scope.mode == "live" and request.details.payment_method.startswith("tok_"):
            return Refused("test_token_refused", "tok_* tokens belong to the sandbox.")
        found = self._route(scope, request, request.details)
        if found.taken:
            return None
        served = [a.name for a in self.accounts.values() if a.serves(scope.merchant_id, scope.mode)]
        if request.provider and request.provider not in served:  # its name is the caller's text: it is not repeated
            known = ", ".join(served) or "none"
            return Refused("no_route", f"The provider that it names is no account in {scope.mode} mode. Accounts: {known}.")
        plain = replace(request, capture_method="automatic")
        if request.capture_method == "manual" and self._route(scope, plain, request.details).taken:
            return Refused("capture_method_unsupported", "No account that may take this payment can hold money.")
        why = "; ".join(f"{c.account}: {c.why}" for c in found.candidates) or "no account is configured for this merchant"
        return Refused("no_route", f"No account can take it in {scope.mode} mode ({why}).")

    def facts(self, p: Payment, details: Details | None, blocked: Mapping[str, Block], *, hold: bool) -> Facts:
        """``details`` are needed until the first plan, which routes; then the route is frozen. ``hold``: after a restore,
        read and close, but fire nothing."""
        chosen = routing.Route(rule=p.rule, candidates=p.route)
        if not p.route and details is not None:
            chosen = self._route(Scope(p.merchant_id, p.mode), p, details)
        names = [c.account for c in chosen.candidates if c.taken]
        gone = {name: block for name in names if (block := self._away(p, name))}
        settle = [] if p.attempts else [self.accounts[name].terms.settle_s for name in names if name in self.accounts]
        # what a lost tail of a backup has sent
        look = [a.name for a in self.accounts.values() if a.terms.readable] if hold else []
        return Facts(
            rule=chosen.rule,
            route=chosen.candidates,
            settle_s=max(settle, default=SETTLE_S),
            blocked={**blocked, **gone} if gone else blocked,
            lost=frozenset([a.n for a in p.attempts if self.lost(p, a)]),
            hold=hold,
            look_first=frozenset(look),
            details=details,
        )

    def found(self, p: Payment, details: Details, account: str) -> Facts:
        """As ``facts`` under hold, for a payment whose next attempt was found at this account."""
        facts = self.facts(p, details, {}, hold=True)
        there = Candidate(account=account, why="found there after a restore")
        others = (c for c in facts.route if c.account != account)
        return replace(facts, found_at=account, route=(there, *others))

    def repointed(self, p: Payment) -> list[str]:
        """Accounts of unresolved attempts that are missing or point elsewhere now."""
        held = p.winner if p.status == "AUTHORIZED" else None
        return [a.account for a in p.attempts if (unresolved(a) or a.n == held) and self.lost(p, a)]

    def _away(self, p: Payment, account: str) -> Block | None:
        """Why nothing new of this payment goes to an account of its route: it is not there any more, for anybody or for its
        merchant. What is under way there is read, captured, closed and given back all the same."""
        now = self.accounts.get(account)
        if now is None or now.mode != p.mode:
            return GONE
        return None if now.serves(p.merchant_id, p.mode) else TAKEN

    def lost(self, p: Payment, a: Attempt) -> bool:
        """The account is missing or is another one now (other base URL, credential, adapter or mode)."""
        now = self.accounts.get(a.account)
        then = (a.base_url, a.credential_id, a.adapter, p.mode)
        return now is None or (now.base_url, now.credential_id, now.adapter.name, now.mode) != then

    def _route(self, scope: Scope, asking: Payment | NewPayment, details: Details) -> routing.Route:
        """What the rules of today say. Accounts that do not serve the merchant in this mode are not there at all: neither
        in the route, which is on record, nor in what is said of it."""
        asked = Asked(
            mode=scope.mode,
            merchant_id=scope.merchant_id,
            currency=asking.currency,
            amount_minor=asking.amount_minor,
            client_id=asking.client_id,
            method=details.payment_method_type,
            metadata=details.metadata,
            provider=asking.provider,
            manual=asking.capture_method == "manual",
        )
        merchant_id, mode = scope.merchant_id, scope.mode
        offers = [self._offer(a) for a in self.accounts.values() if a.serves(merchant_id, mode)]
        return routing.route(self.rules, asked, offers)

    def _offer(self, account: Account) -> Offer:
        """What it can take, made once: two routes of each payment ask."""
        known = self.offers.get(account.name)
        if known is None or known[0] is not account:
            known = self.offers[account.name] = (account, offer(account.name, account.mode, account.adapter.CAPABILITIES))
        return known[1]
