"""The model's queues against those of the local emulator: the same sends, receipts, deletions and attributes."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from payonce.awsapi import Denied, Done
from payonce.awsclient.client import AwsClient
from payonce.testing.amazon import ModelAws, Weather

from .test_model import FixedClock, emulated

__all__ = ["emulated"]  # the fixture

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(["a", "b", ""])),
        st.tuples(st.just("send later"), st.just(900)),
        st.tuples(st.just("send many"), st.integers(0, 11)),
        st.tuples(st.just("receive"), st.just(10)),
        st.tuples(st.just("give back"), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 3)),
        st.tuples(st.just("delete many"), st.integers(1, 3)),
        st.tuples(st.just("nonsense"), st.just(0)),
        st.tuples(st.just("count"), st.just(0)),
    ),
    max_size=20,
)
NUMBERS: list[int] = []
COUNTED = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


class Side:
    """One of the two, with the receipts it gave."""

    def __init__(self, aws: Any, name: str) -> None:
        self.aws, self.name, self.held = aws, name, dict[str, list[str]]()

    async def begin(self) -> None:
        dead = await self.call("CreateQueue", QueueName=f"{self.name}-dead")
        arn = f"arn:aws:sqs:us-east-1:000000000000:{self.name}-dead"
        policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":2}}'
        made = await self.call("CreateQueue", QueueName=self.name, Attributes={"RedrivePolicy": policy})
        self.url, self.dead = made["QueueUrl"], dead["QueueUrl"]

    async def call(self, operation: str, **params: Any) -> Any:
        answer = await self.aws.call("sqs", operation, params)
        return answer.body if isinstance(answer, Done) else answer

    async def step(self, kind: str, value: Any) -> Any:
        url = self.url
        match kind:
            case "send":
                return _word(await self.call("SendMessage", QueueUrl=url, MessageBody=value), "MD5OfMessageBody")
            case "send later":
                return _word(
                    await self.call("SendMessage", QueueUrl=url, MessageBody="l", DelaySeconds=value), "MD5OfMessageBody"
                )
            case "send many":
                entries = [{"Id": str(n), "MessageBody": f"m{n}"} for n in range(value)]
                return _word(await self.call("SendMessageBatch", QueueUrl=url, Entries=entries), "Successful")
            case "receive":
                return await self.receive(url)
            case "give back":
                handle = self.oldest(value)
                if handle is None:
                    return None
                return await self.call("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
            case "delete":
                handle = self.oldest(value)
                return None if handle is None else await self.call("DeleteMessage", QueueUrl=url, ReceiptHandle=handle)
            case "delete many":
                entries = [{"Id": str(n), "ReceiptHandle": h} for n in range(value) if (h := self.oldest(n))]
                return _word(await self.call("DeleteMessageBatch", QueueUrl=url, Entries=entries), "Successful")
            case "nonsense":
                return _word(await self.call("DeleteMessage", QueueUrl=f"{url}-none", ReceiptHandle="x"))
        return [await self.counts(each) for each in (url, self.dead)]

    def oldest(self, number: int) -> str | None:
        """A receipt of one message: the messages by their texts, since their ids differ. Each is used once."""
        handles = [self.held[body] for body in sorted(self.held) if self.held[body]]
        return handles[number].pop(0) if number < len(handles) else None

    async def receive(self, url: str) -> Any:
        got: list[Any] = []
        while more := (await self.call("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=300)).get(
            "Messages"
        ):
            got += more
        for each in got:
            self.held.setdefault(each["Body"], []).append(each["ReceiptHandle"])
        return sorted(each["Body"] for each in got)

    async def counts(self, url: str) -> Any:
        body = await self.call("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
        return {name: body["Attributes"][name] for name in COUNTED}


def _word(answer: Any, *names: str) -> Any:
    if isinstance(answer, Denied):
        return answer.code
    return [sorted(str(each["Id"]) for each in answer[name]) if name == "Successful" else answer[name] for name in names]


@settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS)
def test_queues_do_the_same(emulated: AwsClient, steps: list[tuple[str, Any]]) -> None:
    """What is received, refused, counted and moved to the dead letters is the same."""
    NUMBERS.append(0)

    async def run() -> None:
        sides = [Side(ModelAws(FixedClock()), "q"), Side(emulated, f"queue{len(NUMBERS)}")]
        for side in sides:
            await side.begin()
        for kind, value in [*steps, ("receive", 10), ("count", 0)]:
            said = [_plain(await side.step(kind, value)) for side in sides]
            assert said[0] == said[1], f"{kind} {value}: the model {said[0]}, the emulator {said[1]}"

    asyncio.run(run())


def _plain(said: Any) -> Any:
    if isinstance(said, Denied):
        return said.code
    return {name: value for name, value in said.items() if name != "ResponseMetadata"} if isinstance(said, dict) else said


class Untidy(Weather):
    """Everything twice, the last first."""

    def doubled(self) -> bool:
        return True

    def order(self, count: int) -> list[int]:
        return list(range(count - 1, -1, -1))


def test_time_doubles_and_order() -> None:
    """Delay and visibility end by the clock; on demand messages come twice and in another order."""

    async def bodies(aws: ModelAws) -> list[str]:
        answer = await aws.call("sqs", "ReceiveMessage", {"QueueUrl": "q", "MaxNumberOfMessages": 10})
        assert isinstance(answer, Done)
        return [each["Body"] for each in answer.body.get("Messages", ())]

    async def run(weather: Weather) -> list[list[str]]:
        clock = FixedClock()
        aws, seen = ModelAws(clock, weather), []
        await aws.call("sqs", "CreateQueue", {"QueueName": "q"})
        for body, delay_s in (("now", 0), ("also", 0), ("later", 10)):
            await aws.call("sqs", "SendMessage", {"QueueUrl": "q", "MessageBody": body, "DelaySeconds": delay_s})
        for wait_s in (0, 1, 10, 20):
            await clock.sleep(wait_s)
            seen.append(await bodies(aws))
        return seen

    assert asyncio.run(run(Weather())) == [["now", "also"], [], ["later"], ["now", "also"]]
    assert asyncio.run(run(Untidy()))[:2] == [["also", "now"], ["also", "now"]]


def test_a_long_poll_waits() -> None:
    """It answers when the message becomes visible, and else empty after its time."""

    async def run() -> tuple[int, int]:
        clock = FixedClock()
        aws = ModelAws(clock)
        await aws.call("sqs", "CreateQueue", {"QueueName": "q"})
        await aws.call("sqs", "SendMessage", {"QueueUrl": "q", "MessageBody": "x", "DelaySeconds": 3})
        began = clock.us
        first = await aws.call("sqs", "ReceiveMessage", {"QueueUrl": "q", "WaitTimeSeconds": 20})
        assert isinstance(first, Done)
        assert len(first.body["Messages"]) == 1
        waited = clock.us - began
        empty = await aws.call("sqs", "ReceiveMessage", {"QueueUrl": "q", "WaitTimeSeconds": 5})
        assert isinstance(empty, Done)
        assert "Messages" not in empty.body
        return waited, clock.us - began - waited

    first_us, second_us = asyncio.run(run())
    assert 3_000_000 <= first_us < 4_000_000
    assert 5_000_000 <= second_us < 6_000_000


def test_a_delay_has_a_limit() -> None:
    """15 minutes at most, as AWS says ("Quotas related to messages"); the emulator takes more."""

    async def run() -> Any:
        aws = ModelAws(FixedClock())
        await aws.call("sqs", "CreateQueue", {"QueueName": "q"})
        return await aws.call("sqs", "SendMessage", {"QueueUrl": "q", "MessageBody": "x", "DelaySeconds": 901})

    assert asyncio.run(run()).code == "InvalidParameterValue"
