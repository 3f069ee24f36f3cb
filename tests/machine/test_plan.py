"""plan: each row of protocol.md section 4 as one history, and the limits of section 5."""
# ruff: noqa: E501 - tables with one history a line

import pytest
from msgspec.structs import replace

from payonce.core.attempts import LOOK_US
from payonce.core.events import Hinted
from payonce.core.outcome import NotSent, Processing, Refunded, Rejected, RequiresAction, Unknown, Unreadable
from payonce.core.payment import Terms
from payonce.core.retry import backoff_us, retry_after_us

from .story import ABSENT, CLOSABLE, KEYED, KEYLESS, MANUAL, UNIQUE, Story, captured, closed, found, hold, no, ref, yes

LOST = Unknown(reason="timeout")
GONE = Unreadable(reason="503")
H = 86_400
LOOK = LOOK_US // 1_000_000
BUSY = Processing(ref="t", reference=ref())


def box(*terms: Terms) -> Story:
    return Story(*terms).boxed(0).fire(1).saw(LOST, 11)


def ended_absent(times: int) -> Story:
    story = Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2)
    for day in range(times):
        story.read((4 + day) * H + 9, ABSENT)
    return story


def idle() -> object:
    return found(container="open")


def lost_create(*terms: Terms, **more: object) -> Story:
    return Story(*(terms or (CLOSABLE,)), **more).step("create", 0, opens=True).saw(LOST, 10)


def never_sent(until_s: float) -> Story:
    """A dozen tries that did not leave, the last one ended at ``until_s``: the pause has grown to minutes."""
    story = Story(KEYED, route=("A",))
    for n in range(12):
        story.fire(until_s - 24 + 2 * n, opens=n == 0).saw(NotSent(reason="dns"), until_s - 22 + 2 * n)
    return story


def silent_for_minutes() -> Story:
    """Nobody answers a fire, and none of the looks after it: their pause has grown to two minutes."""
    story = Story(KEYED).fire(0).saw(LOST, 10)
    for at, kind in ((11, "read"), (24, "replay"), (44, "read"), (84, "replay"), (214, "read"), (344, "replay")):
        story.step(kind, at).saw(GONE if kind == "read" else LOST, at + 10)
    return story


def unheard_refund() -> Story:
    """A late success is given back by a call without an answer; the look an hour later was not answered either."""
    hourly = Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, read_schedule_s=(3600,))
    story = Story(hourly).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).read(4, found(yes())).reversal(5, 0)
    return story.read(6, found(yes()), operation=2, attempt=0).step("refund", 10, operation=2).read(3700, GONE, operation=2)


