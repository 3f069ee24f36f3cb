"""What the API answers does not change by accident."""

import asyncio
import json

from .same_bytes import KEPT, answers


def test_answers_are_the_same_to_the_byte() -> None:
    """Status, headers in their order, and body of each request of the table, as they are on record. A change that is meant is
    written down by ``python -m tests.api.same_bytes`` and read in the diff."""
    kept, found = json.loads(KEPT.read_text()), asyncio.run(answers())
    assert list(found) == list(kept)
    assert {name: answer for name, answer in found.items() if answer != kept[name]} == {}
