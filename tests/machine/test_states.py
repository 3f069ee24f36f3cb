"""The transition table: every row is made by a history, nothing else is; and the rules that apply itself refuses to break."""
# ruff: noqa: E501 - tables with one history a line

from collections.abc import Callable
from typing import Any

import pytest

from payonce.core.apply import fold
from payonce.core.errors import InvariantViolated
from payonce.core.events import Asked
from payonce.core.outcome import Created, Mismatch, RequiresAction, Unknown
from payonce.core.payment import Payment, Terms
from payonce.core.states import TRANSITIONS, allowed

from .story import CLOSABLE, KEYED, MANUAL, UNIQUE, Story, captured, found, hold, no, ref, yes

LOST = Unknown(reason="timeout")
VOIDABLE = Terms(keyed=True, replay_span_s=7200, voidable=True)
ACT = RequiresAction(ref="t", reference=ref())
BAD = Mismatch(ref="t", reference=ref(), amount_minor=1, currency="INR", mode="test", differs=("amount",))


def acting() -> Story:
    return Story(KEYED).fire(0).saw(ACT, 1)


def left_while_acting() -> Story:
    return Story(MANUAL).boxed(0).fire(1).saw(ACT, 2).cancel(3).judge("left", 4, attempt=0)


def doubtful(**accepted: object) -> Story:
    return Story(UNIQUE, **accepted).fire(0).saw(LOST, 1).judge("IN_DOUBT", 2)


def on_hold() -> Story:
    return Story(VOIDABLE, capture_method="manual").fire(0).saw(hold(), 1)


def in_doubt(kind: str) -> Story:
    asked = on_hold().ask(kind, 3).step(kind, 3, operation=2).saw(LOST, 4)
    return asked.judge("operation_IN_DOUBT", 10, operation=2)


OTHER = Mismatch(ref="t0", reference=ref(), amount_minor=999, currency="INR", mode="test", differs=("amount",))


def taken_back(story: Story) -> Story:
    """Decided as reversed; the provider shows the charge as kept; the decision is taken back."""
    return story.resolve("reversed", 3).read(4, found(yes())).resolve("not-charged", 5)


HISTORIES = [
    Story(KEYED).fire(0).saw(yes(), 1),
    Story(UNIQUE).fire(0).saw(ACT, 1).read(2, found(BAD)),
    acting().read(2, found(yes())),
    acting().read(2, found()),
    Story(KEYED).fire(0).saw(BAD, 1),
    Story(KEYED).fire(0).saw(no(), 1).judge("FAILED", 2),
    Story(KEYED).cancel(1).judge("CANCELED", 2),
    left_while_acting().judge("FAILED", 5),
    left_while_acting().judge("CANCELED", 5),
    acting().judge("IN_DOUBT", 5),
    doubtful().read(3, found(yes())),
    doubtful().read(3, found(no())).judge("FAILED", 4),
    doubtful().cancel(3).read(4, found(no())).judge("CANCELED", 5),
    doubtful().resolve("charged", 3, provider_ref="t", amount_minor=100),
    doubtful().resolve("not-charged", 3),
    Story(UNIQUE, late_success="accept").fire(0).saw(no(), 1).judge("FAILED", 2).read(3, found(yes())),
    Story(UNIQUE, late_success="accept").fire(0).saw(no(), 1).cancel(2).judge("CANCELED", 3).read(4, found(yes())),
    taken_back(Story(UNIQUE, late_success="accept").fire(0).saw(LOST, 1).judge("IN_DOUBT", 2)),
    taken_back(Story(UNIQUE, late_success="accept").fire(0).saw(no(), 1).cancel(2).judge("CANCELED", 2).read(2, found(OTHER))),
    on_hold(),
    Story(UNIQUE, capture_method="manual").fire(0).saw(ACT, 1).read(2, found(hold())),
    Story(UNIQUE, capture_method="manual").fire(0).saw(LOST, 1).judge("IN_DOUBT", 2).read(3, found(hold())),
    on_hold().ask("capture", 3).step("capture", 3, operation=2).saw(captured(), 4),
    on_hold().read(9, found(no())),
    in_doubt("capture").resolve("done", 20, operation=2),
    in_doubt("void").resolve("done", 20, operation=2),
]


