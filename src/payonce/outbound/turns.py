"""How many deliveries of this process may be under way to one endpoint at a time. One that finds it full comes back at a time
of its own, so that a slow endpoint with ten thousand of them keeps no other waiting."""

from typing import Final

AT_ONCE: Final = 4
AT_ONCE_FAILING: Final = 1  # to an endpoint that takes nothing at present
STEP_US: Final = 1_000_000  # between two turns that are given out, at first
STEP_LEAST_US: Final = 1_000
TURN_MAX_US: Final = 300_000_000  # so far off is the last turn: an endpoint that was slow may be fast again


class Turns:
    """For one process and one event loop. What is idle is forgotten."""

    def __init__(self) -> None:
        self._flying: dict[str, int] = {}
        self._lasts_us: dict[str, int] = {}  # about how long one lasts
        self._last_us: dict[str, int] = {}  # the last turn that was given out

    def enter(self, endpoint_id: str, *, failing: bool) -> bool:
        """Take a place; False: there is none now."""
        flying = self._flying.get(endpoint_id, 0)
        if flying >= (AT_ONCE_FAILING if failing else AT_ONCE):
            return False
        self._flying[endpoint_id] = flying + 1
        return True

    def leave(self, endpoint_id: str, took_us: int, now_us: int) -> None:
        """Give the place back. Its time counts for a fifth of what one is taken to last."""
        self._flying[endpoint_id] -= 1
        before = self._lasts_us.get(endpoint_id, took_us)
        self._lasts_us[endpoint_id] = before + (took_us - before) // 5
        if not self._flying[endpoint_id] and self._last_us.get(endpoint_id, 0) <= now_us:
            for each in (self._flying, self._lasts_us, self._last_us):
                each.pop(endpoint_id, None)

    def turn_us(self, endpoint_id: str, now_us: int, *, failing: bool) -> int:
        """When to come back, later with each one that asks; rather too early: an idle endpoint costs more than a look."""
        places = AT_ONCE_FAILING if failing else AT_ONCE
        step = max(STEP_LEAST_US, self._lasts_us.get(endpoint_id, STEP_US) // (2 * places))
        turn = max(now_us, self._last_us.get(endpoint_id, 0)) + step
        self._last_us[endpoint_id] = turn if turn - now_us <= TURN_MAX_US else now_us + step  # begin again in front
        return self._last_us[endpoint_id]
