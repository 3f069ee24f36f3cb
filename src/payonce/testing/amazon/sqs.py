"""The parts of SQS that payonce uses: standard queues with delay, visibility, receipt handles, redrive and batches.

Source: docs.aws.amazon.com, SQS developer guide ("Visibility timeout", "Dead-letter queues", "Quotas") and API reference, read
2026-11. Error codes are those of the JSON protocol. Not here: retention (nothing expires), FIFO queues, message attributes. An
old receipt handle deletes nothing here; AWS says that it may or may not.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from payonce.ports import Clock

from .bill import Bill
from .values import Refused
from .weather import Weather

BATCH_MAX: Final = 10
DELAY_MAX_S: Final = 900
VISIBILITY_MAX_S: Final = 43_200
BODY_BYTES_MAX: Final = 1_048_576  # since August 2025 ("Quotas related to messages")
CHARGED_BYTES: Final = 65_536  # each begun 64 KB is one request (aws.amazon.com/sqs/pricing)
POLL_S: Final = 0.2
_S: Final = 1_000_000
URL: Final = "http://sqs.model.invalid/000000000000/"
ARN: Final = "arn:aws:sqs:us-east-1:000000000000:"


class Message(Struct):
    id: str
    body: str
    visible_us: int
    received: int = 0
    handle: str = ""
    delayed: bool = False  # it was never visible yet


class Queue(Struct):
    name: str
    attributes: dict[str, str]
    messages: dict[str, Message]

    def number(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))

    def redrive(self) -> tuple[str, int] | None:
        """Name of the dead-letter queue and after how many receipts, or None."""
        policy = self.attributes.get("RedrivePolicy")
        if not policy:
            return None
        held = json.loads(policy)
        return held["deadLetterTargetArn"].rsplit(":", 1)[1], int(held["maxReceiveCount"])


def _missing(name: str) -> Refused:
    return Refused("QueueDoesNotExist", f"The specified queue does not exist: {name}")


class Sqs:
    """See the module docstring. Raises Refused."""

    def __init__(self, clock: Clock, bill: Bill, weather: Weather) -> None:
        self.clock, self.bill, self.weather = clock, bill, weather
        self.queues: dict[str, Queue] = {}
        self._count = 0
        self._do: dict[str, Callable[[Queue, Mapping[str, Any]], dict[str, Any]]] = {
            "SendMessage": self._send,
            "SendMessageBatch": self._batch(self._send),
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._batch(self._delete),
            "ChangeMessageVisibility": self._hide,
            "ChangeMessageVisibilityBatch": self._batch(self._hide),
            "GetQueueAttributes": self._attributes,
            "PurgeQueue": self._purge,
        }

    async def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "CreateQueue":
            name = params["QueueName"]
            self.queues.setdefault(name, Queue(name, dict(params.get("Attributes") or {}), {}))
            return {"QueueUrl": URL + name}
        if operation == "GetQueueUrl":
            if params["QueueName"] not in self.queues:
                raise _missing(params["QueueName"])
            return {"QueueUrl": URL + params["QueueName"]}
        queue = self.queues.get(str(params["QueueUrl"]).rsplit("/", 1)[-1])
        if queue is None:
            raise _missing(params["QueueUrl"])
        if operation == "ReceiveMessage":
            return await self._receive(queue, params)
        if operation not in self._do:
            raise Refused("UnknownOperationException", f"the model of SQS does not know {operation}")
        bodies = [params, *params.get("Entries", ())]
        size = sum(len(str(each.get("MessageBody", "")).encode()) for each in bodies)
        self.bill.requests[operation] += max(1, -(-size // CHARGED_BYTES))
        return self._do[operation](queue, params)

    def _batch(self, one: Callable[[Queue, Mapping[str, Any]], dict[str, Any]]) -> Any:
        def whole(queue: Queue, params: Mapping[str, Any]) -> dict[str, Any]:
            entries = params["Entries"]
            if not entries:
                raise Refused("EmptyBatchRequest", "There should be at least one entry")
            if len(entries) > BATCH_MAX:
                raise Refused("TooManyEntriesInBatchRequest", f"Maximum number of entries is {BATCH_MAX}")
            if len({each["Id"] for each in entries}) != len(entries):
                raise Refused("BatchEntryIdsNotDistinct", "Two or more entries have the same Id")
            done, failed = list[dict[str, Any]](), list[dict[str, Any]]()
            for each in entries:
                try:
                    done.append({"Id": each["Id"], **one(queue, each)})
                except Refused as refused:
                    failed.append({"Id": each["Id"], "SenderFault": True, "Code": refused.code, "Message": refused.message})
            return {"Successful": done, **({"Failed": failed} if failed else {})}

        return whole

    def _send(self, queue: Queue, params: Mapping[str, Any]) -> dict[str, Any]:
        body, delay_s = params["MessageBody"], params.get("DelaySeconds", queue.number("DelaySeconds", 0))
        if not body:
            raise Refused("MissingParameter", "The request must contain the parameter MessageBody.")
        if not 0 <= delay_s <= DELAY_MAX_S:
            raise Refused("InvalidParameterValue", f"Value {delay_s} for parameter DelaySeconds is invalid: 0 to {DELAY_MAX_S}")
        if len(body.encode()) > BODY_BYTES_MAX:
            raise Refused("InvalidParameterValue", f"One or more parameters are invalid: longer than {BODY_BYTES_MAX} bytes")
        self._count += 1
        id = f"{self._count:08d}-0000-4000-8000-000000000000"
        at_us = self.clock.monotonic_us() + delay_s * _S
        queue.messages[id] = Message(id, body, at_us, delayed=delay_s > 0)
        return {"MessageId": id, "MD5OfMessageBody": _md5(body)}

    async def _receive(self, queue: Queue, params: Mapping[str, Any]) -> dict[str, Any]:
        most = params.get("MaxNumberOfMessages", 1)
        if not 1 <= most <= BATCH_MAX:
            raise Refused(
                "InvalidParameterValue", f"Value {most} for parameter MaxNumberOfMessages is invalid: 1 to {BATCH_MAX}"
            )
        hidden_s = params.get("VisibilityTimeout", queue.number("VisibilityTimeout", 30))
        wait_s = params.get("WaitTimeSeconds", queue.number("ReceiveMessageWaitTimeSeconds", 0))
        until_us = self.clock.monotonic_us() + wait_s * _S
        self.bill.requests["ReceiveMessage"] += 1
        while True:
            taken = self._take(queue, most, hidden_s)
            if taken or self.clock.monotonic_us() >= until_us:
                return {"Messages": taken} if taken else {}
            await self.clock.sleep(POLL_S)

    def _take(self, queue: Queue, most: int, hidden_s: int) -> list[dict[str, Any]]:
        now_us, taken = self.clock.monotonic_us(), list[dict[str, Any]]()
        ready = [m for m in queue.messages.values() if m.visible_us <= now_us or (m.received and self.weather.doubled())]
        redrive = queue.redrive()
        for number in self.weather.order(len(ready)):
            message = ready[number]
            if redrive and message.received >= redrive[1] and redrive[0] in self.queues:
                del queue.messages[message.id]
                self.queues[redrive[0]].messages[message.id] = Message(message.id, message.body, now_us)
                continue
            if len(taken) == most:
                break
            message.received, message.delayed = message.received + 1, False
            message.visible_us = now_us + hidden_s * _S
            message.handle = f"{message.id}#{message.received}"
            taken.append(
                {
                    "MessageId": message.id,
                    "ReceiptHandle": message.handle,
                    "MD5OfBody": _md5(message.body),
                    "Body": message.body,
                    "Attributes": {"ApproximateReceiveCount": str(message.received)},
                }
            )
        return taken

    def _held(self, queue: Queue, params: Mapping[str, Any]) -> Message | None:
        """The message of a receipt handle; None when it is gone or was received again since."""
        handle = params["ReceiptHandle"]
        if "#" not in handle:
            raise Refused("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.')
        message = queue.messages.get(handle.split("#")[0])
        return message if message is not None and message.handle == handle else None

    def _delete(self, queue: Queue, params: Mapping[str, Any]) -> dict[str, Any]:
        if (message := self._held(queue, params)) is not None:
            del queue.messages[message.id]
        return {}

    def _hide(self, queue: Queue, params: Mapping[str, Any]) -> dict[str, Any]:
        seconds = params["VisibilityTimeout"]
        if not 0 <= seconds <= VISIBILITY_MAX_S:
            raise Refused("InvalidParameterValue", f"Value {seconds} for parameter VisibilityTimeout is invalid")
        message, now_us = self._held(queue, params), self.clock.monotonic_us()
        if message is None or message.visible_us <= now_us:
            raise Refused("MessageNotInflight", "The specified message is not in flight.")
        message.visible_us = now_us + seconds * _S
        return {}

    def _attributes(self, queue: Queue, params: Mapping[str, Any]) -> dict[str, Any]:
        now_us, held = self.clock.monotonic_us(), list(queue.messages.values())
        ready = sum(m.visible_us <= now_us for m in held)
        late = sum(m.visible_us > now_us and m.delayed for m in held)
        found = {
            "ApproximateNumberOfMessages": str(ready),
            "ApproximateNumberOfMessagesNotVisible": str(len(held) - ready - late),
            "ApproximateNumberOfMessagesDelayed": str(late),
            "QueueArn": ARN + queue.name,
            "VisibilityTimeout": "30",
            "DelaySeconds": "0",
            **queue.attributes,
        }
        wanted = params.get("AttributeNames") or ()
        return {"Attributes": {name: value for name, value in found.items() if "All" in wanted or name in wanted}}

    def _purge(self, queue: Queue, _: Mapping[str, Any]) -> dict[str, Any]:
        queue.messages.clear()
        return {}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