# a row: its name, a history, now in seconds, facts, and what is wanted: due in seconds and what to do
ROWS = [
    ("no attempt: the first account of the route", Story(), 1, {}, (0, "fire+ A")),
    ("no attempt, all blocked: wait", Story(), 50, {"blocked": {"A": None, "B": 95}}, (50 + LOOK, "fire+ A")),
    ("no attempt, all blocked: the first one that will be free", Story(), 50, {"blocked": {"A": None, "B": 55}}, (55, "fire+ B")),
    ("no attempt, all blocked until it is too late", Story(), 50, {"blocked": {"A": 90_000, "B": 90_001}}, (86_400, "FAILED no_provider_available")),
    ("no attempt, first blocked: the next", Story(), 1, {"blocked": {"A": None}}, (0, "fire+ B")),
    ("no attempt until settle_by", Story(), H + 9, {}, (H, "FAILED no_provider_available")),
    ("open step, lease live: what is due at its end", Story(UNIQUE).fire(0), 1, {}, (18, "read")),
    ("unread hint: read now, in a final status too", Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).hint(50), 50, {}, (50, "read")),
    ("hint at an attempt that is YES asks nothing", Story(KEYED).fire(0).saw(yes(), 1).hint(50), 50, {}, (None, "quiet")),
    ("surplus: append its reversal", Story(KEYED).fire(0).saw(no(), 1).fire(2, opens=True).saw(yes(1), 3).read(4, found(yes(0)), attempt=0), 5, {}, (5, "reverse 0")),
    ("a refund without an answer: the last chance inside its span", unheard_refund(), 3700, {}, (10 + 7200 - 10 - 60, "refund")),
    ("late success of a FAILED payment", Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).read(4, found(yes())), 5, {}, (5, "reverse 0")),
    ("UNKNOWN at the horizon, not readable", Story(KEYLESS).fire(0).saw(LOST, 10), 11, {}, (H, "IN_DOUBT horizon")),
    ("UNKNOWN at the horizon, readable: read once more", Story(UNIQUE).fire(0).saw(LOST, 10).read(H - 1, ABSENT), H, {}, (H, "read")),
    ("UNKNOWN past the horizon, read since", Story(UNIQUE).fire(0).saw(LOST, 10).read(H, ABSENT), H, {}, (H, "IN_DOUBT horizon")),
    ("closable past the horizon: close first", box(CLOSABLE).read(H + 1, ABSENT), H + 1, {}, (H + 1, "close")),
    ("closed past the horizon: re-read", box(CLOSABLE).read(H + 1, ABSENT).step("close", H + 2).saw(LOST, H + 3), H + 4, {}, (H + 8, "read")),
    ("closed and re-read: in doubt", box(CLOSABLE).read(H + 1, ABSENT).step("close", H + 2).saw(LOST, H + 3).read(H + 4, GONE), H + 5, {}, (H + 4, "IN_DOUBT horizon")),
    ("keyed UNKNOWN: read first", Story(KEYED).fire(0).saw(LOST, 10), 10, {}, (11, "read")),
    ("keyed UNKNOWN, read: replay on the schedule", Story(KEYED).fire(0).saw(LOST, 10).read(11, ABSENT), 11, {}, (14, "replay")),
    ("keyed, held after a restore: reads, no replay", Story(KEYED).fire(0).saw(LOST, 10).read(11, ABSENT), 11, {"hold": True}, (14, "read")),
    ("keyed, silent for minutes, then read: replay at the pace of one answered look", silent_for_minutes().read(500, ABSENT), 500, {}, (503, "replay")),
    ("keyed, answered, and silent again: the silence counts from there", silent_for_minutes().read(500, ABSENT).step("replay", 503).saw(LOST, 513), 513, {}, (523, "read")),
    ("keyed, never two replays without a read", Story(KEYED).fire(0).saw(LOST, 10).read(11, ABSENT).step("replay", 14).saw(LOST, 15), 15, {}, (25, "read")),
    ("keyed, the last chance inside the span is taken", Story(KEYED).fire(0).saw(LOST, 10).read(11, ABSENT).read(7000, ABSENT).read(7100, ABSENT).read(7120, ABSENT).read(7130, ABSENT), 7140, {}, (7130, "replay")),
    ("keyed, slept over the span: read", Story(KEYED).fire(0).saw(LOST, 10).read(11, ABSENT), 7191, {}, (14, "read")),
    ("keyed, only the replay could have had an effect: its horizon", Story(KEYED).fire(0).read(20, ABSENT).step("replay", 30).saw(LOST, 31).saw(NotSent(reason="deadline"), 40, about=2), 40, {}, (41, "read")),
    ("keyed, outside the span: read", Story(KEYED).fire(0).saw(LOST, 10).read(7195, ABSENT), 7196, {}, (7198, "read")),
    ("OPEN is never replayed", Story(KEYED).fire(0).saw(BUSY, 10).read(11, found(BUSY)), 11, {}, (14, "read")),
    ("unique reference: never re-sent", Story(UNIQUE).fire(0).saw(LOST, 10).read(11, ABSENT), 11, {}, (14, "read")),
    ("container idle: the same fire again", box(CLOSABLE).read(40, idle()), 41, {}, (40, "fire")),
    ("container idle, but everybody slept over the horizon: no fire", box(CLOSABLE).read(40, idle()), H + 50, {}, (43, "read")),
    ("held, but everybody slept over the horizon: no capture", Story(MANUAL).boxed(0).fire(1).saw(hold(), 2), H + 50, {}, (3, "read")),
    ("container idle, but a decline that may flip: close, no fire", box(CLOSABLE).read(40, found(no(until_s=9000), container="open")), 41, {}, (40, "close")),
    ("container not idle for long enough: read when it is", box(CLOSABLE).read(34, idle()), 34, {}, (37, "read")),
    ("container, read unreadable: no fire", box(CLOSABLE).read(40, GONE), 41, {}, (43, "read")),
    ("container, one decline seen of two fires: close", box(CLOSABLE).read(40, idle()).fire(41).saw(no(), 42).read(43, found(no(), container="open")), 44, {}, (43, "close")),
    ("container, three fires: close", box(CLOSABLE).read(40, idle()).fire(41).saw(LOST, 51).read(90, idle()).fire(91).saw(LOST, 101).read(140, idle()), 141, {}, (140, "close")),
    ("closed: the re-read that seals comes after the read lag", box(CLOSABLE).read(40, idle()).fire(41).saw(no(), 42).read(43, found(no(), container="open")).step("close", 44).saw(closed(), 45), 46, {}, (50, "read")),
    ("action expired: close", Story(CLOSABLE).boxed(0).fire(1).saw(RequiresAction(ref="t", reference=ref(), expires_at_us=1_700_000_090_000_000), 2).read(91, found(RequiresAction(ref="t", reference=ref(), expires_at_us=1_700_000_090_000_000), container="open")), 92, {}, (91, "close")),
    ("not live: a cancel closes", box(CLOSABLE).cancel(12).read(13, idle()), 14, {}, (13, "close")),
    ("held: capture", Story(MANUAL).boxed(0).fire(1).saw(hold(), 2), 2, {}, (2, "capture")),
    ("manual, two fires and a decline: left", box(MANUAL).read(40, idle()).fire(41).saw(no(), 42), 43, {}, (42, "left never_captured")),
    ("manual past the horizon: left", box(MANUAL).read(H + 2, GONE), H + 3, {}, (H + 2, "left never_captured")),
    ("manual, capture unknown past the horizon: in doubt", Story(MANUAL).boxed(0).fire(1).saw(hold(), 2).step("capture", 3).saw(LOST, 13).read(H + 9, GONE), H + 9, {}, (H + 9, "IN_DOUBT horizon")),
    ("manual, capture unknown, shown idle and held: again", Story(MANUAL).boxed(0).fire(1).saw(hold(), 2).step("capture", 3).saw(LOST, 13).read(60, found(hold(), container="open")), 61, {}, (60, "capture")),
    ("a lost account is not read or sent to", Story(UNIQUE).fire(0).saw(LOST, 10), 11, {"lost": frozenset({0})}, (H, "IN_DOUBT horizon")),
    ("mismatch: read daily", Story(KEYED).fire(0).saw(yes(amount_minor=1), 1), 2, {}, (None, "")),
    ("IN_DOUBT: read daily", Story(UNIQUE).fire(0).saw(LOST, 10).read(H, ABSENT).judge("IN_DOUBT", H), H, {}, (2 * H, "read")),
    ("IN_DOUBT, not readable: nothing to do", Story(KEYLESS).fire(0).saw(LOST, 10).judge("IN_DOUBT", H), H, {}, (None, "quiet")),
    ("IN_DOUBT, closable: close daily, then re-read", box(CLOSABLE).read(40, GONE).judge("IN_DOUBT", H), H, {}, (40 + H, "close")),
    ("restored elsewhere, nothing on record: quiet", Story().judge("IN_DOUBT", 1, reason="restored_elsewhere"), 2, {}, (None, "quiet")),
    ("restored elsewhere, a cancel asked: quiet", Story().cancel(1).judge("IN_DOUBT", 2, reason="restored_elsewhere"), 3, {}, (None, "quiet")),
    ("restored elsewhere, nothing sent here: quiet", Story(KEYED).fire(0).saw(NotSent(reason="dns"), 1).judge("IN_DOUBT", 2, reason="restored_elsewhere"), 3, {}, (None, "quiet")),
    ("restored elsewhere, unknown here: read daily", Story(UNIQUE).fire(0).saw(LOST, 10).judge("IN_DOUBT", 11, reason="restored_elsewhere"), 12, {}, (H + 10, "read")),
    ("restored elsewhere, declined here: watched", Story(KEYED).fire(0).saw(no(), 1).judge("IN_DOUBT", 2, reason="restored_elsewhere"), 3, {}, (2, "read")),
    ("found after a restore: opened by a look", Story(), 5 * H, {"found_at": "B"}, (0, "read+ B")),
    ("found after a restore, sealed before: opened by a look", Story(KEYED).fire(0).saw(no(hard=True), 1), 2 * H, {"found_at": "B"}, (1, "read+ B")),
    ("found after a restore, unknown before: not opened", Story(UNIQUE).fire(0).saw(LOST, 10), 11, {"found_at": "B"}, (11, "read")),
    ("found after a restore beside a charge: opened by a look", Story(KEYED).fire(0).saw(yes(), 1), 2, {"found_at": "B"}, (1, "read+ B")),
    ("final: losers are watched", Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2), 2, {}, (2, "read")),
    ("final: the longer nothing happens, the rarer the look", Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).read(900, found(no())), 900, {}, (1799, "read")),
    ("final: watched until watch_until", Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).read(4 * H - 1, found(no())), 4 * H, {}, (4 * H, "read")),
    ("final: quiet after watch_until", Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).read(4 * H, found(no())), 4 * H, {}, (None, "quiet")),
    ("SUCCESS at the first attempt: quiet", Story(KEYED).fire(0).saw(yes(), 1), 2, {}, (None, "quiet")),
    ("a watch that ends absent looks again", ended_absent(1), 5 * H, {}, (5 * H + 9, "read")),
    ("a watch that ends absent three times is over", ended_absent(3), 8 * H, {}, (None, "quiet")),
    ("cancel asked, nothing sent", Story(KEYED).cancel(3), 4, {}, (3, "CANCELED canceled")),
    ("cancel asked, attempt unknown: not yet", Story(UNIQUE).fire(0).saw(LOST, 10).cancel(11), 12, {}, (11, "read")),
    ("created: fire", Story(CLOSABLE).boxed(0), 1, {}, (0, "fire")),
    ("create unknown: look it up", lost_create(), 11, {}, (11, "read")),
    ("create unknown, found by our reference: fire into it", lost_create().read(11, found(container="open", container_id="box")), 12, {}, (11, "fire")),
    ("create unknown, not found: again, up to three times", lost_create().read(11, ABSENT), 12, {}, (None, "create")),
    ("create unknown, the look too: next account", lost_create().read(11, GONE), 12, {}, (11, "fire+ B")),
    ("create unknown, the look too, no other account: again", lost_create(route=("A",)).read(11, GONE), 12, {}, (None, "create")),
    ("create unknown, cannot be looked up: again", lost_create(replace(CLOSABLE, readable=False)), 11, {}, (None, "create")),
    ("create unknown three times: next account", lost_create().read(11, ABSENT).step("create", 12).saw(LOST, 13).read(14, ABSENT).step("create", 15).saw(LOST, 16).read(17, ABSENT), 18, {}, (17, "fire+ B")),
    ("drained while nothing was sent: next account", Story(CLOSABLE).boxed(0), 1, {"blocked": {"A": None}}, (0, "fire+ B")),
    ("blocked, and B was tried without effect: another turn for B", Story(KEYED, route=("B", "A")).fire(0).saw(NotSent(reason="dns"), 1).fire(2, opens=True).saw(NotSent(reason="dns"), 3), 4, {"blocked": {"A": None}}, (3, "fire+ B")),
    ("a soft no, the other account is free by itself later", Story(KEYED).fire(0).saw(no(), 1), 2, {"blocked": {"B": 9}}, (9, "fire+ B")),
    ("idle container, breaker open: read on", box(CLOSABLE).read(60, idle()), 61, {"blocked": {"A": 99}}, (63, "read")),
    ("idle order of our capture, drained: left", box(MANUAL).read(60, idle()), 61, {"blocked": {"A": None}}, (60, "left never_captured")),
    ("held, drained: captured all the same", box(MANUAL).read(60, found(hold(), container="open")), 61, {"blocked": {"A": None}}, (60, "capture")),
    ("idle container, drained: closed, not fired again", box(CLOSABLE).read(60, idle()), 61, {"blocked": {"A": None}}, (60, "close")),
    ("not sent: next account", Story(KEYED).fire(0).saw(NotSent(reason="dns"), 1), 2, {}, (1, "fire+ B")),
    ("rejected: next account", Story(KEYED).fire(0).saw(Rejected(reason="401"), 1), 2, {}, (1, "fire+ B")),
    ("not sent, only account: the same attempt again", Story(KEYED, route=("A",)).fire(0).saw(NotSent(reason="dns"), 1), 2, {}, (None, "fire")),
    ("breaker opens before the fire: next account", Story(CLOSABLE).boxed(0), 1, {"blocked": {"A": None}}, (0, "fire+ B")),
    ("never sent, and the pause goes past settle_by: a last try", never_sent(H - 9), H - 8, {}, (H - 1, "fire")),
    ("never sent, and a last try just made: FAILED", never_sent(H - 1), H - 1, {}, (H, "FAILED no_provider_available")),
    ("settle_by passed, nothing sent", Story(KEYED, route=("A",)).fire(0).saw(NotSent(reason="dns"), 1), H + 5, {}, (H, "FAILED no_provider_available")),
    ("a hard decline ends it", Story(KEYED).fire(0).saw(no(hard=True, code="stolen_card"), 1), 2, {}, (1, "FAILED stolen_card")),
    ("customer input ends it", Story(KEYED).fire(0).saw(no(scope="customer_input", code="cvc"), 1), 2, {}, (1, "FAILED cvc")),
    ("insufficient funds end it", Story(KEYED).fire(0).saw(no(code="insufficient_funds"), 1), 2, {}, (1, "FAILED insufficient_funds")),
    ("configuration may move on", Story(KEYED).fire(0).saw(no(scope="configuration"), 1), 2, {}, (1, "fire+ B")),
    ("attempts_max reached", Story(KEYED, attempts_max=1).fire(0).saw(no(), 1), 2, {}, (1, "FAILED declined")),
    ("no account may take another", Story(KEYED).fire(0).saw(no(), 1), 2, {"blocked": {"B": None}}, (1, "FAILED declined")),
    ("status was IN_DOUBT: no failover", Story(UNIQUE).fire(0).saw(LOST, 1).judge("IN_DOUBT", 20).read(30, found(no())), 31, {}, (30, "FAILED declined")),
    ("NO: next account", Story(KEYED).fire(0).saw(no(), 1), 2, {}, (1, "fire+ B")),
    ("left: next account", box(MANUAL).read(40, idle()).fire(41).saw(no(), 42).judge("left", 43, attempt=0), 43, {}, (43, "fire+ B")),
    ("settle_by passed after a NO", Story(KEYED).fire(0).saw(no(), 1), H + 5, {}, (H, "FAILED declined")),
    ("the only account, blocked: wait for it", Story(KEYED, route=("A",)).fire(0).saw(no(), 1), 2, {"blocked": {"A": None}}, (2 + LOOK, "fire+ A")),
]  # fmt: skip


