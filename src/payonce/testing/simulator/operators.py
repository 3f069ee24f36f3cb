"""When a world has been judged, people decide what is IN_DOUBT, by what the provider's books say. A decision must hold: it
is what was decided, about the charge that it names, and nothing moves because of it."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from payonce.core.events import unseal
from payonce.core.payment import Payment
from payonce.core.verdict import evidence
from payonce.ports import Scope
from payonce.testing.judge import net_charges, of_payment, wrong_with_history

from .afterwards import asked_refunds
from .answers import judge_columns

if TYPE_CHECKING:
    from .world import World

TAKES: Final = ("charge", "capture")
WATCHED_S: Final = 50 * 3600


async def decide(world: "World") -> bool:
    """Resolve every payment in doubt. False when there was none."""
    decided = []
    for payment_id in world.known_ids():
        p = await world.payment(payment_id)
        if p is None or p.status != "IN_DOUBT" or p.reason == "restored_elsewhere" or p.attention == "restored_elsewhere":
            continue
        kept = _kept(world, p)
        if len(kept) > 1 or any(m["currency"] != p.currency for m in kept):
            continue
        await _resolve(world, p, kept[0] if kept else None)
        decided.append((p.id, kept))
    if not decided:
        return False
    world.counts["decided by a person"] += len(decided)
    # not until all is quiet: what stays open at a vendor is read for ever
    await world.loop.until(world.loop.time() + WATCHED_S)
    for payment_id, kept in decided:
        if (after := await world.payment(payment_id)) is not None:
            await _judge(world, after, kept)
    return True


async def _resolve(world: "World", p: Payment, charge: dict[str, Any] | None) -> None:
    process = next(m.process for m in world.machines if m.process is not None)
    given_back = any(m["kind"] in TAKES for m in of_payment(_movements(world), p.id))
    if charge is None:
        decision: Any = "reversed" if given_back else "not-charged"
        ref, amount = "", None
    else:
        decision, ref, amount = "charged", charge["providerRef"], charge["amount"]
    world.note("ops", p.id, f"decides: {decision} {ref}")
    said: dict[str, Any] = {"provider_ref": ref, "amount_minor": amount, "accept_amount": True}
    scope = Scope(p.merchant_id, p.mode)
    await process.engine.resolve(scope, p.id, decision, reason="looked", actor="ops", **said)


async def _judge(world: "World", p: Payment, kept: list[dict[str, Any]]) -> None:
    wanted = "SUCCESS" if kept else "FAILED"
    judge_columns(world, p)
    if p.status != wanted:
        world.violate(f"decided as {wanted}, and it is {p.status}", p.id)
    world.counts[f"edge IN_DOUBT Resolved {p.status}"] += 1
    # A hold of another amount is still told of after the decision: known, it costs a look, and no money.
    held = any(getattr(o, "held", False) for a in p.attempts for _, o in evidence(a))
    if not kept and p.attention and not held:
        world.violate(f"decided as {wanted}, and it still asks for eyes: {p.attention}", p.id)
    if (now := _kept(world, p)) != kept:
        world.violate(f"decided as {wanted}, and then the ledger changed from {kept} to {now}", p.id)
    if kept and p.winner is not None:
        won = next(a for a in p.attempts if a.n == p.winner)
        said = (p.provider_ref, p.captured_minor, world.vendor_of(won.account), won.reference)
        true = (kept[0]["providerRef"], kept[0]["amount"], kept[0]["provider"], kept[0]["reference"])
        if said != true:
            world.violate(f"decided: the row says {said}, the ledger {true}", p.id)
    if p.operations[0].state != {"SUCCESS": "SUCCEEDED"}.get(p.status, p.status):
        world.violate(f"decided: {p.status}, and its charge is {p.operations[0].state}", p.id)
    entries = [unseal(e.raw, e.hash) for e in await world.reader().history(p.id, 0, 5000)]
    folded, wrong = wrong_with_history(entries)
    for each in wrong:
        world.violate(f"I5, after a decision: {each}", p.id)
    if folded != p:
        world.violate("I14, after a decision: the row is not the fold of its history", p.id)


def _movements(world: "World") -> list[dict[str, Any]]:
    return [msgspec.to_builtins(m) for m in world.vendors.movements()]


def _kept(world: "World", p: Payment) -> list[dict[str, Any]]:
    return net_charges(_movements(world), p.id, asked_refunds(p))
