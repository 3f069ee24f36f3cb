"""What a coroutine of the world gives to its driver: a pause, or its death."""

from collections.abc import Generator


class Crash(BaseException):
    """Kills the worker: the coroutine is dropped where it stands."""


class Pause:
    """Hand control to the driver until ``at_us``; None = until a payment is due."""

    def __init__(self, at_us: int | None) -> None:
        self.at_us = at_us

    def __await__(self) -> Generator["Pause", None, None]:
        yield self
