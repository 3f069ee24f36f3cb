"""Receivers that do not take what they are told: the schedule, and when an endpoint is given up."""

import itertools

import pytest

from payonce.mail import Delivery
from payonce.outbound import signing
from payonce.outbound.schedule import DELAYS_S, TRIES_MAX
from payonce.outbound.sending import Sent

from .room import SCOPE, SECOND_US, URL, Room, always, run


async def one(room: Room) -> Delivery:
    (found,) = await room.deliveries()
    return found


def test_the_schedule_is_that_of_the_specification() -> None:
    """Ten tries over about three days, each a little late; the id and the body stay, the time is each try's own."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        room.receivers.answers[URL] = always(500)
        await room.pay()
        await room.pass_time(4 * 86_400)
        got = room.receivers.got
        assert len(got) == TRIES_MAX == 10
        waits = [(b.at_us - a.at_us) / SECOND_US for a, b in itertools.pairwise(got)]
        for wait, planned in zip(waits, DELAYS_S[1:], strict=True):
            assert planned <= wait <= planned * 1.1 + 1
        assert len({m.id for m in got}) == len({m.body for m in got}) == 1
        for m in got:
            assert int(m.headers[signing.TIMESTAMP]) == m.at_us // SECOND_US
            signing.verify(m.headers, m.body, room.endpoints.secrets(endpoint), m.at_us)
        d = await one(room)
        assert (d.state, d.tries, d.status, d.said, d.due_us) == ("failed", 10, 500, "it answered 500", None)

    run(check)


@pytest.mark.parametrize(
    ("sent", "least_s"),
    [
        (Sent(status=429, retry_after_s=600), 600),
        (Sent(status=503, retry_after_s=86_400), 86_400),
        (Sent(status=429, retry_after_s=0), 5),
        (Sent(status=500, retry_after_s=600), 5),
        (Sent(status=302), 5),
        (Sent(said="no answer within 15000 ms"), 5),
    ],
)
def test_who_asks_for_time_gets_it(sent: Sent, least_s: int) -> None:
    """429 and 503 with Retry-After put the next try off; they never make it earlier, and others cannot."""

    async def check(room: Room) -> None:
        await room.endpoint()
        room.receivers.answers[URL] = lambda: sent
        await room.pay()
        await room.drain()
        d = await one(room)
        assert d.due_us is not None
        assert least_s <= (d.due_us - d.last_us) / SECOND_US <= max(least_s, 6)
        assert (d.state, d.tries, d.status) == ("pending", 1, sent.status)

    run(check)


def test_gone_disables_at_once() -> None:
    """410: on the journal, with the reason; what waits for it is canceled, and nothing more is sent."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        room.receivers.answers[URL] = always(500)
        await room.pay()
        await room.drain()
        room.receivers.answers[URL] = always(410)
        await room.pay()
        await room.pass_time(3600)
        now = await room.endpoints.get(SCOPE, endpoint.id)
        assert now is not None
        assert (now.state, now.reason) == ("disabled", "it answered 410 Gone")
        assert (await room.acts())[-1] == ("endpoint.disabled", "courier")
        assert sorted(d.state for d in await room.deliveries()) == ["canceled", "failed"]
        assert len(room.receivers.got) == 2
        await room.endpoints.refresh()
        assert not room.endpoints.any("mer_default", "test")

    run(check)


def test_an_endpoint_that_takes_nothing_for_three_days_is_disabled() -> None:
    """With the first delivery that runs out of tries; recover brings all of it when it is back."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        room.receivers.answers[URL] = always(500)
        for _ in range(40):
            await room.pay()
            await room.pass_time(3 * 3600)
        now = await room.endpoints.get(SCOPE, endpoint.id)
        assert now is not None
        assert (now.state, now.reason[:15]) == ("disabled", "nothing got thr")
        assert [a for a in await room.acts() if a[0] == "endpoint.disabled"] == [("endpoint.disabled", "courier")]
        states = {d.state for d in await room.deliveries()}
        await room.pass_time(2 * 86_400)
        assert {d.state for d in await room.deliveries()} == {"failed", "canceled"} >= states - {"pending"}
        room.receivers.answers[URL] = always(200)
        await room.endpoints.enable(SCOPE, endpoint.id, actor="test")
        assert await room.courier.recover(SCOPE, endpoint.id, endpoint.created_us, actor="test") == 40
        await room.pass_time(60)
        assert {m.id for m in room.receivers.took} == await room.news()
        assert {d.state for d in await room.deliveries()} == {"delivered"}

    run(check)


def test_a_receiver_that_is_down_for_three_days_gets_everything_after_it_returns() -> None:
    """Nobody has to do anything: each event, once it is back."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        room.receivers.answers[URL] = lambda: Sent(said="the connection was refused")
        for _ in range(48):
            await room.pay()
            await room.pass_time(86_400 * 3 / 48)
        assert not room.receivers.took
        room.receivers.answers[URL] = always(200)
        await room.pass_time(86_400 * 1.2)
        assert sorted(m.id for m in room.receivers.took) == sorted(await room.news())
        now = await room.endpoints.get(SCOPE, endpoint.id)
        assert now is not None
        assert (now.state, now.failing_since_us) == ("enabled", 0)

    run(check)


def test_one_event_that_a_receiver_never_takes_disables_nothing() -> None:
    """A bug of the receiver in one event: that delivery fails, the others go on."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        await room.pay()
        poison = next(iter(await room.news()))
        room.receivers.answers[URL] = lambda: Sent(status=500 if room.receivers.got[-1].id == poison else 200)
        for _ in range(45):
            await room.pass_time(2 * 3600)
            await room.pay()
        await room.drain()
        assert {d.event_id for d in await room.deliveries() if d.state == "failed"} == {poison}
        assert {m.id for m in room.receivers.took} == await room.news() - {poison}
        now = await room.endpoints.get(SCOPE, endpoint.id)
        assert now is not None
        assert now.state == "enabled"

    run(check)


def test_an_outage_of_two_days_disables_nothing_whatever_failed_before() -> None:
    """An event that was never taken runs out of tries in the middle of it: others had got through until it began."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        await room.pay()
        poison, down = next(iter(await room.news())), [False]
        room.receivers.answers[URL] = lambda: Sent(status=500 if down[0] or room.receivers.got[-1].id == poison else 200)
        for hour in range(0, 96, 4):
            down[0] = 30 <= hour < 84
            await room.pass_time(4 * 3600)
            await room.pay()
        await room.pass_time(2 * 86_400)
        assert {d.event_id for d in await room.deliveries() if d.state == "failed"} == {poison}
        assert {m.id for m in room.receivers.took} == await room.news() - {poison}
        assert [what for what, _ in await room.acts()] == ["endpoint.created"]
        assert (await room.endpoints.all(SCOPE))[0].id == endpoint.id

    run(check)
