"""What the functions on queues share: the event of an SQS mapping, and messages that are to come back soon."""

from collections.abc import Iterable
from typing import Final, Protocol, runtime_checkable

from msgspec import Struct

from payonce.bootstrap import App

from . import runtime

LATER_MAX_US: Final = 900_000_000  # the longest delay of SQS
EARLY_US: Final = 1_500_000  # a message that comes so much too early (clocks differ, delays are whole seconds) waits here
BACKOFF_S: Final = (5, 10, 20, 40, 60)  # by deliveries of the message, the last for all further ones
BODY_SHOWN: Final = 60  # characters of a body that is no id: it is not ours, and not for logs
ANSWER_MS: Final = 2_000  # the last of an invocation: what is not done by then is cut, so that the batch is not lost with it
TELL_S: Final = (0.8, 5.0)  # for the queue to be told, twice: at least, and at most where there is time


class Context(Protocol):
    """What of Lambda's context is used."""

    def get_remaining_time_in_millis(self) -> int: ...


@runtime_checkable
class Delays(Protocol):
    """Hints that may arrive later; see ``wake.sqs.SqsWake.later``."""

    def later(self, payment_id: str, seconds: float) -> bool: ...


class Attributes(Struct, frozen=True):
    """How often SQS has delivered it, this time included."""

    ApproximateReceiveCount: str = "1"


class Record(Struct, frozen=True, rename="camel"):
    """One message of the event."""

    message_id: str
    receipt_handle: str = ""
    body: str = ""
    attributes: Attributes = Attributes()


class Batch(Struct, frozen=True, rename={"records": "Records"}):
    """The event of an SQS mapping."""

    records: tuple[Record, ...] = ()


def failures(failed: Iterable[Record]) -> dict[str, list[dict[str, str]]]:
    """The answer to the mapping: the messages that are named in it stay in the queue, all others are deleted."""
    return {"batchItemFailures": [{"itemIdentifier": record.message_id} for record in failed]}


async def back_off(app: App, queue: str, failed: Iterable[Record]) -> None:
    """Let them come back soon. What AWS does not do costs only time: then the visibility timeout runs its course."""
    entries = [
        {
            "Id": str(n),
            "ReceiptHandle": record.receipt_handle,
            "VisibilityTimeout": BACKOFF_S[min(_deliveries(record), len(BACKOFF_S)) - 1],
        }
        for n, record in enumerate(failed)
        if record.receipt_handle
    ]
    for start in range(0, len(entries) if queue else 0, 10):
        params = {"QueueUrl": queue, "Entries": entries[start : start + 10]}
        await runtime.aws(app).call("sqs", "ChangeMessageVisibilityBatch", params)


def _deliveries(record: Record) -> int:
    count = record.attributes.ApproximateReceiveCount
    return max(1, int(count)) if count.isascii() and count.isdecimal() and len(count) < 10 else 1
