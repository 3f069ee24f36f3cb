"""Wake-ups over SQS, and the tools for what ended in its dead-letter queue.

A message is the id of what is due, and nothing else: a hint. Payments and webhooks that were heard go to one queue, and what
merchants are to be told (news of a payment, deliveries, recoveries of an endpoint) to another one, so that endpoints that are
slow or dead never keep a payment waiting. Losing, doubling or delaying one costs time only (R1), so nothing here is ever
insisted on, and redriving or deleting a message moves no money. The queues are standard ones: a FIFO queue takes no delay of a
single message.

What is said of SQS below is from docs.aws.amazon.com (SQS API reference: SendMessageBatch, ReceiveMessage,
ChangeMessageVisibility; SQS developer guide: dead-letter queues), read 2026-11.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeVar

from msgspec import Struct

from payonce.awsapi import Aws, Busy, Denied, Done, Lost, insist
from payonce.core import ids
from payonce.core.errors import ConfigError
from payonce.ports import Clock
from payonce.telemetry import get_logger

BATCH_MAX: Final = 10  # messages of one call, to or from a queue
DELAY_S_MAX: Final = 900
COLLECTED_MAX: Final = 10_000  # hints between two flushes
FLUSH_S: Final = 5.0
RETRY_S: Final = 0.1  # before the one further try
AT_ONCE: Final = 4  # batches on their way

PEEK_S: Final = 30  # how long a message that is looked at is hidden, should we die before it is shown again
LOOK_S: Final = 20.0  # after that no more is received: what was seen first is still hidden from us then
MOVE_S: Final = 120  # how long one is hidden that is being moved
MOVE_LOOK_S: Final = 90.0
POLL_S: Final = 1  # of waiting: a long poll asks all servers of a queue, a short one only some
SEEN_MAX: Final = 10_000  # messages of one listing or move; a queue hides about 120,000 at most
Hint = Literal["payment", "webhook", "notice", "delivery", "endpoint"]
KINDS: Final[Mapping[str, Hint]] = {
    "pay_": "payment",
    "wh_": "webhook",
    ids.NOTICE: "notice",
    "dlv_": "delivery",
    "whe_": "endpoint",
}
OUTBOUND: Final = ("notice", "delivery", "endpoint")

T = TypeVar("T")
log = get_logger("wake")


def hint_of(body: str) -> Hint | None:
    """What a message is about, or None: then it is not one of ours (poison), whoever sent it."""
    prefix, _, rest = body.partition("_")
    return KINDS.get(prefix + "_") if ids.is_payment_id("pay_" + rest) else None


def is_outbound(id: str) -> bool:
    """It is about what merchants are to be told."""
    return hint_of(id) in OUTBOUND


class SqsWake:
    """See ``payonce.ports.Wake``. Hints are collected, each id once, and leave with ``flush``: one call for ten of them.
    For any number of tasks of one event loop."""

    def __init__(self, aws: Aws, queue_url: str, clock: Clock, *, deliveries_url: str = "") -> None:
        """``deliveries_url``: the queue for what merchants are to be told; without one such hints are not sent."""
        self._aws, self._queue_url, self._clock, self._deliveries_url = aws, queue_url, clock, deliveries_url
        self._delays: dict[str, int] = {}  # id -> seconds

    def send(self, payment_id: str) -> None:
        """See the port; the hint leaves with the next ``flush``. Beyond COLLECTED_MAX it is dropped: the sweeper finds it."""
        self.later(payment_id, 0)

    def later(self, payment_id: str, seconds: float) -> bool:
        """A hint that arrives in so many seconds, not earlier. Of several for one id the earliest counts. False: nothing will
        be sent, because it is further off than DELAY_S_MAX, too much is collected, or there is no queue for it; then the
        sweeper finds it."""
        delay_s = max(0, math.ceil(seconds))
        if (
            not self._queue_of(payment_id)
            or delay_s > DELAY_S_MAX
            or (payment_id not in self._delays and len(self._delays) >= COLLECTED_MAX)
        ):
            return False
        self._delays[payment_id] = min(delay_s, self._delays.get(payment_id, delay_s))
        return True

    async def flush(self, within_s: float = FLUSH_S) -> int:
        """Send what was collected; how many of these hints are known to be in the queue. Takes at most ``within_s`` seconds.
        What could not be sent, after one further try, is given up with a log line. Never raises for what AWS can do."""
        hints, self._delays = list(self._delays.items()), {}
        batches = [
            (url, batch) for url in dict.fromkeys((self._queue_url, self._deliveries_url)) for batch in self._of(url, hints)
        ]
        sent = list[int]()
        try:
            async with asyncio.timeout(within_s):
                for at in range(0, len(batches), AT_ONCE):
                    await asyncio.gather(*(self._batch(url, each, sent) for url, each in batches[at : at + AT_ONCE]))
        except TimeoutError:
            pass
        if hints and sum(sent) < len(hints):
            log.warning("hints not sent; the sweeper finds what is due", count=len(hints) - sum(sent), of=len(hints))
        return sum(sent)

    def _queue_of(self, id: str) -> str:
        return self._deliveries_url if is_outbound(id) else self._queue_url

    def _of(self, url: str, hints: Sequence[tuple[str, int]]) -> list[Sequence[tuple[str, int]]]:
        return _batches([hint for hint in hints if self._queue_of(hint[0]) == url])

    async def _batch(self, url: str, hints: Sequence[tuple[str, int]], sent: list[int]) -> None:
        failed = await _send(self._aws, url, hints)
        sent.append(len(hints) - len(failed))
        if again := [hint for hint, theirs in failed if theirs]:
            await self._clock.sleep(RETRY_S)
            sent.append(len(again) - len(await _send(self._aws, url, again)))


async def _send(aws: Aws, queue_url: str, hints: Sequence[tuple[str, int]]) -> list[tuple[tuple[str, int], bool]]:
    """At most ten hints in one call; those that are not known to be in the queue, and whether asking again may help. The
    delay is always said, else the queue's own would count."""
    entries = [{"Id": str(n), "MessageBody": id, "DelaySeconds": delay_s} for n, (id, delay_s) in enumerate(hints)]
    match await aws.call("sqs", "SendMessageBatch", {"QueueUrl": queue_url, "Entries": entries}):
        case Done(body=body):
            return [(hints[int(each["Id"])], not each.get("SenderFault", False)) for each in body.get("Failed", ())]
        case Denied(code=code):
            log.error("the queue refuses hints", queue=queue_url, code=code)
            return [(hint, False) for hint in hints]
        case Busy() | Lost():  # a doubled hint is harmless
            return [(hint, True) for hint in hints]