@pytest.mark.parametrize(("row", "story", "now_s", "facts", "wanted"), ROWS, ids=[row[0].replace(" ", "_") for row in ROWS])
def test_rows(row: str, story: Story, now_s: float, facts: dict[str, object], wanted: tuple[float | None, str]) -> None:
    """Each row of section 4 as one history: when, and what. (None, what) = at a time with jitter."""
    at_s, what = story.due(now_s, **facts)
    if wanted == (None, ""):  # weighed by the engine before it is stored; see the interleavings
        return
    if wanted[0] is not None or wanted[1] == "quiet":
        assert (at_s, what) == wanted
    else:
        assert what == wanted[1]
        assert at_s is not None
        assert story.p.updated_us <= story.next(now_s, **facts).at_us  # type: ignore[operator]


@pytest.mark.parametrize("row", ROWS, ids=[row[0].replace(" ", "_") for row in ROWS])
def test_due_leads_to_an_action(row: tuple[str, Story, float, dict[str, object], object]) -> None:
    """The invariant of section 3: at its own due time plan says something to do, now; and quiet stays quiet."""
    _, story, now_s, facts, _ = row
    first = story.next(now_s, **facts)
    if first.at_us is None:
        assert story.next(now_s + 400 * H, **facts).at_us is None
        return
    waits = bool(facts.get("blocked"))  # computed from now on purpose: the shell knows when a breaker closes
    again = story.next(max(now_s, (first.at_us - story.p.created_us) / 1_000_000), **facts)
    assert again.do is not None
    assert waits or again.at_us is None or again.at_us <= max(first.at_us, story.p.created_us + now_s * 1_000_000)