def transitions(story: Story) -> set[tuple[str, str, str]]:
    made, before = set(), ""
    for n, entry in enumerate(story.entries, start=1):
        after = fold(story.entries[:n]).status
        if after != before:
            made.add((before, entry.envelope.kind, after))
        before = after
    return made


def test_every_transition_of_the_table_is_made_and_no_other() -> None:
    """The table is data about what the fold does: neither a row too many nor one too few."""
    made = {t for story in HISTORIES for t in transitions(story)}
    assert made == {(t.before, t.event, t.after) for t in TRANSITIONS}


def test_the_table_forbids_what_it_does_not_list() -> None:
    """Keeping the status is allowed, leaving SUCCESS or turning FAILED into CANCELED is not."""
    assert allowed("SUCCESS", "Observed", "SUCCESS")
    for after in ("FAILED", "CANCELED", "PENDING", "IN_DOUBT"):
        assert not allowed("SUCCESS", "Observed", after)
        assert not allowed("SUCCESS", "Judged", after)
    assert not allowed("FAILED", "Judged", "CANCELED")


def asks(kind: Any, number: int, amount: int = 100) -> Asked:
    """Asked past every check of the intake."""
    return Asked(kind=kind, number=number, operation_id=f"op_{number}", amount_minor=amount, reference=ref(number))


def asked_both() -> Story:
    """A void of a hold that is under way."""
    return on_hold().ask("void", 3)


REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("a new attempt while the last is unknown", lambda: Story(UNIQUE).fire(0).saw(LOST, 1).fire(2, opens=True)),
    ("a fire after the winner", lambda: Story(KEYED).fire(0).saw(yes(), 1).step("fire", 2)),
    ("a replay after a final status", lambda: Story(KEYED).fire(0).saw(no(), 1).judge("FAILED", 2).step("replay", 3)),
    ("a capture after a cancel", lambda: Story(MANUAL).boxed(0).fire(1).saw(hold(), 2).cancel(3).step("capture", 4)),
    ("a capture after leaving", lambda: Story(MANUAL).boxed(0).fire(1).saw(hold(), 2).judge("left", 3, attempt=0).step("capture", 4)),
    ("a fire in IN_DOUBT", lambda: doubtful().step("fire", 3)),
    ("a fire in an older attempt", lambda: Story(KEYED).fire(0).saw(no(), 1).fire(2, opens=True).step("fire", 3, attempt=0)),
    ("a replay without a key", lambda: Story(UNIQUE).fire(0).saw(LOST, 1).step("replay", 2)),
    ("FAILED while unknown", lambda: Story(UNIQUE).fire(0).saw(LOST, 1).judge("FAILED", 2)),
    ("CANCELED while unknown", lambda: Story(UNIQUE).fire(0).saw(LOST, 1).cancel(2).judge("CANCELED", 3)),
    ("a second outcome of a step", lambda: Story(KEYED).fire(0).saw(no(), 1).saw(yes(), 2, about=2)),
    ("a reversal of the winner", lambda: Story(KEYED).fire(0).saw(yes(), 1).reversal(2, 0)),
    (
        "a reversal while another is unknown",
        lambda: Story(KEYED, UNIQUE).fire(0).saw(no(), 1).fire(2, opens=True).read(3, found(yes()), attempt=0).reversal(4, 1),
    ),
    ("a second reversal of one surplus", lambda: Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).read(3, found(yes())).reversal(4, 0).reversal(5, 0)),
    ("leaving with a capture on record", lambda: Story(MANUAL).boxed(0).fire(1).saw(hold(), 2).step("capture", 3).judge("left", 4, attempt=0)),
    ("a capture that nobody asked for", lambda: on_hold().step("capture", 3)),
    ("a capture beside a void", lambda: asked_both().step("capture", 5, operation=2)),
    ("a void beside a capture", lambda: on_hold().ask("capture", 3).add(asks("void", 3), 4)),
    ("a capture of more than is held", lambda: on_hold().add(asks("capture", 2, 101), 4)),
    ("a refund of a hold", lambda: on_hold().add(asks("refund", 2, 50), 4)),
    ("refunds of more than was taken", lambda: Story(KEYED).fire(0).saw(yes(), 1).ask("refund", 2, 60).add(asks("refund", 3, 41), 4)),
    ("a refund out of a reserve in doubt", lambda: Story(KEYED).fire(0).saw(yes(), 1).ask("refund", 2, 60).judge("operation_IN_DOUBT", 3, operation=2).add(asks("refund", 3, 41), 4)),
    ("a void of what has ended", lambda: Story(KEYED).fire(0).saw(yes(), 1).add(asks("void", 2), 4)),
    ("a void where it has failed", lambda: on_hold().ask("void", 3).judge("operation_FAILED", 4, operation=2).step("void", 5, operation=2)),
    ("a refund step for a hold", lambda: asked_both().step("refund", 5, operation=2)),
    ("AUTHORIZED turned to FAILED", lambda: on_hold().judge("FAILED", 4)),
    ("AUTHORIZED turned to IN_DOUBT", lambda: on_hold().judge("IN_DOUBT", 4)),
    ("a decision on what is not in doubt", lambda: on_hold().ask("void", 3).resolve("done", 4, operation=2)),
    ("leaving where capture is not ours", lambda: Story(UNIQUE).fire(0).saw(LOST, 1).judge("left", 4, attempt=0)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "history"), REFUSED, ids=[row[0].replace(" ", "_") for row in REFUSED])
