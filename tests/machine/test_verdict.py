"""The verdict on an attempt, one clause of protocol.md section 2 a row, and what an answer is worth (section 1)."""
# ruff: noqa: E501 - tables with one history a line

import pytest
from msgspec.structs import replace

from payonce.core.outcome import (
    Absent,
    Found,
    Mismatch,
    NotSent,
    Processing,
    Refunded,
    Rejected,
    RequiresAction,
    Succeeded,
    Unknown,
    Unreadable,
)
from payonce.core.verdict import evidence, held, sealed, shown_idle, unresolved, verdict, weigh

from .story import ABSENT, CLOSABLE, KEYED, KEYLESS, MANUAL, UNIQUE, Story, captured, closed, found, hold, no, ref, yes

LOST = Unknown(reason="timeout")
BAD = Mismatch(ref="t", reference=ref(), amount_minor=1, currency="INR", mode="test", differs=("amount",))

ROWS = [
    ("YES by its own answer", Story(KEYED).fire(0).saw(yes(), 1), "YES"),
    ("YES by a read", Story(UNIQUE).fire(0).saw(LOST, 10).read(11, found(yes())), "YES"),
    ("YES wins over a decline seen before", Story(KEYED).fire(0).saw(no(), 1).read(2, found(yes())), "YES"),
    ("YES wins over a mismatch", Story(KEYED).fire(0).saw(BAD, 1).read(2, found(yes())), "YES"),
    ("captured is YES", Story(MANUAL).boxed(0).fire(1).saw(hold(), 1).step("capture", 2).saw(captured(), 2), "YES"),
    ("a hold that waits for our capture is not YES", Story(MANUAL).boxed(0).fire(1).saw(hold(), 1), "UNKNOWN"),
    ("a hold is open where capture is not ours", Story(KEYED).fire(0).saw(hold(), 1), "OPEN"),
    ("mismatch", Story(KEYED).fire(0).saw(BAD, 1), "MISMATCH"),
    ("a fire on record without answer", Story(KEYLESS).fire(0), "UNKNOWN"),
    ("an unknown answer", Story(KEYLESS).fire(0).saw(LOST, 1), "UNKNOWN"),
    ("absent proves nothing", Story(UNIQUE).fire(0).saw(LOST, 1).read(2, ABSENT).read(9e4, ABSENT), "UNKNOWN"),
    ("unreadable proves nothing", Story(UNIQUE).fire(0).saw(LOST, 1).read(2, Unreadable(reason="401")), "UNKNOWN"),
    ("its one send declined", Story(UNIQUE).fire(0).saw(no(), 1), "NO"),
    ("its one send rejected moved nothing", Story(UNIQUE).fire(0).saw(Rejected(reason="422"), 1), "IDLE"),
    ("its one send not sent moved nothing", Story(UNIQUE).fire(0).saw(NotSent(reason="dns"), 1), "IDLE"),
    ("a container alone moved nothing", Story(CLOSABLE).boxed(0), "IDLE"),
    ("a container that may exist moved nothing", Story(CLOSABLE).step("create", 0, opens=True).saw(LOST, 1), "IDLE"),
    ("a rejected replay says nothing", Story(KEYED).fire(0).saw(LOST, 1).step("replay", 2).saw(Rejected(reason="401"), 3), "UNKNOWN"),
    ("one key covers all sends", Story(KEYED).fire(0).saw(LOST, 1).step("replay", 2).saw(no(), 3), "NO"),
    ("provisional under the key is open to a flip", Story(KEYED).fire(0).saw(no(until_s=900), 1), "UNKNOWN"),
    ("provisional, seen before flip and lag", Story(KEYED).fire(0).saw(no(until_s=900), 1).read(904, found(no(until_s=900))), "UNKNOWN"),
    ("provisional, seen after flip and lag", Story(KEYED).fire(0).saw(no(until_s=900), 1).read(905, found(no(until_s=900))), "NO"),
    ("two fires, the last declined", Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 2).fire(60).saw(no(), 61), "UNKNOWN"),
    ("declined in a container that is closed", Story(CLOSABLE).boxed(0).fire(1).saw(no(), 2).read(9, found(no(), container="closed")), "NO"),
    ("two fires, both declined", Story(CLOSABLE).boxed(0).fire(1).saw(no(), 2).fire(60).saw(no(), 61), "NO"),
    ("a read accounts for the one fire", Story(UNIQUE).fire(0).saw(LOST, 1).read(2, found(no())), "NO"),
    ("a read begun before the fire", Story(CLOSABLE).boxed(0).step("read", 1).fire(2).saw(LOST, 3).saw(found(no(), container="open"), 4, about=4), "UNKNOWN"),
    ("two entries, one fire: one is not ours to explain", Story(UNIQUE).fire(0).saw(LOST, 1).read(2, found(no(), no())), "UNKNOWN"),
    ("two entries, two fires: no proof", Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 2).fire(60).saw(LOST, 70).read(71, found(no(), no(), container="open")), "UNKNOWN"),
    ("closed by answer only", Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 2).step("close", 60).saw(closed(), 61), "UNKNOWN"),
    ("closed and re-read, empty", Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 2).step("close", 60).saw(closed(), 61).read(62, found(container="closed")), "NO"),
    ("closed with a try in progress", Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 2).read(62, found(Processing(ref="t", reference=ref()), container="closed")), "OPEN"),
    ("closed with a provisional decline", Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 2).read(62, found(no(until_s=900), container="closed")), "UNKNOWN"),
    ("processing is open", Story(KEYED).fire(0).saw(Processing(ref="t", reference=ref()), 1), "OPEN"),
    ("waiting for the customer is open", Story(KEYED).fire(0).saw(RequiresAction(ref="t", reference=ref()), 1), "OPEN"),
    ("processing, then a read shows nothing of it", Story(UNIQUE).fire(0).saw(Processing(ref="t", reference=ref()), 1).read(2, found()), "UNKNOWN"),
    ("a decline beside a capture in flight", Story(MANUAL).boxed(0).fire(1).saw(hold(), 1).step("capture", 2).saw(LOST, 3).read(60, found(no(), container="open")), "UNKNOWN"),
    ("the operator: charged", Story(KEYED).fire(0).saw(LOST, 1).judge("IN_DOUBT", 9).resolve("charged", 10, provider_ref="t", amount_minor=100), "YES"),
    ("the operator: not charged", Story(KEYED).fire(0).saw(LOST, 1).judge("IN_DOUBT", 9).resolve("not-charged", 10), "NO"),
    ("not charged, but the provider proves it", Story(KEYED).fire(0).saw(LOST, 1).judge("IN_DOUBT", 9).resolve("not-charged", 10).read(11, found(yes())), "YES"),
    ("the operator: reversed", Story(KEYED).fire(0).saw(BAD, 1).resolve("reversed", 10), "NO"),
    ("reversed, and the provider shows it", Story(KEYED).fire(0).saw(BAD, 1).resolve("reversed", 10).read(11, found(replace(BAD, refunded_minor=1))), "NO"),
    ("reversed, and the provider shows it kept", Story(KEYED).fire(0).saw(BAD, 1).resolve("reversed", 10).read(11, found(yes())), "MISMATCH"),
]  # fmt: skip


