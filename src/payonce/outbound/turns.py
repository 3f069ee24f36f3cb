"""How many deliveries of this process may be under way at a time: to one endpoint, and of one merchant and mode. One that finds
no place comes back at a time of its own, so that slow endpoints with ten thousand of them keep nobody else waiting."""

from typing import Final

AT_ONCE: Final = 4  # to one endpoint
AT_ONCE_FAILING: Final = 1  # to one that takes nothing at present
STEP_US: Final = 1_000_000  # between two turns that are given out, at first
STEP_LEAST_US: Final = 1_000
TURN_MAX_US: Final = 300_000_000  # so far off is the last turn: an endpoint that was slow may be fast again


class Turns:
    """``merchant_max``: places of one merchant and mode, over all their endpoints. For one process and one event loop. What is
    idle is forgotten."""

    def __init__(self, merchant_max: int) -> None:
        self._merchant_max = max(1, merchant_max)
        self._flying: dict[str, int] = {}  # by endpoint, and by merchant and mode
        self._lasts_us: dict[str, int] = {}  # about how long one lasts
        self._last_us: dict[str, int] = {}  # the last turn that was given out

    def enter(self, endpoint_id: str, whose: str, *, failing: bool) -> bool:
        """Take a place; False: there is none now."""
        if self._flying.get(whose, 0) >= self._merchant_max:
            return False
        if self._flying.get(endpoint_id, 0) >= _places(failing=failing):
            return False
        for name in (endpoint_id, whose):
            self._flying[name] = self._flying.get(name, 0) + 1
        return True

    def leave(self, endpoint_id: str, whose: str, took_us: int, now_us: int) -> None:
        """Give the place back. Its time counts for a fifth of what one is taken to last."""
        for name in (endpoint_id, whose):
            self._flying[name] -= 1
            before = self._lasts_us.get(name, took_us)
            self._lasts_us[name] = before + (took_us - before) // 5
            if not self._flying[name] and self._last_us.get(name, 0) <= now_us:
                for each in (self._flying, self._lasts_us, self._last_us):
                    each.pop(name, None)

    def turn_us(self, endpoint_id: str, whose: str, now_us: int, *, failing: bool) -> int:
        """When to come back, later with each one that asks; rather too early: an idle endpoint costs more than a look."""
        of_merchant = self._flying.get(whose, 0) >= self._merchant_max
        name, places = (whose, self._merchant_max) if of_merchant else (endpoint_id, _places(failing=failing))
        step = max(STEP_LEAST_US, self._lasts_us.get(name, STEP_US) // (2 * places))
        turn = max(now_us, self._last_us.get(name, 0)) + step
        self._last_us[name] = turn if turn - now_us <= TURN_MAX_US else now_us + step  # begin again in front
        return self._last_us[name]


def _places(*, failing: bool) -> int:
    return AT_ONCE_FAILING if failing else AT_ONCE
