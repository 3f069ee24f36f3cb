"""What becomes of money after it was taken or held, in the live part of the provider contract: refunds, captures and voids at
the simulator, compared with the ledger."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.adapter import (
    AnyOutcome,
    Authorized,
    Captured,
    Declined,
    Found,
    Intent,
    Refunded,
    RefundFailed,
    Refunding,
    Succeeded,
    Voided,
)

from .provider_cases import Subject
from .provider_wired import ASKED, Wired, intent_of, key_of, put_faults, told

BACK, REST = 1200, ASKED - 1200
UNTIL = 8  # looks at a refund that is under way


class LiveMoney:
    """See the module docstring."""

    def at(self, subject: Subject, tmp_path: Path, test: Callable[[Wired], Awaitable[None]]) -> None:
        """Run a test at a sandbox of its own, in process."""
        from .provider_live import wired

        async def main() -> None:
            async with wired(subject, tmp_path / "ledger.db", over_http=False) as at:
                await test(at)

        asyncio.run(main())

    def test_a_refund_gives_back_once(self, subject: Subject, tmp_path: Path) -> None:
        """Sent twice it moves money once, several add up to what was taken, and more than that is refused; reads show each."""
        _require(subject, "refund")

        async def test(at: Wired) -> None:
            intent, ref = await charged(at)
            first, second = refund_of(intent, ref, 2, BACK), refund_of(intent, ref, 3, REST)
            done = [await given(at, first)]
            again = await at.ask(first)  # it may be refused, repeated or unknown: what counts is the ledger
            assert not isinstance(again, Refunded | Refunding) or again.ref == done[0].ref, again
            done.append(await given(at, second))
            more = await at.ask(refund_of(intent, ref, 4, BACK))
            assert not isinstance(more, Refunded | Refunding), f"more than was taken is given back: {more}"
            moves = [m for m in at.movements(intent.reference) if m.kind == "refund"]
            moved = [(m.provider_ref, m.amount) for m in moves]
            assert moved == [(done[0].ref, BACK), (done[1].ref, REST)], f"the ledger gave back {moved}, the adapter says {done}"
            # a vendor that takes fewer characters has ours without the last ones
            assert all(said.reference.startswith(m.refund_reference) for m, said in zip(moves, done, strict=True)), moves
            found = await at.ask(replace(intent, kind="read", key=""))
            assert isinstance(found, Found), found
            assert sorted(found.refunds, key=repr) == sorted(done, key=repr), found

        self.at(subject, tmp_path, test)

    @pytest.mark.parametrize(("fate", "ends"), [("pending", Refunded), ("pending_fail", RefundFailed), ("fail", RefundFailed)])
    def test_a_refund_that_is_not_done_at_once(self, subject: Subject, tmp_path: Path, fate: str, ends: type) -> None:
        """Under way is not given back; failed for good moves nothing, and is never shown as done."""
        _require(subject, "refund")

        async def test(at: Wired) -> None:
            intent, ref = await charged(at)
            await put_faults(at, {"refunds": fate})
            back = refund_of(intent, ref, 2, BACK)
            said = await at.ask(back)
            if isinstance(said, Refunded):
                pytest.skip("this simulator gives back at once, whatever the fault profile says of refunds")
            for _ in range(UNTIL):
                if isinstance(said, Refunded | RefundFailed) or (fate == "fail" and not isinstance(said, Refunding)):
                    break
                said = await _shown(at, back)
            moves = [m for m in at.movements(intent.reference) if m.kind in ("refund", "refund_failed")]
            moved = sum(m.amount if m.kind == "refund" else -m.amount for m in moves)
            assert moved == (BACK if ends is Refunded else 0), moves
            assert isinstance(said, Refunded) == (ends is Refunded), f"{fate}: ends in {said}"

        self.at(subject, tmp_path, test)

    def test_a_hold_is_captured_or_released(self, subject: Subject, tmp_path: Path) -> None:
        """What the merchant holds is not taken. A capture takes what it says, the void releases all, and reads agree."""
        _require(subject, "capture")

        async def test(at: Wired) -> None:
            facts = at.adapter.CAPABILITIES
            part = BACK if facts.partial_capture else ASKED
            intent, held = await _held(at, 0)
            capture = replace(intent, kind="capture", key=key_of(intent, "capture"), provider_ref=held.ref, capture_minor=part)
            said: AnyOutcome = await at.ask(capture)
            for _ in range(UNTIL):
                if isinstance(said, Captured | Succeeded):
                    break
                said = await _look(at, intent)
            taken = [m.amount for m in at.movements(intent.reference) if m.kind in ("charge", "capture")]
            assert isinstance(said, Captured | Succeeded), said
            assert (taken, said.amount_minor, said.reference) == ([part], part, intent.reference), said
            if "void" in facts.steps:
                await _voided(at)

        self.at(subject, tmp_path, test)


async def charged(at: Wired) -> tuple[Intent, str]:
    """A payment that was taken: its intent, and the provider's id of the charge."""
    charge, intent = await at.settle(intent_of(at, "tok_ok", 0, "fire"))
    assert isinstance(charge, Succeeded | Captured), charge
    return intent, charge.ref


