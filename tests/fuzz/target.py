"""What a fuzz target is."""

from collections.abc import Callable
from typing import NamedTuple


class Target(NamedTuple):
    """``run`` raises for bytes with which something is wrong. ``corpus``: good examples, which are spoilt."""

    name: str
    corpus: Callable[[], list[bytes]]
    run: Callable[[bytes], None]
    examples: int = 60  # of `make test`


def require(holds: bool, says: str) -> None:
    """An assertion that ``python -O`` keeps; fuzzing runs for hours."""
    if not holds:
        raise AssertionError(says)