def surplus(*terms: Terms) -> Story:
    story = Story(*(terms or (KEYED, KEYED))).fire(0).saw(no(), 1).fire(2, opens=True).saw(yes(1), 3)
    return story.read(4, found(yes(0)), attempt=0).reversal(5, 0)


def test_an_account_that_is_away_does_not_end_the_watch() -> None:
    """A declined charge may still turn: what was due while the account pointed elsewhere stays due, for a month."""
    story = Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2)
    away = {"lost": frozenset({0})}
    assert story.due(10, **away) == story.due(10)
    assert story.due(20 * H, **away)[1] == "read"
    assert story.due(40 * H, **away)[1] == "quiet"
    assert story.due(40 * H)[1] == "read"


def test_a_hint_about_an_account_that_is_away_waits_a_day_and_holds_nothing_up() -> None:
    """The claim is kept until it can be looked at; other attempts go on meanwhile."""
    story = Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).hint(50)
    assert story.due(50) == (50, "read")
    assert story.due(50, lost=frozenset({0}))[0] == 2  # the watch is due as ever; the shell puts it off
    unknown = Story(KEYED).fire(0).saw(LOST, 10).hint(50)
    assert unknown.due(2 * H, lost=frozenset({0}))[1] == "IN_DOUBT horizon"
    two = Story(KEYED, KEYED).fire(0).saw(no(), 1).fire(2, opens=True).saw(LOST, 12)
    two.add(Hinted(attempt=0, ref="h"), 13)
    assert two.due(20, lost=frozenset({0})) == (13, "read")


