"""Faults on demand. A payment-method token says what goes wrong (TOKENS), the fault profile what is wrong with the
whole vendor now. Both live in the ledger file, so every process sees the same faults and none repeats a "first time".

Vendors share this: ``decide`` says what to do, in no vendor's words.
"""

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from .ledger import Ledger

PAYMENT_CHARS: Final = 20  # the part of a reference that names the payment
HELD_S: Final = 15.0  # how long an answer that never comes is held, if the client does not give up sooner
LATE_S: Final = 10.0
SLOW_S: Final = 5.0
ACTS_S: Final = 3.0
HOLD_S: Final = 604_800  # seven days, as most issuers keep a hold
ACTION_S: Final = 1800  # how long the customer may act where nobody said
REFUND_S: Final = 3.0  # until a pending refund is done, or has failed
REFUND_LATE_S: Final = 5.0  # until a refund that was done fails after all

# What becomes of refunds, from harmless to worst: given back at once; pending first; pending and then failed; done, and
# failed afterwards; refused at once.
Refunds = Literal["plain", "pending", "pending_fail", "fail_later", "fail"]
_WORSE: Final = ("plain", "pending", "pending_fail", "fail_later", "fail")


class Profile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What is wrong with every vendor of the sandbox, or with one, at present. Put as a whole: what is left out is
    healthy."""

    latency_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0  # before the request is looked at
    error_rate: Annotated[float, Meta(ge=0, le=1)] = 0.0  # the fraction answered 500 before anything is booked
    outage: bool = False  # connections are dropped before anything is booked
    lookup_lag_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0  # lookups do not show what is younger
    key_window_s: Annotated[int, Meta(ge=0, le=86_400)] = 86_400  # how long answers are saved under idempotency keys
    hold_s: Annotated[int, Meta(ge=1, le=31 * 86_400)] = HOLD_S  # how long a hold lasts that is neither captured nor voided
    refunds: Refunds = "plain"  # what becomes of refunds that are asked for now
    # Of every delivery of a webhook that is announced now, to one endpoint:
    webhook_lose_rate: Annotated[float, Meta(ge=0, le=1)] = 0.0  # the fraction that is never sent
    webhook_double_rate: Annotated[float, Meta(ge=0, le=1)] = 0.0  # the fraction that is sent twice
    webhook_delay_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 0  # before the first send
    webhook_reorder_rate: Annotated[float, Meta(ge=0, le=1)] = 0.0  # the fraction held back, so that later ones overtake it


class Plan(Struct, frozen=True, kw_only=True):
    """What a vendor does with a charge, and how the answer goes wrong."""

    does: Literal["charge", "decline", "process", "act", "nothing"] = "charge"  # act: the customer has to, first
    answers: Literal["plainly", "never", "error", "garbage", "limited"] = "plainly"
    code: str = ""  # a normalised decline code
    extra_minor: int = 0  # charged on top of what was asked
    before_s: float = 0.0  # the time until it does it
    late_s: float = 0.0  # a decline that turns out to be a charge after this time; a customer who acts by himself then


_OK: Final = Plan()


def _decline(code: str, late_s: float = 0.0) -> Plan:
    return Plan(does="decline", code=code, late_s=late_s)


# token -> what happens at each send of a payment; the last one repeats
TOKENS: Final[dict[str, tuple[Plan, ...]]] = {
    "tok_ok": (_OK,),
    "tok_decline_insufficient_funds": (_decline("insufficient_funds"),),
    "tok_decline_stolen_card": (_decline("stolen_card"),),
    "tok_decline_do_not_honor": (_decline("do_not_honor"),),
    "tok_decline_expired_card": (_decline("expired_card"),),
    "tok_decline_processing_error": (_decline("processing_error"),),
    # a decline and then not: counted by reference, so by attempt and not by send
    "tok_decline_then_ok": (_decline("do_not_honor"), _OK),
    "tok_technical_then_ok": (_decline("processing_error"), _OK),
    "tok_not_enabled_then_ok": (_decline("configuration"), _OK),
    # counted by send: what was held up on its way may be taken after its repeat was declined
    "tok_decline_send_then_ok": (_decline("do_not_honor"), _OK),
    "tok_timeout_then_ok": (Plan(does="nothing", answers="never", before_s=HELD_S), _OK),
    "tok_lost_response": (Plan(answers="never"),),
    "tok_500_then_ok": (Plan(does="nothing", answers="error"), _OK),
    "tok_500_after_charge": (Plan(answers="error"),),
    "tok_garbage_response": (Plan(answers="garbage"),),
    "tok_slow_5s": (Plan(before_s=SLOW_S),),
    "tok_rate_limited": (Plan(does="nothing", answers="limited"), Plan(does="nothing", answers="limited"), _OK),
    "tok_wrong_amount": (Plan(extra_minor=100),),
    "tok_never_resolves": (Plan(does="process"),),
    # the same with a soft decline, and then not: so that there are two charges, and one too many
    "tok_late_then_ok": (_decline("do_not_honor", late_s=LATE_S), _OK),
    "tok_late_then_decline": (_decline("do_not_honor", late_s=LATE_S), _decline("do_not_honor")),
    "tok_late_success": (_decline("late_success_declined", late_s=LATE_S),),
    # the customer has to act at the vendor: on its page, or by himself after a while (then approving, or with the code)
    "tok_action": (Plan(does="act"),),
    "tok_action_ok": (Plan(does="act", late_s=ACTS_S),),
    "tok_action_decline": (Plan(does="act", late_s=ACTS_S, code="authentication_failed"),),
}


BY_SEND: Final = frozenset({"tok_decline_send_then_ok"})


def decide(ledger: Ledger, token: str, reference: str, *, force_fail: bool = False, resumed: bool = False) -> Plan:
    """What happens to this send of a charge, and remember that it was sent. No token is ``tok_ok``; an unknown one is
    declined as ``invalid_card``. ``resumed`` continues a send that was decided before."""
    if force_fail:
        return _decline("forced_failure")
    plans = TOKENS.get(token or "tok_ok")
    if plans is None:
        return _decline("invalid_card")
    if len(plans) == 1:
        return plans[0]
    payment = reference[:PAYMENT_CHARS]
    memory = ledger.recall(token, payment)
    if plans[0].does == "decline" and token not in BY_SEND:
        first = memory.setdefault("first", reference)
        ledger.remember(token, payment, memory)
        return plans[0 if first == reference else 1]
    sends = int(memory.get("sends", 0)) - int(resumed)
    ledger.remember(token, payment, {"sends": sends + 1})
    return plans[min(sends, len(plans) - 1)]


def profile(ledger: Ledger, vendor: str = "") -> Profile:
    """The fault profile that was put for every vendor, or for one."""
    doc = ledger.setting(_name(vendor))
    return msgspec.json.decode(doc, type=Profile) if doc else Profile()


def in_force(ledger: Ledger, vendor: str) -> Profile:
    """What a vendor suffers from: the worse of what is put for all and for it."""
    every, own = profile(ledger), profile(ledger, vendor)
    return Profile(
        latency_ms=max(every.latency_ms, own.latency_ms),
        error_rate=max(every.error_rate, own.error_rate),
        outage=every.outage or own.outage,
        lookup_lag_ms=max(every.lookup_lag_ms, own.lookup_lag_ms),
        key_window_s=min(every.key_window_s, own.key_window_s),
        hold_s=min(every.hold_s, own.hold_s),
        refunds=max(every.refunds, own.refunds, key=_WORSE.index),
        webhook_lose_rate=max(every.webhook_lose_rate, own.webhook_lose_rate),
        webhook_double_rate=max(every.webhook_double_rate, own.webhook_double_rate),
        webhook_delay_ms=max(every.webhook_delay_ms, own.webhook_delay_ms),
        webhook_reorder_rate=max(every.webhook_reorder_rate, own.webhook_reorder_rate),
    )


def set_profile(ledger: Ledger, doc: bytes, vendor: str = "") -> Profile:
    """Put a fault profile. Raises msgspec.ValidationError or DecodeError, and changes nothing then."""
    wanted = msgspec.json.decode(doc, type=Profile)
    ledger.set_setting(_name(vendor), msgspec.json.encode(wanted))
    return wanted


def _name(vendor: str) -> str:
    return f"faults {vendor}" if vendor else "faults"


def errs(ledger: Ledger, rate: float) -> bool:
    """Whether this request is one of the fraction ``rate`` that is answered 500."""
    return drawn(ledger, "error", rate)


def drawn(ledger: Ledger, what: str, rate: float) -> bool:
    """Whether this one is of the fraction ``rate`` to which ``what`` happens. Counted in the ledger: the same sequence
    meets the same fate."""
    if rate <= 0:
        return False
    number = int(ledger.setting(f"{what}_draws") or b"0")
    ledger.set_setting(f"{what}_draws", str(number + 1).encode())
    return int.from_bytes(hashlib.sha256(f"{what} {number}".encode()).digest()[:4], "big") / 2**32 < rate