# --- the dead-letter queue --------------------------------------------------------------------------------------------


class Standing(Struct, frozen=True, kw_only=True):
    """About how many messages a queue holds: SQS counts approximately, and some seconds late. ``redrives``: it hands messages
    on to a dead-letter queue of its own."""

    visible: int
    hidden: int  # somebody received them and has not deleted them yet
    delayed: int
    redrives: bool


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that was handed out too often without being deleted. Times are SQS's own; ``received`` is approximate, and
    counts every receive in any queue, each look of ours included."""

    message_id: str
    body: str
    sent_us: int
    first_us: int  # first received
    received: int
    receipt: str  # of the newest receive: what SQS wants to delete it or show it again

    @property
    def hint(self) -> Hint | None:
        """None: poison."""
        return hint_of(self.body)


class Redriven(Struct, frozen=True, kw_only=True):
    """What became of the messages that were seen. ``undeleted`` are moved too, and still in the dead-letter queue: their
    hints are doubled, which is harmless."""

    moved: tuple[DeadLetter, ...] = ()
    undeleted: tuple[DeadLetter, ...] = ()
    dropped: tuple[DeadLetter, ...] = ()
    poison: tuple[DeadLetter, ...] = ()  # left
    failed: tuple[DeadLetter, ...] = ()  # left: the queue did not take them


class DeadLetters:
    """What people do with a dead-letter queue. Its methods raise ConfigError (no such queue, not allowed, it redrives) and
    StoreUnavailable (no answer)."""

    def __init__(self, aws: Aws, queue_url: str, clock: Clock) -> None:
        self._aws, self._queue_url, self._clock = aws, queue_url, clock

    async def standing(self) -> Standing:
        """About how many there are."""
        return await standing(self._aws, self._clock, self._queue_url)

    async def look(self, limit: int = 100) -> tuple[DeadLetter, ...]:
        """At most ``limit`` messages, the oldest first. Deletes and moves nothing: they are received, hidden for PEEK_S seconds
        at most, and shown again before this returns. SQS has no other way to look, so:

        - each look raises their receive count by one. That is why a queue with a redrive policy of its own is refused: looking
          would hand messages on;
        - order and completeness are approximate. What somebody else looks at or moves at this moment is not seen, nor is what
          SQS does not return within LOOK_S seconds.
        """
        await self._require_last()
        seen = dict[str, DeadLetter]()
        async with self._shown_again(seen):
            async for batch in self._received(hidden_s=PEEK_S, within_s=LOOK_S):
                fresh = [each for each in batch if each.message_id not in seen]
                seen |= {each.message_id: each for each in batch}
                if not fresh or len(seen) >= limit:
                    break
        return tuple(sorted(seen.values(), key=lambda each: (each.sent_us, each.message_id)))[:limit]

    async def redrive(
        self,
        to_url: str,
        *,
        deliveries_url: str = "",
        only: Collection[str] | None = None,
        limit: int = SEEN_MAX,
        drop_poison: bool = False,
    ) -> Redriven:
        """Move messages to the queue that they are for, at most ``limit``: sent there first, deleted after, so that a crash
        between doubles a hint and loses none. What merchants are to be told goes to ``deliveries_url``, and fails without one.
        ``only``: those whose body or message id is named. Poison stays, unless ``drop_poison``: then it is deleted. Whatever
        stays is shown again before this returns. When it raises, what was moved is moved.

        (SQS's own StartMessageMoveTask moves everything, poison too, and cannot be limited.)"""
        await self._require_last()
        done, seen = Redriven(), dict[str, DeadLetter]()
        async with self._shown_again(seen):
            async for batch in self._received(hidden_s=MOVE_S, within_s=MOVE_LOOK_S):
                fresh = [each for each in batch if each.message_id not in seen]
                seen |= {each.message_id: each for each in batch}
                wanted = [each for each in fresh if only is None or each.body in only or each.message_id in only]
                ours = [each for each in wanted if each.hint is not None][: limit - len(done.moved)]
                outbound = [each for each in ours if is_outbound(each.body)]
                now = _both(
                    await self._moved(to_url, [each for each in ours if each not in outbound]),
                    await self._moved(deliveries_url, outbound),
                )
                done = _both(done, _both(now, await self._poison([each for each in wanted if not each.hint], drop=drop_poison)))
                for each in (*done.moved, *done.dropped):
                    if each not in done.undeleted:
                        seen.pop(each.message_id, None)  # nothing is left to be shown again
                if not fresh or done.failed or len(done.moved) >= limit or len(seen) >= SEEN_MAX:
                    break
        return done

    async def _moved(self, to_url: str, letters: Sequence[DeadLetter]) -> Redriven:
        """At most ten: send, then delete what is in the other queue now."""
        if not letters or not to_url:
            return Redriven(failed=tuple(letters))
        unsent = {body for (body, _), _ in await _send(self._aws, to_url, [(each.body, 0) for each in letters])}
        moved = [each for each in letters if each.body not in unsent]
        kept = await self._delete(moved)
        return Redriven(
            moved=tuple(moved),
            undeleted=tuple(each for each in moved if each.message_id in kept),
            failed=tuple(each for each in letters if each.body in unsent),
        )

    async def _poison(self, letters: Sequence[DeadLetter], *, drop: bool) -> Redriven:
        """At most ten."""
        kept = await self._delete(letters) if drop else {each.message_id for each in letters}
        return Redriven(
            dropped=tuple(each for each in letters if each.message_id not in kept),
            poison=tuple(each for each in letters if each.message_id in kept),
        )

    async def _require_last(self) -> None:
        if (await self.standing()).redrives:
            raise ConfigError(
                f"wake.dead_letter_url: the queue {self._queue_url} has a redrive policy of its own, so looking into it would "
                "hand its messages on. Nothing was received. Remove the policy, or name the last queue."
            )

    async def _received(self, *, hidden_s: int, within_s: float) -> AsyncIterator[tuple[DeadLetter, ...]]:
        """Batch by batch, until none comes or the time is over. A receive whose answer was lost hid some for a while."""
        deadline_us = self._clock.monotonic_us() + int(within_s * 1_000_000)
        params = {
            "MaxNumberOfMessages": BATCH_MAX,
            "VisibilityTimeout": hidden_s,
            "WaitTimeSeconds": POLL_S,
            "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateFirstReceiveTimestamp", "ApproximateReceiveCount"],
        }
        while self._clock.monotonic_us() < deadline_us:
            body = await _asked(self._aws, self._clock, self._queue_url, "ReceiveMessage", params)
            if not (messages := body.get("Messages")):
                return
            yield tuple(_letter(each) for each in messages)

    @asynccontextmanager
    async def _shown_again(self, seen: dict[str, DeadLetter]) -> AsyncIterator[None]:
        """At the end, however it comes, all that was seen can be received by others at once. Where that fails, time makes up
        for it: what is hidden shows itself again."""
        try:
            yield
        finally:
            for batch in _batches(list(seen.values())):
                entries = [{"Id": str(n), "ReceiptHandle": x.receipt, "VisibilityTimeout": 0} for n, x in enumerate(batch)]
                params = {"QueueUrl": self._queue_url, "Entries": entries}
                for _ in range(2):
                    answer = await self._aws.call("sqs", "ChangeMessageVisibilityBatch", params)
                    if isinstance(answer, Done):
                        break
                else:
                    log.warning("dead letters stay hidden for a while", count=len(batch), seconds_max=max(PEEK_S, MOVE_S))

    async def _delete(self, letters: Sequence[DeadLetter]) -> set[str]:
        """Message ids of those, of ten at most, that are not known to be deleted."""
        if not letters:
            return set()
        entries = [{"Id": str(n), "ReceiptHandle": each.receipt} for n, each in enumerate(letters)]
        body = await _asked(self._aws, self._clock, self._queue_url, "DeleteMessageBatch", {"Entries": entries})
        return {letters[int(each["Id"])].message_id for each in body.get("Failed", ())}


