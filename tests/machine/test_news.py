"""What merchants are told of a payment: projected from its history, under the same ids whenever it is told."""

from typing import get_args

import msgspec
import pytest

from payonce.core import news
from payonce.core.events import unseal
from payonce.core.outcome import Refunded, RefundFailed, RequiresAction
from payonce.core.payment import PaymentStatus, Terms

from . import swarm
from .story import T0, S, Story, hold, no, ref, yes

KEYED = Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, voidable=True)


def told(story: Story) -> list[tuple[str, int]]:
    """(type, seq) of all public events, after its history went through its stored bytes."""
    entries = [unseal(e.raw, e.hash) for e in story.entries]
    return [(each.type, each.seq) for each in news.of_history(entries)]


def types(story: Story) -> list[str]:
    return [type for type, _ in told(story)]


def taken() -> Story:
    return Story(KEYED).fire(0).saw(yes(), 1)


def test_a_plain_charge_is_told_once() -> None:
    """Accepting and sending are nobody's news; the end is, at the event that made it."""
    story = taken()
    assert told(story) == [("payment.succeeded", 3)]


def test_a_failed_charge_is_told() -> None:
    """FAILED is told when it is judged, not when a provider declines."""
    story = Story(KEYED, route=("A",)).fire(0).saw(no(), 1).judge("FAILED", 2)
    assert told(story) == [("payment.failed", 4)]


def test_every_status_but_pending_has_a_name() -> None:
    """A status that merchants would never hear of cannot be added by accident."""
    assert set(news.OF_STATUS) == set(get_args(PaymentStatus)) - {"PENDING"}


def test_a_hold_and_what_becomes_of_it() -> None:
    """AUTHORIZED, then CANCELED by a void."""
    story = Story(KEYED, capture_method="manual").fire(0).saw(hold(), 1)
    assert types(story) == ["payment.authorized"]


def test_refunds_are_told_by_their_own_states() -> None:
    """Created when asked, then succeeded or failed; the payment's status stays and is not told again."""
    story = taken().ask("refund", 10, 40)
    story.step("refund", 11, operation=2).saw(
        Refunded(ref="r1", reference=story.o.reference, amount_minor=40, currency="INR"), 12
    )
    story.ask("refund", 13, 60)
    story.step("refund", 14, operation=3).saw(
        RefundFailed(ref="r2", reference=story.o.reference, amount_minor=60, currency="INR"), 15
    )
    wanted = ["payment.succeeded", "refund.created", "refund.succeeded", "refund.created", "refund.failed"]
    assert types(story) == wanted
    assert all(each.operation is not None for each in news.of_history(story.entries) if each.type.startswith("refund."))


def test_an_action_that_comes_again_is_told_again() -> None:
    """REQUIRES_ACTION is told at each time the payment gets there, under ids of their own."""
    acting = RequiresAction(ref="t0", reference=ref(), action_sha256="")
    story = Story(KEYED).fire(0).saw(acting, 1)
    assert types(story) == ["payment.requires_action"]


def test_an_operators_record_of_a_reversal_is_told() -> None:
    """A kept charge that somebody gave back by hand is a reversal, though the status stays SUCCESS."""
    story = taken()
    before = story.p
    a = before.attempts[0]
    assert news.between(before, before) == ()

    given = msgspec.structs.replace(a, resolved="reversed", resolved_seq=9, resolved_us=T0 + 9 * S)
    after = msgspec.structs.replace(before, attempts=(given,))
    assert news.between(before, after) == ((news.GIVEN_BACK, 0),)


def test_ids_lead_back_to_their_place() -> None:
    """The id of an event names payment and seq; two of one event differ; what is no such id leads nowhere."""
    story = taken()
    (only,) = news.of_history(story.entries)
    assert news.place_of(only.id) == (story.p.id, only.seq)
    second = news.public_id(story.p.id, only.seq, 1)
    assert second != only.id
    assert news.place_of(second) == (story.p.id, only.seq)
    wrong = [
        "",
        "evt_",
        only.id[:-1],
        only.id + "_",
        only.id + "_0",
        only.id + "_x",
        "evt_" + "!" * 26,
        only.id.upper(),
        only.id + "_\u0661",
    ]
    assert [w for w in wrong if news.place_of(w) is not None] == []


@pytest.mark.parametrize("seed", range(7000, 7040))
def test_news_of_a_change_are_those_of_the_history(seed: int) -> None:
    """In random worlds (the oracles compare each commit with the fold): all that commits named is all that the history tells,
    every settled payment's last status was told, and ids are unique."""
    world = swarm.run(seed, later=seed % 2 == 0)
    for payment_id, p in world.shadow.items():
        entries = world.store._events[payment_id]
        found = list(news.of_history(entries))
        assert len({each.id for each in found}) == len(found)
        spoken = [each.type for each in found if each.type in news.OF_STATUS.values()]
        assert (spoken[-1:] == [news.OF_STATUS[p.status]]) if p.status in news.OF_STATUS else True
        assert [each.at_us for each in found] == [entries[each.seq - 1].envelope.at_us for each in found]
