"""Processes die anywhere and receivers do what they like: every event arrives at least once, or its delivery failed and the
endpoint is shown disabled."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.outbound.schedule import TRIES_MAX
from payonce.outbound.sending import Sent

from .room import SCOPE, START_US, URL, Fate, Killed, Process, Room, always, run

AWAITS_MAX = 400  # more than any of these lives has
DAY_S = 86_400


async def life(room: Room, process: Process) -> None:
    """What one process does: it delivers, is asked to recover and to replay, and delivers again."""
    await room.drain(process.courier)
    await process.courier.recover(SCOPE, (await process.endpoints.all(SCOPE))[0].id, START_US, actor="a")
    for d in (await room.deliveries())[:1]:
        await process.courier.replay(SCOPE, d.id, actor="a")
    await room.drain(process.courier)


async def dies(room: Room, at: int, ended: list[int]) -> None:
    early = await room.pay(notify=False)
    await room.endpoint()
    answers = iter([500, 200, 429, 200])
    room.receivers.answers[URL] = lambda: Sent(status=next(answers, 200))
    payment_id = await room.pay()
    await room.pay()
    await room.refund(payment_id, 10)
    fate = Fate(at)
    with contextlib.suppress(Killed):
        await life(room, room.process(fate))
    ended.append(fate.steps)
    (endpoint,) = await room.endpoints.all(SCOPE)
    await room.pass_time(DAY_S, room.process().courier)
    wanted = await room.news()
    if endpoint.recovery is None:  # it died before it had put the recovery on record
        wanted -= {event_id for event_id in wanted if event_id.startswith("evt_" + early[4:])}
        assert len(wanted) == 3
    assert {m.id for m in room.receivers.took} >= wanted
    assert {d.state for d in await room.deliveries()} == {"delivered"}


def test_it_may_die_at_any_await() -> None:
    """Before or after each call to a store, the registry or a receiver: the next process makes up for it."""
    ended = list[int]()
    for at in range(1, AWAITS_MAX):
        run(lambda room: dies(room, at, ended))  # noqa: B023
        if ended[-1] < at:
            break
    assert 50 < ended[-1] < AWAITS_MAX - 1
    assert ended[:50] == list(range(1, 51))


ANSWER = st.sampled_from(
    [
        Sent(status=200),
        Sent(status=500),
        Sent(status=302),
        Sent(status=429, retry_after_s=900),
        Sent(status=503, retry_after_s=DAY_S),
        Sent(said="no answer within 15000 ms"),
    ]
)


@settings(max_examples=120, deadline=None)
@given(
    answers=st.lists(ANSWER, max_size=40),
    then=st.sampled_from([200, 200, 500, 410]),
    deaths=st.lists(st.integers(1, 60), max_size=8),
    pauses=st.lists(st.integers(0, 20_000), min_size=1, max_size=8),
    seed=st.integers(0, 2**32),
)
def test_every_event_arrives_or_is_shown_as_failed(
    answers: list[Sent], then: int, deaths: list[int], pauses: list[int], seed: int
) -> None:
    """Any answers, any deaths, any times; in the end the receiver is back, or gone for good."""

    async def check(room: Room) -> None:
        endpoint = await room.endpoint()
        left = iter(answers)
        room.receivers.answers[URL] = lambda: next(left, Sent(status=then))
        for pause, death in zip(pauses, [*deaths, *[0] * 8], strict=False):
            payment_id = await room.pay()
            if pause % 2:
                await room.refund(payment_id, 1)
            with contextlib.suppress(Killed):
                await room.pass_time(pause, room.process(Fate(death)).courier)
        await room.pass_time(20 * DAY_S, room.process().courier)
        now = await room.endpoints.get(SCOPE, endpoint.id)
        assert now is not None
        took = {m.id for m in room.receivers.took}
        found = await room.deliveries()
        told = {d.event_id for d in found}
        assert told <= await room.news()
        assert told == await room.news() or now.state == "disabled"
        for d in found:
            assert d.state != "pending"
            assert d.state != "delivered" or d.event_id in took
            assert d.state == "delivered" or now.state == "disabled" or d.tries == TRIES_MAX
        assert now.state == "enabled" or then != 200 or len(answers) >= 10

    run(check, seed)


@pytest.mark.parametrize("couriers", [2, 3])
def test_several_processes_share_the_work(couriers: int) -> None:
    """All at it at once, over one outbox: each event arrives, and hardly any twice."""

    async def check(room: Room) -> None:
        await room.endpoint()
        for _ in range(30):
            await room.pay()
        others = [room.process().courier for _ in range(couriers)]
        for _ in range(10):
            rows = await room.courier.due(room.clock.now_us(), 100)
            await asyncio.gather(*(c.resolve(row.id) for row in rows for c in others))
            room.clock.at_us += 60_000_000
        room.receivers.answers[URL] = always(200)
        await room.drain()
        assert sorted(m.id for m in room.receivers.took) == sorted(await room.news())

    run(check)
