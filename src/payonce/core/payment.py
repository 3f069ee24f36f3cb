"""The payment: one merchant's intent, with everything that was tried for it. A pure fold of its events (apply.py).

Payment ─ operations (charge first, then what was asked later or what late truth demands: a reversal)
        └ attempts   (one provider account x one container, or one keyless try)
             └ steps (one intended provider call each; ``seq`` is its history seq and its fence)
"""

from typing import Literal

from msgspec import Struct

from .outcome import AnyOutcome

SCHEMA = 3  # of the stored payment and its events; older code that meets a newer row touches nothing

PaymentStatus = Literal["PENDING", "REQUIRES_ACTION", "AUTHORIZED", "SUCCESS", "FAILED", "CANCELED", "IN_DOUBT"]
OperationState = Literal["PENDING", "SUCCEEDED", "FAILED", "IN_DOUBT"]
StepKind = Literal["create", "fire", "replay", "read", "close", "capture", "void", "refund"]
Mode = Literal["test", "live"]
LateSuccess = Literal["refund", "accept"]

FINAL: frozenset[str] = frozenset({"SUCCESS", "FAILED", "CANCELED"})
MONEY_STEPS: frozenset[str] = frozenset({"fire", "replay", "capture"})
ATTEMPTS_MAX = 99
OPERATIONS_MAX = 99


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the machine must know of a provider account. Frozen into each attempt: newer code or configuration must
    not change the verdict on the past, so every field is stored, defaults too. Times are seconds unless the name says
    otherwise."""

    container: bool = False  # a repeatable, single-success object is created first, then fired
    closable: bool = False  # the container can be closed for good
    own_capture: bool = False  # firing only holds; the money needs our own capture step
    voidable: bool = False  # a hold can be given back by a step of its own; else it is left to lapse
    keyed: bool = False  # one idempotency key covers all sends of a fire
    replay_span_s: int = 0  # how long a keyed fire may be replayed, counted from the first send; 0 = never
    refund_replay_span_s: int = 0
    readable: bool = True  # can be asked by our reference
    processing_s: int = 30  # the vendor may still be working on a request this long after the send deadline
    read_lag_s: int = 5  # a read may miss what happened this recently
    call_timeout_ms: int = 10_000
    hold_s: int = 604_800  # how long a hold lasts where the provider does not say
    horizon_s: int = 86_400  # from the last fire: after it an unresolved attempt is IN_DOUBT
    watch_s: int = 345_600  # how long a final payment's tries are still read
    settle_s: int = 86_400  # how long a payment may look for a provider that takes it
    read_schedule_s: tuple[int, ...] = (1, 3, 10, 30, 120, 600, 3600)  # the last one repeats


class StoredRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The exact request of a step, committed before its first byte leaves (R2). The body lies beside the chain,
    here is its digest; credentials are added at send time by a pure function."""

    account: str
    mode: Mode
    credential_id: str
    base_url: str
    api_version: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body_sha256: str = ""


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One intended provider call. A step without outcome is the unknown: nothing is written when its lease ends."""

    seq: int  # its event's seq: the fence
    kind: StepKind
    owner: str  # nonce of the claiming worker
    at_us: int
    send_by_us: int  # past this the sender sends nothing
    lease_until_us: int
    key: str = ""
    request: StoredRequest | None = None  # reads have none
    outcome: AnyOutcome | None = None
    seen_at_us: int = 0

    @property
    def ended_us(self) -> int:
        """When waiting for this step ended: its answer, or the end of its lease."""
        return self.seen_at_us if self.outcome is not None else self.lease_until_us


class Hint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An unread claim (a webhook's). Only a read can turn it into evidence (R9)."""

    seq: int
    ref: str


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One provider account x one container (or one keyless try)."""

    n: int
    account: str
    adapter: str
    base_url: str
    credential_id: str
    reference: str
    terms: Terms
    why: str = ""  # why this account now, and not another one
    manual: bool = False  # the merchant captures: a hold is what was asked for
    action_expires_us: int = 0  # until then the customer may act, where a provider asks for it; 0 = nobody said
    steps: tuple[Step, ...] = ()
    container: str = ""  # the provider's id of it, written once
    handle_sha256: str = ""  # what opens it for whoever has it: beside the chain, under this digest
    hint: Hint | None = None
    left: bool = False  # recorded decision never to capture
    resolved: Literal["", "charged", "not-charged", "reversed"] = ""  # an operator's recorded decision,
    resolved_seq: int = 0  # its event,
    resolved_us: int = 0  # and time: what is read afterwards may contradict it


class Operation(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing asked of a payment. The charge's steps live in the attempts, the others carry their own."""

    n: int
    id: str
    kind: Literal["charge", "authorize", "capture", "void", "refund", "reversal"]
    amount_minor: int
    at_us: int
    state: OperationState = "PENDING"
    reason: str = ""
    attempt: int = 0  # the charge it works on
    reference: str = ""
    idempotency_key: str = ""  # the merchant's; empty for what late truth demands
    steps: tuple[Step, ...] = ()


class Candidate(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One account that a route considered, with the why. Those not ``taken`` are there to be explained only."""

    account: str
    why: str
    taken: bool = True


class Payment(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """See the module docstring. ``version`` is the seq of the last event, ``head`` its hash."""

    id: str
    merchant_id: str
    mode: Mode
    amount_minor: int
    currency: str
    created_us: int
    updated_us: int
    schema: int  # stored always: the newest version among its events
    version: int = 0
    head: str = ""
    status: PaymentStatus = "PENDING"
    reason: str = ""
    attention: str = ""  # beside any status, when something still needs eyes
    capture_method: Literal["automatic", "manual"] = "automatic"
    late_success: LateSuccess = "refund"
    attempts_max: int = 3
    action_s: int = 0  # how long the customer may act at the provider
    client_id: str = ""
    provider: str = ""  # the account the merchant forced
    idempotency_key: str = ""
    details_sha256: str = ""  # customer data: payment method, description, metadata; lies beside the chain
    rule: str = ""  # the routing rule that chose
    route: tuple[Candidate, ...] = ()  # frozen at the first plan
    attempts: tuple[Attempt, ...] = ()
    operations: tuple[Operation, ...] = ()
    winner: int | None = None  # the attempt whose charge is kept; written once
    cancel_asked: bool = False
    provider_ref: str = ""
    authorized_minor: int = 0
    authorization_expires_us: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0

    @property
    def live(self) -> bool:
        """Only a live payment may send a money step."""
        return self.winner is None and self.status in ("PENDING", "REQUIRES_ACTION") and not self.cancel_asked

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts of the route, in order."""
        return tuple(c.account for c in self.route if c.taken)

    def steps(self) -> list[Step]:
        """All steps of all attempts and operations."""
        return [s for part in self.parts() for s in part.steps]

    def parts(self) -> tuple[Attempt | Operation, ...]:
        """What owns steps."""
        return (*self.attempts, *self.operations)

    def reversed_minor(self) -> int:
        """What was given back of surplus charges; it does not touch ``refunded_minor``."""
        return sum(o.amount_minor for o in self.operations if o.kind == "reversal" and o.state == "SUCCEEDED")
