"""What captures, voids and refunds of a payment did, against the vendors' books: as the API shows the payment, and as the
sandbox's ledger has its movements. Nothing else is asked.

Pure: it is given everything, so that a test can falsify each and see it reported.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from payonce.testing.judge import ENDS_AS, GIVES, TAKES, net_charges, wrong_with_holds, wrong_with_refunds

View = Mapping[str, Any]  # a payment as GET /payments/{id} shows it
Movements = list[dict[str, Any]]
SETTLED = ("SUCCESS", "FAILED", "CANCELED", "IN_DOUBT")
REFERENCE_CHARS_MIN = 23
NO_VOID = ("razorpay_mock",)  # accounts whose provider lets a hold lapse by itself, after days


def asked(view: View, *kinds: str) -> list[dict[str, Any]]:
    """The operations of these kinds, oldest first."""
    return [o for o in view["operations"] if o["kind"] in kinds]


def kept(view: View, moved: Movements) -> Movements:
    """The charges that were not undone. What a merchant gave back undoes none. A charge whose reversal the vendor failed is
    kept, too, but waits for a person and is left out."""
    by_merchant = {m["refundReference"] for m in moved for o in asked(view, "refund") if _is(m, o)}
    charges = net_charges(moved, view["transactionId"], by_merchant)
    for o in asked(view, "reversal"):
        if o["status"] == "FAILED" and view["attention"]:
            charge = next((m for m in charges if o["reference"][-2:] == m["reference"][-2:]), None)  # of the same attempt
            charges = [m for m in charges if m is not charge]
    return charges


def given(moved: Movements, o: Mapping[str, Any]) -> int:
    """What was given back for good by a refund or reversal of ours."""
    return sum(m["amount"] * GIVES.get(m["kind"], 0) for m in moved if _is(m, o))


def _is(m: Mapping[str, Any], o: Mapping[str, Any]) -> bool:
    """This movement is that refund. PayU's token takes the first 23 characters of our reference, which tell it as well."""
    named = str(m.get("refundReference", ""))
    return len(named) >= REFERENCE_CHARS_MIN and str(o["reference"]).startswith(named)


def wrong_with_operations(view: View, moved: Movements) -> Iterator[str]:
    """What is wrong with one payment that should be settled; ``moved`` are its movements."""
    yield from wrong_with_holds(moved)
    yield from wrong_with_asked(view, moved)
    yield from left_open(view)
    charges = [(m["amount"], m["currency"]) for m in kept(view, moved)]
    if len(charges) > 1:
        yield f"{len(charges)} charges were kept: {charges}"
    if view["status"] in ("FAILED", "CANCELED", "AUTHORIZED") and charges:
        yield f"it is {view['status']}, but a charge was kept: {charges}"
    if view["status"] == "SUCCESS" and charges != [(view["captured"], view["currency"])]:
        yield f"captured is {view['captured']} {view['currency']}, but the books say {charges}"


def wrong_with_asked(view: View, moved: Movements) -> Iterator[str]:
    """What is wrong with its captures, voids, refunds and reversals."""
    yield from wrong_with_refunds(moved)
    yield from _wrong_with_refunds_asked(view, moved)
    yield from _wrong_with_the_hold(view, moved)
    for o in asked(view, "reversal"):
        if o["status"] == "FAILED" and (given(moved, o) or not view["attention"]):
            yield f"the reversal {o['operationId']} is FAILED, {given(moved, o)} were given back, and nobody is told"


def left_open(view: View) -> Iterator[str]:
    """What has not come to its end, and should have."""
    for o in view["operations"]:
        if o["status"] == "PENDING" and not (o["kind"] == "void" and view["provider"] in NO_VOID):
            yield f"the {o['kind']} {o['operationId']} is PENDING still"
    if view["status"] == "AUTHORIZED":
        ended = [o["kind"] for o in asked(view, "capture", "void") if o["status"] == "SUCCEEDED"]
        if ended:
            yield f"it is AUTHORIZED still, after its {ended[-1]} succeeded"
    elif view["status"] not in SETTLED:
        yield f"it is {view['status']} still"


def _wrong_with_refunds_asked(view: View, moved: Movements) -> Iterator[str]:
    refunds = asked(view, "refund")
    for o in refunds:
        back = given(moved, o)
        if back != {"SUCCEEDED": o["amount"], "FAILED": 0}.get(o["status"], back) or back not in (0, o["amount"]):
            yield f"the refund {o['operationId']} of {o['amount']} is {o['status']}, but {back} were given back"
    done = [o for o in refunds if o["status"] == "SUCCEEDED"]
    if view["refunded"] != sum(o["amount"] for o in done):
        yield f"refunded is {view['refunded']}, and its refunds that succeeded are {[o['amount'] for o in done]}"
    if sum(o["amount"] for o in refunds if o["status"] != "FAILED") > view["captured"]:
        yield f"refunds of {[o['amount'] for o in refunds]} were accepted, and {view['captured']} were captured"


def _wrong_with_the_hold(view: View, moved: Movements) -> Iterator[str]:
    """A capture takes what was asked, a void leaves nothing taken and nothing held, and one of them succeeds at most."""
    done = [o for o in asked(view, "capture", "void") if o["status"] == "SUCCEEDED"]
    if len(done) > 1:
        yield f"more than one of {[o['kind'] for o in done]} succeeded"
    for o in done:
        if o["kind"] == "capture" and (view["status"], view["captured"]) != ("SUCCESS", o["amount"]):
            yield f"its capture of {o['amount']} succeeded, and it is {view['status']} with {view['captured']} captured"
        if o["kind"] == "void":
            if view["status"] not in ("CANCELED", "FAILED"):
                yield f"its void succeeded, and it is {view['status']}"
            if held := _still_held(moved, str(view["provider"]).removesuffix("_mock")):
                yield f"its void succeeded, and a hold stands in the books: {held}"
    manual = view["captureMethod"] == "manual"
    if manual and view["status"] == "SUCCESS" and not any(o["kind"] == "capture" for o in asked(view, "capture")):
        yield "nobody asked for a capture, and it is SUCCESS"
    if not manual and view["status"] == "SUCCESS" and view["captured"] != view["amount"]:
        yield f"{view['captured']} were captured of {view['amount']}"


def _still_held(moved: Movements, vendor: str) -> Sequence[str]:
    """The holds at this vendor that were neither taken nor released."""
    here = [m for m in moved if m["provider"] == vendor]
    over = {m["providerRef"] for m in here if m["kind"] in ("void", *TAKES)}
    return sorted({m["providerRef"] for m in here if m["kind"] == "authorize"} - over)


def ends_of(token: str, view: View, *, decided: bool = False) -> frozenset[str]:
    """As what a payment with this token may end, with what was asked of it. ``decided``: its customer may have decided on the
    provider's page, either way. PayU takes a request once: one that was lost is never sent there again, and is a doubt."""
    may = ENDS_AS[token] | (frozenset({"SUCCESS", "FAILED"}) if decided else frozenset())
    if view["captureMethod"] == "manual" and "SUCCESS" in may:
        ended = {o["kind"] for o in asked(view, "capture", "void") if o["status"] == "SUCCEEDED"}
        held = {"SUCCESS"} if "capture" in ended else {"CANCELED"} if "void" in ended else {"AUTHORIZED", "CANCELED"}
        may = may - {"SUCCESS"} | held
    return may | ({"IN_DOUBT"} if view["provider"] == "payu_mock" else frozenset())
