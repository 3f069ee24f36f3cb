"""AWS whose answers go wrong on demand, in front of the emulator; and a clock that does not wait."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal

from payonce.awsapi import Answer, Aws, Busy, Denied, Lost, Service
from payonce.bootstrap import SystemClock

Fate = Literal["fine", "busy", "denied", "lost before", "lost after"]


class Hasty(SystemClock):
    """The time of this machine; pauses only let others go on."""

    async def sleep(self, seconds: float) -> None:
        del seconds
        await asyncio.sleep(0)


class Spoiled:
    """Passes calls on, and answers as ``fate(operation, params)`` says: "lost before" has not done it, "lost after" has.
    ``calls`` are the operations, ``asked`` their parameters, in order."""

    def __init__(self, aws: Aws, fate: Callable[[str, Mapping[str, Any]], Fate] = lambda _operation, _params: "fine") -> None:
        self.aws, self.fate = aws, fate
        self.calls: list[str] = []
        self.asked: list[Mapping[str, Any]] = []

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        self.calls.append(operation)
        self.asked.append(params)
        match self.fate(operation, params):
            case "fine":
                return await self.aws.call(service, operation, params)
            case "lost after":
                await self.aws.call(service, operation, params)
                return Lost("ReadTimeoutError")
            case "lost before":
                return Lost("ConnectTimeoutError")
            case "busy":
                return Busy("ThrottlingException")
            case "denied":
                return Denied("AccessDeniedException", "not allowed")

    async def close(self) -> None:
        await self.aws.close()


def once(operation: str, fate: Fate, times: int = 1) -> Callable[[str, Mapping[str, Any]], Fate]:
    """The first ``times`` calls of one operation go that way, all others are fine."""
    left = [times]

    def decide(called: str, _params: Mapping[str, Any]) -> Fate:
        if called != operation or left[0] == 0:
            return "fine"
        left[0] -= 1
        return fate

    return decide