@pytest.mark.parametrize(("clause", "story", "wanted"), ROWS, ids=[row[0].replace(" ", "_") for row in ROWS])
def test_verdict(clause: str, story: Story, wanted: str) -> None:
    """Each clause of protocol.md section 2 as one history, and nothing unproven is sealed."""
    a = story.a
    assert verdict(a) == wanted
    assert sealed(a) == (wanted in ("NO", "IDLE"))
    assert unresolved(a) == (wanted in ("UNKNOWN", "OPEN"))


def test_left_is_sealed_and_resolved_though_unknown() -> None:
    """The recorded decision never to capture seals: nothing else moves money there."""
    a = Story(MANUAL).boxed(0).fire(1).saw(LOST, 2).judge("left", 3, attempt=0).a
    assert verdict(a) == "UNKNOWN"
    assert sealed(a)
    assert not unresolved(a)


@pytest.mark.parametrize(
    ("began_s", "tries", "idle"),
    [
        (36, (), True),
        (35, (), False),
        (36, (no(),), True),
        (36, (Processing(ref="t", reference=ref()),), False),
        (36, (yes(),), False),
    ],
)
def test_shown_idle(began_s: float, tries: tuple[object, ...], idle: bool) -> None:
    """Idle = open, nothing in progress, in a read that began after send deadline (5 s) and processing time (30 s)."""
    story = Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 2).read(began_s, found(*tries, container="open"))
    assert shown_idle(story.a) is idle


def test_a_hold_is_what_was_seen_last() -> None:
    """A later list without the hold ends it; a hold counts only where capture is our own step."""
    story = Story(MANUAL).boxed(0).fire(1).saw(hold(), 2)
    assert held(story.a) is not None
    assert held(story.read(50, found(no(), container="open")).a) is None
    assert held(Story(KEYED).fire(0).saw(hold(), 1).a) is None