def test_apply_refuses(rule: str, history: Callable[[], object]) -> None:
    """A broken rule never reaches the store, whatever plan says: apply refuses it."""
    with pytest.raises(InvariantViolated):
        history()


def test_the_container_is_written_once() -> None:
    """A late answer of the first create does not replace the container that was fired."""
    story = (
        Story(CLOSABLE).step("create", 0, opens=True).step("create", 20).saw(Created(container="second", reference=ref()), 21)
    )
    story.fire(22).saw(Created(container="first", reference=ref()), 30, about=2)
    assert story.a.container == "second"


def test_late_success_policies() -> None:
    """`refund` keeps FAILED and asks for the reversal, `accept` turns it into SUCCESS with its winner."""
    for policy, status, winner in (("refund", "FAILED", None), ("accept", "SUCCESS", 0)):
        story = Story(UNIQUE, late_success=policy).fire(0).saw(no(), 1).judge("FAILED", 2).read(3, found(yes()))
        assert (story.p.status, story.p.winner) == (status, winner)
        assert story.due(3)[1] == ("reverse 0" if policy == "refund" else "quiet")


def test_attention_stands_beside_success_while_another_attempt_is_unknown() -> None:
    """A late YES wins while the youngest attempt is UNKNOWN: SUCCESS, with attention until that one is known."""
    story = Story(KEYED, UNIQUE).fire(0).saw(no(), 1).fire(2, opens=True).saw(LOST, 3).read(4, found(yes()), attempt=0)
    assert (story.p.status, story.p.winner, story.p.attention) == ("SUCCESS", 0, "attempt_unresolved")
    assert story.read(9, found(no(1))).p.attention == ""


def test_a_mismatch_beside_a_success_keeps_attention() -> None:
    """One attempt is paid wrongly, another rightly: SUCCESS by the right one, and people are told of the other."""
    story = Story(KEYED, UNIQUE).fire(0).saw(no(), 1).fire(2, opens=True).saw(yes(1), 3).read(4, found(BAD), attempt=0)
    assert (story.p.status, story.p.attention) == ("SUCCESS", "mismatch")
    assert story.due(5)[1] == "read"


def test_capture_is_the_charge() -> None:
    """With our own capture the fire only holds: SUCCESS comes with the capture, and the chain folds to the row."""
    story = Story(MANUAL).boxed(0).fire(1).saw(hold(), 2)
    assert story.p.status == "PENDING"
    story.step("capture", 3).saw(captured(), 4)
    assert story.p.status == "SUCCESS"
    whole: Payment = fold(story.entries)
    assert whole == story.p


def test_a_broken_chain_does_not_fold() -> None:
    """A missing, doubled or reordered entry is noticed."""
    entries = Story(KEYED).fire(0).saw(yes(), 1).entries
    for broken in (entries[1:], entries[:1] + entries[2:], [*entries, entries[-1]], []):
        with pytest.raises(InvariantViolated):
            fold(broken)
