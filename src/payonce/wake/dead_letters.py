"""The dead-letter queue as the API shows it: looked into at most once a minute, because each look is one more receive of every
message (see ``sqs.DeadLetters.look``)."""

from contextlib import suppress
from typing import Final

from payonce.awsapi import Aws
from payonce.core.errors import ConfigError
from payonce.core.redact import mask
from payonce.ports import Clock
from payonce.shown.house_bodies import SHOWN_MAX, DeadLetterBody, DeadLetterList
from payonce.shown.views import stamp

from .sqs import DeadLetter, DeadLetters

KNOWN_US: Final = 60_000_000  # how old what was seen may be
BODY_CHARS: Final = 60  # of what is shown of a message that is not ours
UNKNOWN: Final = DeadLetterList(known=False, count=0, data=[])


class Looking:
    """For any number of tasks of one event loop."""

    def __init__(self, aws: Aws, queue_url: str, clock: Clock) -> None:
        self._queue, self._clock = DeadLetters(aws, queue_url, clock), clock
        self._seen: tuple[int, DeadLetterList] | None = None  # when, by the monotonic clock

    async def look(self) -> DeadLetterList:
        """What is in it. An empty queue is counted only, and nothing is received; nor is anything where this process may only
        count. Raises ConfigError and StoreUnavailable, and within a minute after that says that it is not known."""
        now_us = self._clock.monotonic_us()
        if self._seen is None or now_us - self._seen[0] >= KNOWN_US:
            self._seen = now_us, UNKNOWN
            self._seen = now_us, await self._looked()
        return self._seen[1]

    async def _looked(self) -> DeadLetterList:
        about = await self._queue.standing()
        count = about.visible + about.hidden
        letters: tuple[DeadLetter, ...] = ()
        if about.visible:
            with suppress(ConfigError):  # what may be counted may not be received here, or would be handed on
                letters = await self._queue.look(SHOWN_MAX)
        return DeadLetterList(known=True, count=max(count, len(letters)), data=[_body(each) for each in letters])


def _body(letter: DeadLetter) -> DeadLetterBody:
    return DeadLetterBody(
        message_id=letter.message_id,
        id=letter.body if letter.hint else mask(letter.body)[:BODY_CHARS],
        about=letter.hint,
        first_seen_at=stamp(letter.first_us),
        received=letter.received,
    )
