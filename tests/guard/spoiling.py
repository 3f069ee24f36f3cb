"""Work that a hot path does not need, put into it on purpose: what the guard has to see. ``python -m tests.guard.spoiling``
counts as ``counts`` does, with all of it."""

import asyncio
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from payonce.core import apply, events
from payonce.ports import Change, Committed, Conflict, Unclear
from payonce.shown import views
from payonce.stores.sqlite.store import SqliteStore

from . import counts, ground


@contextmanager
def spoiled() -> Iterator[None]:
    """A body that is encoded twice, an event that is hashed twice, and a look before each commit for its payment."""
    payment_body, seal, commit = views.payment_body, events.seal, SqliteStore.commit

    def body_twice(*args: Any) -> object:
        shown = payment_body(*args)
        msgspec.json.encode(shown).decode()
        return shown

    def hashed_twice(*args: Any, **named: Any) -> object:
        entry = seal(*args, **named)
        hashlib.sha256(entry.raw).hexdigest()
        return entry

    async def looked(store: SqliteStore, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        await store.get(change.payment.id)
        return await commit(store, change, expected_version)

    with ExitStack() as stack:
        stack.enter_context(patch.object(ground, "payment_body", body_twice))
        stack.enter_context(patch.object(apply, "seal", hashed_twice))
        stack.enter_context(patch.object(SqliteStore, "commit", looked))
        yield


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="payonce-guard-") as name, spoiled():
        json.dump(asyncio.run(counts.counted(Path(name))), sys.stdout)
