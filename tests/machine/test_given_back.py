"""Money that went back by somebody else's hand, holds that are no charges, and refusals that go on: each a story that a
review found to end wrong."""

import pytest
from msgspec.structs import replace

from payonce.core.errors import Refused
from payonce.core.operations import resolution
from payonce.core.outcome import Mismatch, Rejected, Unknown
from payonce.core.verdict import weigh

from .story import CLOSABLE, KEYED, MANUAL, Story, found, hold, no, ref, yes

LOST = Unknown(reason="timeout")
REFUSED = Rejected(reason="422")
DAY = 86_400


def gone_again() -> Story:
    """Charged, the answer lost, and given back in full before it was read."""
    return Story(KEYED).fire(0).saw(LOST, 1).read(2, found(yes(refunded_minor=100)))


def test_a_charge_that_was_given_back_is_no_success() -> None:
    """The merchant has nothing: IN_DOUBT, read daily, never charged anew."""
    story = gone_again()
    assert (story.p.status, story.p.reason, story.p.winner) == ("IN_DOUBT", "given_back", None)
    assert story.due(3) == (2 + DAY, "read")
    story.read(2 + DAY, found(yes(refunded_minor=100)))
    assert story.due(2 + DAY) == (2 + 2 * DAY, "read")


def test_a_part_given_back_is_a_success() -> None:
    """What is kept was taken; so is a charge whose refund fell through."""
    assert Story(KEYED).fire(0).saw(LOST, 1).read(2, found(yes(refunded_minor=99))).p.status == "SUCCESS"
    story = gone_again().read(9, found(yes()))
    assert (story.p.status, story.p.winner) == ("SUCCESS", 0)


@pytest.mark.parametrize("decision", ["reversed", "not-charged"])
def test_an_operator_ends_it(decision: str) -> None:
    """FAILED, and nothing is given back a second time: the read before it shows that it is gone."""
    story = gone_again().resolve(decision, 10)
    assert story.p.status == "FAILED"
    if decision == "not-charged":  # the charge counts as late truth, and its reversal finds it done
        assert story.due(11)[1] == "reverse 0"
        story.reversal(11, 0).read(12, found(yes(refunded_minor=100)), operation=2, attempt=0)
        assert story.p.operations[1].state == "SUCCEEDED"
    assert story.due(20)[1] in ("quiet", "read")


def test_a_late_charge_that_was_given_back_is_not_accepted() -> None:
    """The policy `accept` takes money that is there, not money that was."""
    story = Story(KEYED, route=("A",), late_success="accept").fire(0).saw(no(hard=True), 1).judge("FAILED", 2)
    assert story.read(9, found(yes(refunded_minor=100))).p.status == "FAILED"


OTHER = Mismatch(ref="t0", reference=ref(), amount_minor=101, currency="INR", mode="test", differs=("amount",), held=True)


def test_a_hold_of_other_money_stays_a_hold() -> None:
    """Weighed against what we asked it is a mismatch that knows that nothing was taken."""
    story = Story(MANUAL).boxed(0).fire(1)
    more = replace(hold(), amount_minor=101)
    assert weigh(story.p, story.a, story.a.steps[-1], more) == OTHER
    assert weigh(story.p, story.a, story.a.steps[-1], yes(amount_minor=101)) == replace(OTHER, held=False)


@pytest.mark.parametrize("seen", [hold(), OTHER])
def test_a_hold_is_not_recorded_as_charged(seen: object) -> None:
    """`charged` names what was taken; where capture is our own step a hold is none, whatever its amount."""
    story = Story(MANUAL).boxed(0).fire(1).saw(LOST, 11).read(12, found(seen, container="open")).judge("IN_DOUBT", DAY)
    with pytest.raises(Refused, match="only held"):
        resolution(story.p, "charged", "ticket", "t0", 101, accept_amount=True)
    assert resolution(story.p, "not-charged", "ticket", "", None, accept_amount=False).verdict == "not-charged"


def test_a_hold_whose_capture_was_not_answered_can_be_recorded_as_charged() -> None:
    """The last read is older than our capture: who sees the charge at the provider may say so."""
    story = Story(MANUAL, route=("A",)).boxed(0).fire(1).saw(hold(), 2).step("capture", 3).saw(LOST, 13)
    story.judge("IN_DOUBT", 20)
    event = resolution(story.p, "charged", "seen in their dashboard", "t0", 100, accept_amount=False)
    assert story.add(event, 30).p.status == "SUCCESS"


def test_a_refund_that_is_refused_for_long_needs_eyes() -> None:
    """Read and tried again until the horizon; then the operation is IN_DOUBT, and the charge is read daily."""
    story = Story(KEYED, KEYED).fire(0).saw(no(), 1).fire(2, opens=True).saw(yes(1), 3).read(4, found(yes(0)), attempt=0)
    story.reversal(5, 0).read(6, found(yes(0)), operation=2, attempt=0)
    story.step("refund", 6, operation=2, attempt=0).saw(REFUSED, 7).read(8, found(yes(0)), operation=2, attempt=0)
    assert story.due(8) == (8, "refund")
    story.step("refund", DAY, operation=2, attempt=0).saw(REFUSED, DAY + 1).read(DAY + 6, found(yes(0)), operation=2, attempt=0)
    assert story.due(DAY + 6)[1] == "operation_IN_DOUBT horizon"
    story.judge("operation_IN_DOUBT", DAY + 6, operation=2)
    assert (story.p.attention, story.due(DAY + 6)[1]) == ("reversal_unresolved", "read")
    assert (story.due(DAY + 6)[0] or 0) >= 2 * DAY


def refused(times: int, *terms: object) -> Story:
    """An idle container whose further fires are refused, one after the other."""
    story = Story(*terms).boxed(0).fire(1).saw(LOST, 11).read(60, found(container="open"))  # type: ignore[arg-type]
    for n in range(times):
        story.fire(61 + 10 * n).saw(REFUSED, 62 + 10 * n).read(63 + 10 * n, found(container="open"))
    return story


def test_a_fire_that_is_refused_is_paced_and_given_up() -> None:
    """A refused fire is tried again on the schedule, three times; then the container is closed, or left."""
    assert [refused(n, CLOSABLE).due(200) for n in (0, 1, 2)] == [(60, "fire"), (64, "fire"), (76, "fire")]
    assert refused(3, CLOSABLE).due(200) == (83, "close")
    assert refused(3, MANUAL).due(200) == (83, "left never_captured")


def test_a_refused_capture_is_read_before_anything_is_left() -> None:
    """The refusal may mean that it was captured before."""
    tries = found(no(1), hold(), container="open")
    story = Story(MANUAL).boxed(0).fire(1).saw(LOST, 11).read(60, tries).step("capture", 61).saw(REFUSED, 62)
    assert story.due(63)[1] == "read"
    assert story.read(63, found(no(1), yes(), container="open")).p.status == "SUCCESS"