async def _held(at: Wired, n: int) -> tuple[Intent, Authorized]:
    """Money that waits for the merchant: the machine of ``settle`` captures nothing of it."""
    intent = replace(intent_of(at, "tok_ok", n, "fire"), manual=True)
    held, intent = await at.settle(intent)
    assert isinstance(held, Authorized), f"should be held, and is {held}"
    assert (held.amount_minor, held.reference) == (ASKED, intent.reference), held
    moved = [m.kind for m in at.movements(intent.reference)]
    assert moved in ([], ["authorize"]), f"held, and the ledger has {moved}"
    return intent, held


async def _voided(at: Wired) -> None:
    intent, held = await _held(at, 1)
    said = await at.ask(replace(intent, kind="void", key=key_of(intent, "void"), provider_ref=held.ref))
    assert not isinstance(said, Voided) or said.reference == intent.reference, said
    found: Any = None
    for _ in range(UNTIL):
        await at.clock.sleep(at.adapter.CAPABILITIES.terms.read_lag_s + 1)
        found = await at.ask(replace(intent, kind="read", key=""))
        if isinstance(found, Found) and not any(isinstance(t, Authorized) for t in found.tries):
            break
    assert isinstance(found, Found), found
    gone = found.container == "closed" or all(isinstance(t, Declined) and t.code == "hold_lapsed" for t in found.tries)
    assert gone, f"a hold that was voided reads as {found}"
    assert not any(isinstance(t, Succeeded | Authorized) for t in found.tries), found
    assert not [m for m in at.movements(intent.reference) if m.kind in ("charge", "capture")]


def refund_of(intent: Intent, ref: str, operation: int, minor: int) -> Intent:
    """A refund of a charge, of which there may be several: ``operation`` tells them apart."""
    reference = f"{intent.reference[:-4]}{operation:02d}00"
    return replace(
        intent, kind="refund", key=key_of(reference, "refund"), provider_ref=ref, refund_reference=reference, refund_minor=minor
    )


async def given(at: Wired, back: Intent) -> Refunded:
    """To its end, however long it is under way."""
    said = await at.ask(back)
    for _ in range(UNTIL):
        if isinstance(said, Refunded):
            assert (said.reference, said.amount_minor) == (back.refund_reference, back.refund_minor), said
            return said
        said = await _shown(at, back)
    raise AssertionError(f"not given back: {said}")


async def _shown(at: Wired, back: Intent) -> AnyOutcome:
    """The refund, as a read made for it shows it."""
    await at.clock.sleep(at.adapter.CAPABILITIES.terms.read_lag_s + 1)
    seen = await at.ask(replace(back, kind="read", key=""))
    ours = [r for r in seen.refunds if r.reference == back.refund_reference] if isinstance(seen, Found) else []
    return ours[0] if ours else seen


async def _look(at: Wired, intent: Intent) -> AnyOutcome:
    await at.clock.sleep(at.adapter.CAPABILITIES.terms.read_lag_s + 1)
    return told(await at.ask(replace(intent, kind="read", key="")))


def _require(subject: Subject, step: str) -> None:
    if step not in subject.adapter.CAPABILITIES.steps:
        pytest.skip(f"this adapter has no {step}")
