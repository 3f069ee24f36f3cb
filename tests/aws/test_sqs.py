"""Wake-ups and dead letters against real queues of the emulator, with a redrive policy as the deployed ones have it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import pytest

from payonce.awsapi import Answer, Aws, Done
from payonce.awsclient.client import AwsClient
from payonce.core import ids
from payonce.core.errors import ConfigError, StoreUnavailable
from payonce.core.redact import mask
from payonce.ports import Wake
from payonce.wake import sqs
from payonce.wake.dead_letters import Looking
from payonce.wake.sqs import COLLECTED_MAX, DELAY_S_MAX, DeadLetters, SqsWake, hint_of, standing
from tests.api.service import TickingClock

from .emulator import emulator, environment
from .queues import RECEIVES_MAX, Queues, two_queues
from .spoiling import Fate, Hasty, Spoiled, once

CLOCK = Hasty()


def pay(number: int) -> str:
    """A payment's id."""
    return "pay_" + ids.encode(number)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The emulator, for all tests of this file."""
    with emulator(tmp_path_factory.mktemp("aws")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqs, "POLL_S", 0)  # the emulator is one server: nothing is to be waited for
        client = AwsClient(CLOCK, environ=environment(url))
        yield client
        asyncio.run(client.close())


def use(aws: Aws, test: Callable[[Queues], Awaitable[None]]) -> None:
    """Run a test with two queues of its own."""

    async def run() -> None:
        await test(await two_queues(aws))

    asyncio.run(run())


# --- hints ------------------------------------------------------------------------------------------------------------


def test_each_collected_id_is_sent_once_in_batches(aws: Aws) -> None:
    """``send`` collects without repeats, ``flush`` sends ten in a call, a second flush sends nothing."""

    async def test(q: Queues) -> None:
        seen = Spoiled(aws)
        wake = SqsWake(seen, q.main, CLOCK)
        port: Wake = wake
        for _ in range(3):
            for n in range(23):
                port.send(pay(n))
        assert seen.calls == []
        assert await wake.flush() == 23
        assert await wake.flush() == 0
        assert seen.calls == ["SendMessageBatch"] * 3
        assert await q.bodies(q.main) == sorted(pay(n) for n in range(23))

    use(aws, test)


def test_what_merchants_are_to_be_told_has_a_queue_of_its_own(aws: Aws) -> None:
    """News, deliveries and recoveries go to the queue of deliveries, payments and webhooks that were heard to the other one;
    without a queue for them they are not sent, and the sweeper finds them."""

    async def test(q: Queues) -> None:
        outbound = [ids.notice_id(pay(1)), "dlv_" + ids.encode(2), "whe_" + ids.encode(3)]
        inbound = [pay(1), "wh_" + ids.encode(4)]
        wake = SqsWake(aws, q.main, CLOCK, deliveries_url=q.dead)
        for each in (*outbound, *inbound):
            wake.send(each)
        assert await wake.flush() == 5
        assert (await q.bodies(q.dead), await q.bodies(q.main)) == (sorted(outbound), sorted(inbound))
        alone = SqsWake(aws, q.main, CLOCK)
        assert [alone.later(each, 5) for each in (*outbound, *inbound)] == [False] * 3 + [True] * 2
        assert await alone.flush() == 2

    use(aws, test)


def test_a_later_hint_is_delayed(aws: Aws) -> None:
    """``later`` sends with a delay, rounded up; the earliest of several for one id counts; what is too far off is not sent."""

    async def test(q: Queues) -> None:
        seen = Spoiled(aws)
        wake = SqsWake(seen, q.main, CLOCK)
        assert wake.later(pay(1), 29.2)
        assert wake.later(pay(2), DELAY_S_MAX)
        assert not wake.later(pay(3), DELAY_S_MAX + 0.1)
        assert wake.later(pay(4), 60)
        wake.send(pay(4))
        wake.send(pay(5))
        assert wake.later(pay(5), 60)
        assert await wake.flush() == 4
        entries = {each["MessageBody"]: each["DelaySeconds"] for each in seen.asked[0]["Entries"]}
        assert entries == {pay(1): 30, pay(2): 900, pay(4): 0, pay(5): 0}
        assert await q.bodies(q.main) == [pay(4), pay(5)]
        assert (await standing(aws, CLOCK, q.main)).delayed == 2

    use(aws, test)


@pytest.mark.parametrize(
    ("fate", "times", "sent", "calls"),
    [
        ("busy", 1, 1, 2),
        ("lost before", 1, 1, 2),
        ("lost after", 1, 1, 2),
        ("busy", 9, 0, 2),
        ("lost before", 9, 0, 2),
        ("denied", 9, 0, 1),
    ],
)
def test_a_hint_that_cannot_be_sent_is_tried_once_more(aws: Aws, fate: Fate, times: int, sent: int, calls: int) -> None:
    """One further try where it may help, then it is given up; a lost answer may double a hint, and nothing is raised."""

    async def test(q: Queues) -> None:
        spoiled = Spoiled(aws, once("SendMessageBatch", fate, times))
        wake = SqsWake(spoiled, q.main, CLOCK)
        wake.send(pay(1))
        assert await wake.flush() == sent
        assert len(spoiled.calls) == calls
        assert len(await q.bodies(q.main)) == sent + (fate == "lost after")
        assert await wake.flush() == 0  # given up: not kept for ever

    use(aws, test)


class Partly:
    """Answers as SQS does when it takes a batch but for some entries: docs.aws.amazon.com, BatchResultErrorEntry."""

    def __init__(self, *, ours: bool) -> None:
        self.ours, self.entries = ours, list[list[str]]()

    async def call(self, service: str, operation: str, params: Mapping[str, Any]) -> Answer:
        assert (service, operation) == ("sqs", "SendMessageBatch")
        self.entries.append([each["MessageBody"] for each in params["Entries"]])
        failed = [each["Id"] for each in params["Entries"] if each["MessageBody"] in (pay(1), pay(3))]
        return Done({"Failed": [{"Id": id, "SenderFault": self.ours, "Code": "x"} for id in failed]})

    async def close(self) -> None: ...


@pytest.mark.parametrize("ours", [False, True])
def test_only_failed_entries_are_sent_again(ours: bool) -> None:
    """Of a batch that was taken in part, the rest is tried once more, unless SQS says that the fault is ours."""

    async def test() -> None:
        aws = Partly(ours=ours)
        wake = SqsWake(aws, "http://127.0.0.1/q", CLOCK)
        for n in range(5):
            wake.send(pay(n))
        assert await wake.flush() == 3
        again = [] if ours else [[pay(1), pay(3)]]
        assert aws.entries == [[pay(n) for n in range(5)], *again]

    asyncio.run(test())


def test_flush_ends_in_time() -> None:
    """However long AWS does not answer, ``flush`` takes no longer than it is given, and counts what is known to be sent."""

    class Silent(Partly):
        async def call(self, service: str, operation: str, params: Mapping[str, Any]) -> Answer:
            if params["Entries"][0]["MessageBody"] == pay(0):
                return Done({})
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    async def test() -> None:
        wake = SqsWake(Silent(ours=False), "http://127.0.0.1/q", CLOCK)
        for n in range(15):
            wake.send(pay(n))
        assert await asyncio.wait_for(wake.flush(within_s=0.05), 5) == 10

    asyncio.run(test())


def test_what_is_collected_is_bounded() -> None:
    """A process that never flushes does not grow for ever."""
    wake = SqsWake(Partly(ours=False), "http://127.0.0.1/q", CLOCK)
    for n in range(COLLECTED_MAX + 5):
        wake.send(pay(n))
    assert not wake.later(pay(COLLECTED_MAX), 1)
    assert wake.later(pay(0), 1)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (pay(1), "payment"),
        ("wh_" + ids.encode(7), "webhook"),
        ("", None),
        ("wh_short", None),
        (pay(1) + " ", None),
        ('{"id": "' + pay(1) + '"}', None),
        ("pay_" + "i" * 20, None),
    ],
)
def test_what_is_no_id_is_poison(body: str, hint: str | None) -> None:
    """A message is the id of a payment or webhook and nothing around it."""
    assert hint_of(body) == hint


# --- dead letters -----------------------------------------------------------------------------------------------------


def bodies(letters: Sequence[Any]) -> list[str]:
    return sorted(each.body for each in letters)


def test_looking_leaves_every_message_receivable(aws: Aws) -> None:
    """However often one looks, all are there again at once, none is deleted or moved; only the receive count shows it."""

    async def test(q: Queues) -> None:
        wanted = sorted([*(pay(n) for n in range(24)), "poison"])
        await q.die(*wanted)
        dead = DeadLetters(aws, q.dead, CLOCK)
        first, second = await dead.look(), await dead.look()
        assert bodies(first) == bodies(second) == wanted
        assert {each.received for each in first} == {RECEIVES_MAX + 1}
        assert {each.received for each in second} == {RECEIVES_MAX + 2}
        assert all(each.sent_us <= each.first_us for each in first)
        assert [each.sent_us for each in first] == sorted(each.sent_us for each in first)
        assert [each.body for each in first if each.hint is None] == ["poison"]
        now = await dead.standing()
        assert (now.visible, now.hidden, now.redrives) == (25, 0, False)
        assert await q.bodies(q.dead) == wanted
        assert await q.bodies(q.main) == []

    use(aws, test)


def test_looking_is_limited_and_shows_the_rest_too(aws: Aws) -> None:
    """Fewer than there are: what was received beyond the limit is receivable again as well."""

    async def test(q: Queues) -> None:
        await q.die(*(pay(n) for n in range(15)))
        assert len(await DeadLetters(aws, q.dead, CLOCK).look(12)) == 12
        assert len(await q.bodies(q.dead)) == 15

    use(aws, test)


def test_looking_that_breaks_off_shows_them_again(aws: Aws) -> None:
    """AWS stops answering in the middle: it is said, and what was received is receivable again."""

    async def test(q: Queues) -> None:
        await q.die(*(pay(n) for n in range(15)))
        turn = count()

        def second(operation: str, _: Mapping[str, Any]) -> Fate:
            return "busy" if operation == "ReceiveMessage" and next(turn) else "fine"

        with pytest.raises(StoreUnavailable):
            await DeadLetters(Spoiled(aws, second), q.dead, CLOCK).look()
        assert len(await q.bodies(q.dead)) == 15

    use(aws, test)


def test_the_api_looks_at_most_once_a_minute(aws: Aws) -> None:
    """What it shows is what is there, a card number masked; within a minute it is shown again without a further receive."""

    async def test(q: Queues) -> None:
        clock, seen = TickingClock(), Spoiled(aws)
        looking = Looking(seen, q.dead, clock)
        empty = await looking.look()
        assert (empty.known, empty.count, empty.data) == (True, 0, [])
        assert seen.calls == ["GetQueueAttributes"]  # nothing is received where nothing is
        await q.die(pay(7), "4242424242424242")
        assert (await looking.look()).count == 0
        await clock.sleep(60)
        told, asked = await looking.look(), len(seen.calls)
        assert (told.count, sorted((each.about or "", each.id[:8]) for each in told.data)) == (
            2,
            [("", mask("4242424242424242")[:8]), ("payment", pay(7)[:8])],
        )
        assert not any("4242424242424242" in each.id for each in told.data)
        assert (await looking.look(), len(seen.calls)) == (told, asked)

    use(aws, test)


def test_a_queue_that_may_not_be_read_is_not_asked_again_at_once(aws: Aws) -> None:
    """It is said once, and within a minute it is not known, without another question."""

    async def test(q: Queues) -> None:
        seen = Spoiled(aws)
        looking = Looking(seen, q.dead + "-gone", TickingClock())
        with pytest.raises(ConfigError):
            await looking.look()
        asked = len(seen.calls)
        assert (await looking.look()).known is False
        assert len(seen.calls) == asked

    use(aws, test)


def test_a_dead_letter_queue_that_redrives_is_refused(aws: Aws) -> None:
    """Looking into it would hand its messages on: nothing is received."""

    async def test(q: Queues) -> None:
        await q.do("SendMessage", MessageBody=pay(1))
        for each in (DeadLetters(aws, q.main, CLOCK).look(), DeadLetters(aws, q.main, CLOCK).redrive(q.dead)):
            with pytest.raises(ConfigError, match="redrive policy of its own"):
                await each
        (message,) = await q.take(q.main)
        assert message["Body"] == pay(1)

    use(aws, test)


def test_no_such_queue_is_a_wrong_setting(aws: Aws) -> None:
    """It says what was asked where, and that no money is concerned."""

    async def test(q: Queues) -> None:
        with pytest.raises(ConfigError, match="No money is concerned"):
            await DeadLetters(aws, q.dead + "-gone", CLOCK).look()

    use(aws, test)


def test_redriving_moves_hints_and_leaves_poison(aws: Aws) -> None:
    """All hints are in the main queue and out of the other one; what is no id of ours stays, and can be received."""

    async def test(q: Queues) -> None:
        wanted = sorted(pay(n) for n in range(21))
        await q.die(*wanted, "poison", "{}")
        seen = Spoiled(aws)
        done = await DeadLetters(seen, q.dead, CLOCK).redrive(q.main)
        assert (bodies(done.moved), bodies(done.poison)) == (wanted, ["poison", "{}"])
        assert [len(a["Entries"]) for c, a in zip(seen.calls, seen.asked, strict=True) if c.startswith("Change")] == [2]
        assert (done.undeleted, done.dropped, done.failed) == ((), (), ())
        assert await q.bodies(q.main) == wanted
        assert await q.bodies(q.dead) == ["poison", "{}"]

    use(aws, test)


def test_redriving_gives_each_back_to_its_queue(aws: Aws) -> None:
    """What is about webhooks to merchants goes to their queue, and stays where it is while that is not named."""

    async def test(q: Queues) -> None:
        other = await two_queues(aws)
        told = sorted(["dlv_" + ids.encode(2), ids.notice_id(pay(1)), "whe_" + ids.encode(3)])
        await q.die(pay(1), *told, "poison")
        dead = DeadLetters(aws, q.dead, CLOCK)
        first = await dead.redrive(q.main)
        assert (bodies(first.moved), bodies(first.failed), bodies(first.poison)) == ([pay(1)], told, ["poison"])
        then = await dead.redrive(q.main, deliveries_url=other.main)
        assert (bodies(then.moved), bodies(then.poison)) == (told, ["poison"])
        assert (await q.bodies(q.main), await q.bodies(other.main)) == ([pay(1)], told)

    use(aws, test)


def test_redriving_some(aws: Aws) -> None:
    """By the id in it, by the message's own id, and at most so many; the others stay receivable."""

    async def test(q: Queues) -> None:
        await q.die(*(pay(n) for n in range(14)))
        dead = DeadLetters(aws, q.dead, CLOCK)
        other = next(each for each in await dead.look() if each.body == pay(5))
        done = await dead.redrive(q.main, only={pay(3), other.message_id, pay(99)})
        assert bodies(done.moved) == [pay(3), pay(5)]
        assert len((await dead.redrive(q.main, limit=4)).moved) == 4
        assert len(await q.bodies(q.main)) == 6
        assert len(await q.bodies(q.dead)) == 8

    use(aws, test)