def test_a_container_is_closed_before_it_is_left() -> None:
    """Also after a final decline, which folds as a no: a copy of the fire may still be taken while it is open."""
    story = Story(CLOSABLE, CLOSABLE).boxed(0).fire(1).saw(no(), 2)
    assert story.due(2)[1] == "read"
    story.read(3, found(no(), container="open"))
    assert story.due(3)[1] == "close"
    story.step("close", 4).saw(closed(), 5)
    assert story.due(5)[1] == "read"
    story.read(11, found(no(), container="closed"))
    assert story.due(11)[1] == "fire+ B"


def test_what_an_earlier_version_left_is_history() -> None:
    """A closable container that was left by a final decline alone, as version 0.1.0 did, still folds."""
    story = Story(CLOSABLE, KEYED).boxed(0).fire(1).saw(no(), 2).fire(3, opens=True).saw(yes(1), 4)
    assert story.p.status == "SUCCESS"
    ended = Story(CLOSABLE).boxed(0).fire(1).saw(no(hard=True), 2).judge("FAILED", 3)
    assert ended.due(4)[1] == "read"  # it is watched


def test_a_reversal_reads_gives_and_reads() -> None:
    """Read first, give back under its own reference, read again; SUCCEEDED by our refund or by theirs in full."""
    story = surplus()
    assert story.due(5) == (5, "read")
    story.read(6, found(yes(0)), operation=2, attempt=0)
    assert story.due(6) == (6, "refund")
    story.step("refund", 7, operation=2, attempt=0).saw(LOST, 8)
    assert story.due(8)[1] == "read"
    assert story.p.operations[1].state == "PENDING"
    story.read(12, found(yes(0, refunded_minor=100)), operation=2, attempt=0)
    assert story.p.operations[1].state == "SUCCEEDED"
    assert story.p.reversed_minor() == 100
    assert story.p.refunded_minor == 0