def test_a_list_that_arrives_late_speaks_of_its_own_time() -> None:
    """Two reads overlap: the younger one counts, though the older one's answer comes last."""
    story = Story(MANUAL).boxed(0).fire(1).saw(LOST, 2).step("read", 50).step("read", 70)
    story.saw(found(hold(), container="open"), 71).saw(found(container="open"), 90, about=6)
    assert held(story.a) is not None
    story = Story(CLOSABLE).boxed(0).fire(1).saw(LOST, 2).step("read", 50).step("read", 70)
    story.saw(found(Processing(ref="t", reference=ref()), container="open"), 71).saw(found(container="open"), 90, about=6)
    assert verdict(story.a) == "OPEN"
    assert not shown_idle(story.a)


@pytest.mark.parametrize("field", ["amount_minor", "currency", "mode"])
def test_weigh_wrong_money_is_a_mismatch(field: str) -> None:
    """Amount, currency and mode are compared in answers and in every try of a list; the difference is named."""
    story = Story(KEYED).fire(0)
    bad = yes(**{field: 1 if field == "amount_minor" else "live" if field == "mode" else "EUR"})
    said = weigh(story.p, story.a, story.a.steps[0], bad)
    assert isinstance(said, Mismatch)
    assert said.differs == (field.removesuffix("_minor"),)
    listed = weigh(story.p, story.a, story.a.steps[0], found(no(), bad))
    assert isinstance(listed, Found)
    assert [type(t).__name__ for t in listed.tries] == ["Declined", "Mismatch"]


def test_weigh_a_foreign_object_is_no_evidence() -> None:
    """Another reference: unknown as an answer, absent as a read; foreign entries of a list are dropped."""
    story = Story(UNIQUE).fire(0).saw(LOST, 1).step("read", 2)
    send, read = story.a.steps
    assert isinstance(weigh(story.p, story.a, send, yes(1)), Unknown)
    assert isinstance(weigh(story.p, story.a, send, no(1)), Unknown)
    assert isinstance(weigh(story.p, story.a, read, found(no(1), no(1))), Absent)
    mixed = weigh(story.p, story.a, read, found(no(1), yes(0)))
    assert isinstance(mixed, Found)
    assert mixed.tries == (yes(0),)
    assert isinstance(weigh(story.p, story.a, read, found(no(1), container="closed")), Absent)
    assert isinstance(weigh(story.p, story.a, read, Found(container="closed", reference=ref(1))), Absent)
    assert isinstance(weigh(story.p, story.a, read, Found(container_id="box", reference=ref(1))), Absent)
    assert isinstance(weigh(story.p, story.a, read, Found(container_id="box")), Absent)
    assert isinstance(weigh(story.p, story.a, read, Found(container="closed", reference=ref(0))), Found)


def test_weigh_drops_refunds_in_another_currency() -> None:
    """A refund listed under our reference in another currency gives nothing of ours back."""
    story = Story(KEYED).fire(0).saw(yes(), 1)
    listed = tuple(Refunded(ref="r", reference=ref(), amount_minor=100, currency=c) for c in ("INR", "EUR"))
    weighed = weigh(story.p, story.a, story.a.steps[0], replace(found(yes()), refunds=listed))
    assert [r.currency for r in weighed.refunds] == ["INR"]  # type: ignore[union-attr]


def test_weigh_a_refund_of_another_amount_is_unknown() -> None:
    """A refund answer is compared with what was asked, by our refund reference, amount and currency."""
    story = Story(KEYED, KEYED).fire(0).saw(no(), 1).fire(2, opens=True).saw(yes(1), 3).read(4, found(yes(0)), attempt=0)
    story.reversal(5, 0).step("refund", 6, operation=2)
    o = story.p.operations[1]
    right = Refunded(ref="r", reference=o.reference, amount_minor=100, currency="INR")
    assert weigh(story.p, o, o.steps[0], right) == right
    for wrong in ({"amount_minor": 60}, {"currency": "EUR"}, {"reference": ref(1)}):
        said = {"ref": "r", "reference": o.reference, "amount_minor": 100, "currency": "INR", **wrong}
        assert isinstance(weigh(story.p, o, o.steps[0], Refunded(**said)), Unknown)  # type: ignore[arg-type]


def test_evidence_lists_the_tries_of_a_read() -> None:
    """A list is taken apart: each try is evidence of the read that showed it."""
    story = Story(UNIQUE).fire(0).saw(LOST, 1).read(2, found(no(), yes()))
    assert [type(o) for _, o in evidence(story.a)][1:] == [type(no()), Succeeded]