def test_poison_is_deleted_only_when_asked(aws: Aws) -> None:
    """``drop_poison`` deletes what is no id of ours, or only what is named of it."""

    async def test(q: Queues) -> None:
        await q.die("one", "two", "three")
        dead = DeadLetters(aws, q.dead, CLOCK)
        one = next(each for each in await dead.look() if each.body == "one")
        assert bodies((await dead.redrive(q.main, only={one.message_id}, drop_poison=True)).dropped) == ["one"]
        assert bodies((await dead.redrive(q.main, drop_poison=True)).dropped) == ["three", "two"]
        assert await q.bodies(q.dead) == await q.bodies(q.main) == []

    use(aws, test)


@pytest.mark.parametrize("fate", ["lost before", "busy", "denied"])
def test_what_the_main_queue_does_not_take_stays(aws: Aws, fate: Fate) -> None:
    """Nothing is deleted that is not known to be in the main queue."""

    async def test(q: Queues) -> None:
        await q.die(pay(1), pay(2))
        spoiled = Spoiled(aws, once("SendMessageBatch", fate))
        done = await DeadLetters(spoiled, q.dead, CLOCK).redrive(q.main)
        assert (done.moved, bodies(done.failed)) == ((), [pay(1), pay(2)])
        assert "DeleteMessageBatch" not in spoiled.calls
        assert await q.bodies(q.dead) == [pay(1), pay(2)]

    use(aws, test)


def test_a_crash_between_sending_and_deleting_doubles_a_hint(aws: Aws) -> None:
    """The order is send, then delete: a failure between them loses nothing."""

    async def test(q: Queues) -> None:
        await q.die(pay(1))
        with pytest.raises(StoreUnavailable):
            await DeadLetters(Spoiled(aws, once("DeleteMessageBatch", "busy", 99)), q.dead, CLOCK).redrive(q.main)
        assert await q.bodies(q.main) == await q.bodies(q.dead) == [pay(1)]

    use(aws, test)