def test_a_reversal_of_another_amount_is_not_done() -> None:
    """A refund under our reference with another amount does not end the reversal (R10)."""
    story = surplus()
    o = story.p.operations[1]
    less = Refunded(ref="r", reference=o.reference, amount_minor=60, currency="INR")
    story.read(6, found(yes(0, refunded_minor=60), refunds=(less,)), operation=2, attempt=0)
    assert story.p.operations[1].state == "PENDING"


def test_a_refused_refund_is_looked_up_and_unreadable_ones_are_paced() -> None:
    """After a refusal read again, not give again; where nothing can be read, give again on the schedule, never at once."""
    story = surplus().read(6, found(yes(0)), operation=2, attempt=0)
    story.step("refund", 7, operation=2, attempt=0).saw(Rejected(reason="422"), 8)
    assert story.due(8)[1] == "read"
    blind = surplus(Terms(keyed=True, readable=False), KEYED)
    assert blind.due(5) == (5, "refund")
    blind.step("refund", 6, operation=2, attempt=0).saw(Rejected(reason="422"), 7)
    assert blind.due(7) == (8, "refund")


def test_a_reversal_that_was_never_sent_is_not_given_up() -> None:
    """Reads fail past the horizon, nothing was given back: IN_DOUBT, and given back once a read works again."""
    story = surplus().read(6, GONE, operation=2, attempt=0).read(H + 9, GONE, operation=2, attempt=0)
    assert story.due(H + 10)[1] == "operation_IN_DOUBT horizon"
    story.judge("operation_IN_DOUBT", H + 10, operation=2)
    assert story.p.attention == "reversal_unresolved"
    story.read(2 * H + 10, found(yes(0)), operation=2, attempt=0)
    assert story.due(2 * H + 10) == (2 * H + 10, "refund")


