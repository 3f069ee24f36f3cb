"""Whether the service as a whole does its work: a hold, and a store that takes no writes. The same look as /readyz has, bounded
in time and shared for a while, as pages ask again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from payonce.core.errors import StoreUnavailable
from payonce.core.retry import SECOND_US

from .house import House

LOOK_MAX_S: Final = 2.0  # for how long one look may take
KEPT_US: Final = 2 * SECOND_US  # for how long its result is told again
SLOW: Final = (
    "The store did not say within 2 seconds whether it takes writes. What was accepted is safe in it. Look for a stuck "
    "process, and at its disk."
)
STRANGERS: Final = "New payments are not accepted now; what was accepted is safe."  # all that other merchants are told


class StoreLook:
    """Asks the store whether it takes writes, at most once in KEPT_US; whoever comes meanwhile waits for the same look."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._alone = asyncio.Lock()
        self._at_us: int | None = None
        self._said = ""

    async def trouble(self) -> str:
        """Why it takes no writes now; "" when it takes them, or cannot be asked."""
        if self._house.trouble is None:
            return ""
        async with self._alone:
            now_us = self._house.clock.now_us()
            if self._at_us is None or not 0 <= now_us - self._at_us < KEPT_US:
                self._said = await _looked(self._house.trouble)
                self._at_us = self._house.clock.now_us()
            return self._said


async def _looked(look: Callable[[], Awaitable[str]]) -> str:
    try:
        return await asyncio.wait_for(look(), LOOK_MAX_S)
    except TimeoutError:
        return SLOW
    except StoreUnavailable as error:
        return str(error)