async def standing(aws: Aws, clock: Clock, queue_url: str) -> Standing:
    """About how many messages any queue holds. Raises ConfigError and StoreUnavailable, as DeadLetters does."""
    body = await _asked(aws, clock, queue_url, "GetQueueAttributes", {"AttributeNames": ["All"]})
    has = body.get("Attributes", {})
    return Standing(
        visible=int(has.get("ApproximateNumberOfMessages", 0)),
        hidden=int(has.get("ApproximateNumberOfMessagesNotVisible", 0)),
        delayed=int(has.get("ApproximateNumberOfMessagesDelayed", 0)),
        redrives=bool(has.get("RedrivePolicy")),
    )


async def _asked(aws: Aws, clock: Clock, queue_url: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Asked until there is an answer: what it does may be done twice."""
    answer = await insist(aws, clock, "sqs", operation, {"QueueUrl": queue_url, **params})
    if isinstance(answer, Denied):
        raise ConfigError(
            f"SQS refuses {operation} at {queue_url}: {answer.code}. No money is concerned. Check the queue's URL, the region "
            "and what these credentials may do."
        )
    return answer.body


def _both(one: Redriven, other: Redriven) -> Redriven:
    return Redriven(**{name: getattr(one, name) + getattr(other, name) for name in Redriven.__struct_fields__})


def _letter(message: dict[str, Any]) -> DeadLetter:
    says = message.get("Attributes", {})
    return DeadLetter(
        message_id=message["MessageId"],
        body=message.get("Body", ""),
        sent_us=int(says.get("SentTimestamp", 0)) * 1000,
        first_us=int(says.get("ApproximateFirstReceiveTimestamp", 0)) * 1000,
        received=int(says.get("ApproximateReceiveCount", 0)),
        receipt=message["ReceiptHandle"],
    )


def _batches(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[at : at + BATCH_MAX] for at in range(0, len(items), BATCH_MAX)]