def test_a_declined_refund_fails_the_reversal_with_attention() -> None:
    """The vendor refuses to give back: FAILED, and a person is told."""
    story = surplus().read(6, found(yes(0)), operation=2, attempt=0)
    story.step("refund", 7, operation=2, attempt=0).saw(no(code="not_refundable"), 8)
    assert (story.p.operations[1].state, story.p.attention) == ("FAILED", "reversal_unresolved")


def test_one_unreadable_attempt_does_not_silence_the_others() -> None:
    """An attempt that nothing can be done for leaves the rest of the payment its due times."""
    story = Story(KEYED, KEYLESS).fire(0).saw(no(), 1).fire(2, opens=True).saw(LOST, 3).read(4, found(yes(0)), attempt=0)
    assert story.p.status == "SUCCESS"
    assert story.due(5) == (H + 2, "attention horizon")
    story.judge("attention", H + 2, reason="horizon")
    assert story.p.attention == "horizon"
    assert story.due(H + 3) == (None, "quiet")


def test_a_hint_is_read_with_backoff_and_at_most_forty_times() -> None:
    """Unreadable keeps the hint, slower each time; after forty reads the schedule is left alone."""
    story = Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).read(4 * H, found(no())).hint(4 * H + 1)
    at_s = 4 * H + 1.0
    for _ in range(40):
        due_s, what = story.due(at_s)
        assert what == "read"
        assert due_s is not None
        at_s = max(at_s, due_s)
        story.read(at_s, GONE)
    assert story.a.hint is not None
    assert story.due(at_s) == (None, "quiet")


def test_attempts_are_counted_by_money_steps_that_could_have_had_effect() -> None:
    """NotSent, Rejected and container failures are not counted; two declines of three attempts leave one more."""
    story = Story(KEYED, KEYED, KEYED, KEYED, route=("A", "B", "C", "D"), attempts_max=2)
    story.fire(0).saw(NotSent(reason="dns"), 1).fire(2, opens=True).saw(Rejected(reason="401"), 3)
    story.fire(4, opens=True).saw(no(), 5)
    assert story.due(6) == (5, "fire+ D")
    story.fire(7, opens=True).saw(no(3), 8)
    assert story.due(9) == (8, "FAILED declined")


def test_the_same_account_gets_a_new_attempt_after_a_soft_decline() -> None:
    """With a single account the next attempt is there, after a pause with jitter of at most a second."""
    story = Story(KEYED, route=("A",)).fire(0).saw(no(), 1)
    at_s, what = story.due(1)
    assert what == "fire+ A"
    assert at_s is not None
    assert 1 <= at_s <= 2


@pytest.mark.parametrize(("asked", "waits_s"), [(None, 0), (0, 1), (-5, 1), (7, 7), (900, 900), (86_400, 900)])
def test_retry_after_is_clamped(asked: int | None, waits_s: int) -> None:
    """Retry-After is honoured between one second and fifteen minutes."""
    assert retry_after_us(Unknown(reason="429", retry_after_s=asked)) == waits_s * 1_000_000
    story = Story(UNIQUE).fire(0).saw(Unknown(reason="429", retry_after_s=asked), 10)
    assert story.due(10) == (10 + max(1, waits_s), "read")


def test_backoff_is_jittered_capped_and_the_same_for_the_same_row() -> None:
    """Full jitter from a hash of id and version: no randomness in the core."""
    assert backoff_us("pay_1", 3, 2) == backoff_us("pay_1", 3, 2)
    assert len({backoff_us("pay_1", version, 3) for version in range(50)}) > 40
    assert all(0 <= backoff_us("pay_1", version, 99) < 900_000_000 for version in range(50))


def test_the_captured_hold_wins() -> None:
    """The capture's answer is the charge: SUCCESS with its amount."""
    story = Story(MANUAL).boxed(0).fire(1).saw(hold(), 2).step("capture", 3).saw(captured(), 4)
    assert (story.p.status, story.p.captured_minor, story.p.winner) == ("SUCCESS", 100, 0)
