"""The sweeper as Lambda runs it, on the model of DynamoDB and SQS."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from payonce.aws.sweeper import QUEUED_MAX, SENT_MAX, Sent, Swept, metrics, sweep
from payonce.aws.worker import work
from payonce.bootstrap import App

from .room import DEAD, LONG_MS, QUEUE, SetClock, WatchedAws, heard, in_room, pay, record


def test_a_sweep_sends_what_was_never_sent(tmp_path: Path) -> None:
    """Payments and webhooks whose messages were lost are sent, the longest due first, and the figures say how late they are."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        first = await pay(app, "tok_ok", "a")
        clock.at_us += 40_000_000
        second = await pay(app, "tok_ok", "b")
        assert app.webhooks is not None
        await app.webhooks.inbox.put(heard(app, 1))
        await app.wake.flush()
        aws.sent.clear()
        swept = await sweep(app, Sent(), LONG_MS)
        assert sorted(aws.sent) == sorted([(first, 0), (second, 0), (f"wh_{1:020d}", 0)])
        assert (swept.due, swept.sent, swept.oldest_s) == (3, 3, 40.0)

    in_room(tmp_path, story)


def test_what_stays_due_is_sent_less_and_less_often(tmp_path: Path) -> None:
    """Of sixty sweeps, a minute apart, six send an id that stays due; what becomes due meanwhile is sent at once."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        stuck, sent = await pay(app, "tok_ok", "a"), Sent()
        await app.wake.flush()
        aws.sent.clear()
        for minute in range(60):
            if minute == 30:
                fresh = await pay(app, "tok_ok", "b")
                await app.wake.flush()
                aws.sent.clear()
            before = len(aws.sent)
            await sweep(app, sent, LONG_MS)
            if minute == 30:
                assert fresh in [id for id, _ in aws.sent]
            assert len(aws.sent) - before <= 2
            clock.at_us += 60_000_000
        assert [id for id, _ in aws.sent].count(stuck) <= 3  # since minute 30

    in_room(tmp_path, story)


def test_what_was_moved_and_is_due_anew_is_sent_at_once(tmp_path: Path) -> None:
    """An id rests for what it was sent for. A payment that has gone on since, and is due again, does not."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id, sent = await pay(app, "tok_ok", "a"), Sent()
        await app.wake.flush()
        for due_s in (0, 1, 2):
            assert await app.store.defer(id, 1, clock.now_us() + due_s) is True
            clock.at_us += 5_000_000
            aws.sent.clear()
            await sweep(app, sent, LONG_MS)
            assert aws.sent == [(id, 0)]
            await sweep(app, sent, LONG_MS)
            assert aws.sent == [(id, 0)]

    in_room(tmp_path, story)


def test_a_full_queue_is_not_made_longer(tmp_path: Path) -> None:
    """While the worker cannot keep up nothing is added to its queue; what is due is still counted."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        for n in range(3):
            await pay(app, "tok_ok", str(n))
        await app.wake.flush()
        aws.sent.clear()
        aws.lengths[QUEUE], aws.lengths[DEAD] = QUEUED_MAX, 2
        swept = await sweep(app, Sent(), LONG_MS)
        assert (aws.sent, swept.sent, swept.queued, swept.dead) == ([], 0, QUEUED_MAX, 2)
        assert swept.due > 0
        aws.lengths[QUEUE] = QUEUED_MAX - 2
        assert (await sweep(app, Sent(), LONG_MS)).sent == 2

    in_room(tmp_path, story)


def test_a_sweep_that_cannot_send_sends_again(tmp_path: Path) -> None:
    """Ids that the queue did not take are not taken for sent."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id, sent = await pay(app, "tok_ok", "a"), Sent()
        await app.wake.flush()
        aws.sent.clear()
        aws.down = {"SendMessageBatch"}
        assert (await sweep(app, sent, LONG_MS)).sent == 0
        aws.down = set()
        clock.at_us += 5_000_000
        assert (await sweep(app, sent, LONG_MS)).sent == 1
        assert aws.sent == [(id, 0)]

    in_room(tmp_path, story)


def test_what_is_stuck_does_not_hide_what_is_due_after_it(tmp_path: Path) -> None:
    """With room for one id only, one that was sent and rests does not take the place of the next one."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        stuck, sent = await pay(app, "tok_ok", "a"), Sent()
        clock.at_us += 1_000_000
        fresh = await pay(app, "tok_ok", "b")
        await app.wake.flush()
        aws.sent.clear()
        aws.lengths[QUEUE] = QUEUED_MAX - 1
        for _ in range(2):
            await sweep(app, sent, LONG_MS)
            clock.at_us += 5_000_000
        assert aws.sent == [(stuck, 0), (fresh, 0)]

    in_room(tmp_path, story)


def test_an_idle_sweep_costs_what_it_says(tmp_path: Path) -> None:
    """With nothing due a sweep writes nothing, and reads what its docstring says: 16 shards of payments, 16 of webhooks, once
    what needs eyes, and a few rows of the registry."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        sent = Sent()
        await sweep(app, sent, LONG_MS)  # the first one looks for old webhooks too
        aws.model.bill.reset()
        await sweep(app, sent, LONG_MS)
        bill = aws.model.bill
        assert bill.write_units() == 0
        assert bill.calls["dynamodb", "Query"] <= 4 * 16 + 4
        assert bill.calls["dynamodb", "Scan"] == 1
        assert {operation for _, operation in bill.calls} == {"Query", "Scan"}
        assert bill.read_units() <= 4 * 16 * 0.5 + 0.5 + 4

    in_room(tmp_path, story)


def test_a_sweep_counts_what_people_must_see(tmp_path: Path) -> None:
    """Payments in doubt are counted, and open breakers; not what a person has decided, whatever mark that leaves."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id = await pay(app, "tok_wrong_amount", "k")
        for _ in range(8):
            await work(app, [record(id)], LONG_MS)
            clock.at_us += 30_000_000
        p = await app.store.get(id)
        assert p is not None
        assert p.status == "IN_DOUBT" or p.attention
        swept = await sweep(app, Sent(), LONG_MS)
        assert (swept.eyes, swept.breakers) == (1, 0)
        reason, ref = "the bank agrees", str(getattr(p.attempts[-1].steps[0].outcome, "ref", ""))
        resolve = partial(app.engine.resolve, app.scope, id, "charged", reason=reason, actor="ops", provider_ref=ref)
        await resolve(amount_minor=p.amount_minor + 100, accept_amount=True)
        assert (await sweep(app, Sent(), LONG_MS)).eyes == 0

    in_room(tmp_path, story)


def test_figures_that_are_not_known_are_left_out() -> None:
    """The line is one JSON document in CloudWatch's form, names each figure with its unit once, and no figure that was not
    read: a missing figure is no zero."""
    swept = Swept(due=3, oldest_s=1.5, sent=2, queued=None, dead=0, eyes=None, breakers=1)
    line = metrics(swept, SetClock(), "f")
    said: dict[str, Any] = json.loads(line)
    assert "\n" not in line
    (sheet,) = said["_aws"]["CloudWatchMetrics"]
    names = [each["Name"] for each in sheet["Metrics"]]
    assert names == ["OldestDueSeconds", "Due", "Sent", "DeadLetters", "BreakersOpen"]
    assert [said[name] for name in names] == [1.5, 3, 2, 0, 1]
    assert sheet["Dimensions"] == [["FunctionName"]]
    assert said["FunctionName"] == "f"
    assert SENT_MAX <= QUEUED_MAX
