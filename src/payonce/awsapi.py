"""What payonce asks of AWS: one call, and the four things that can become of it. No client library is known here;
``awsclient`` is the one that does it, ``payonce.testing`` has a model of it.

A call's parameters and answers are those of the AWS API: ``call("dynamodb", "GetItem", {"TableName": …, "Key": …})``, with
DynamoDB's typed values (``{"S": "…"}``, ``{"B": b"…"}``)."""

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from .core.errors import StoreUnavailable
from .ports import Clock

Service = Literal["dynamodb", "sqs", "secretsmanager", "ssm"]
TRIES_MAX: Final = 5  # of a call that may be made again, the first one included
PAUSE_S: Final = 0.05  # before the second try, doubled before each further one


class Done(Struct, frozen=True):
    """AWS did it; ``body`` is its answer."""

    body: dict[str, Any]


class Denied(Struct, frozen=True):
    """AWS did not do it, and will not: a condition did not hold, the request is wrong, or not allowed. ``body`` has what came
    with the error: ``Item`` of a failed condition, ``CancellationReasons`` of a transaction."""

    code: str
    message: str
    body: dict[str, Any] = {}


class Busy(Struct, frozen=True):
    """AWS did not do it now: throttled, or in conflict with another write. It may be asked again."""

    code: str


class Lost(Struct, frozen=True):
    """No whole answer, or one that says nothing (5xx): it may be done, or not, and may still be done later."""

    reason: str


Answer = Done | Denied | Busy | Lost


class Aws(Protocol):
    """The only door to AWS. Any number of tasks may use it at once."""

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        """Ask once, without any retry of its own. Never raises for what networks and AWS can do."""

    async def close(self) -> None: ...


async def insist(aws: Aws, clock: Clock, service: Service, operation: str, params: Mapping[str, Any]) -> Done | Denied:
    """Ask again while AWS is busy or silent: for reads, and for writes that may be done twice. Raises StoreUnavailable after
    TRIES_MAX tries."""
    pause_s, said = PAUSE_S, ""
    for tried in range(1, TRIES_MAX + 1):
        match await aws.call(service, operation, params):
            case Done() | Denied() as answer:
                return answer
            case Busy(code=code):
                said = code
            case Lost(reason=reason):
                said = reason
        if tried < TRIES_MAX:
            await clock.sleep(pause_s)
            pause_s *= 2
    raise StoreUnavailable(f"AWS does not answer {operation} ({said}). Try again; what was accepted is safe.")
