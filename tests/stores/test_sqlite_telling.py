"""Several processes that tell news through one file, and processes that are killed while they do."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from payonce.core import news
from payonce.ports import Fed, Scope
from payonce.stores.sqlite import open_store, open_to_read

SCRIPT = Path(__file__).with_name("telling_loop.py")
SCOPE = Scope("mer_default", "test")
COUNT = 120


@contextmanager
def telling(path: Path, first: int, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(SCRIPT), str(path), str(first), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(lines: list[str], word: str) -> Counter[str]:
    """Ids behind a word. A line that a kill cut in half counts as not said."""
    return Counter(line.split()[1] for line in lines if line.startswith(word) and line.endswith("\n"))


async def look(path: Path) -> tuple[set[str], set[str]]:
    """The payments with news, and those of them that are noticed and not told yet. Each piece of news stands in the feed once,
    in its payment's place, and is told or noticed; what `payonce verify` asks of a file finds nothing."""
    reader = await open_to_read(path)
    try:
        held = []
        after = ""
        while ids := await reader.audit_ids(after, 100):
            held += await reader.held(ids)
            after = ids[-1]
        assert [(h.id, h.trouble, h.elsewhere) for h in held if h.trouble or h.elsewhere] == []
        assert (await reader.strays(), await reader.damage()) == ((), ())
        wanted = {Fed(h.id, n.seq) for h in held for n in news.of_history(h.entries)}
        seen: list[Fed] = []
        cursor, more = None, True
        while more:
            page = await reader.feed(SCOPE, 100, cursor)
            seen, cursor, more = [*seen, *page.entries], page.next, page.more
        assert len(seen) == len(wanted)
        assert set(seen) == wanted
        noticed = {w.id for w in await reader.outbox.notices(2**62, 10_000)}
        for fed in wanted:
            told = (await reader.outbox.list(SCOPE, 10, payment_id=fed.payment_id)).deliveries
            assert bool(told) != (fed.payment_id in noticed), fed
        return {fed.payment_id for fed in wanted}, noticed
    finally:
        await reader.close()


def test_two_processes_tell_each_piece_of_news_once(tmp_path: Path) -> None:
    """Two processes that write and tell at the same time: all is told, each delivery is tried by one of them."""
    path = tmp_path / "pay.db"
    with telling(path, 0, COUNT) as one, telling(path, 10_000, COUNT) as two:
        out = [process.communicate(timeout=60) for process in (one, two)]
        assert [one.returncode, two.returncode] == [0, 0], out
    lines = [line for text, _ in out for line in text.splitlines(keepends=True)]
    acknowledged, tried = said(lines, "ACK"), said(lines, "TRIED")
    with_news, noticed = asyncio.run(look(path))
    assert set(acknowledged) == with_news
    assert (len(with_news), noticed) == (2 * COUNT, set())
    assert set(tried.values()) == {1}
    assert len(tried) == 2 * COUNT

    async def counts() -> None:
        store = await open_store(path, executor="inline")
        assert await store.outbox.counts() == {"delivered": 2 * COUNT}
        await store.close()

    asyncio.run(counts())


@pytest.mark.parametrize("lines_before_kill", [1, 40, 151])
def test_kill_9_loses_no_news(tmp_path: Path, lines_before_kill: int) -> None:
    """After a kill -9 in the middle every acknowledged piece of news is in the feed, and told or noticed; what was told stays
    told. The next process goes on where this one was."""
    path = tmp_path / "pay.db"
    with telling(path, 0, 100_000) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(lines_before_kill + 1)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        assert process.wait(timeout=10) == -signal.SIGKILL
    with_news, noticed = asyncio.run(look(path))
    assert set(said(lines, "ACK")) <= with_news

    async def kept() -> None:
        store = await open_store(path, executor="inline")
        for id, word in [*((id, "TOLD") for id in said(lines, "TOLD")), *((id, "TRIED") for id in said(lines, "TRIED"))]:
            row = await store.outbox.get(id)
            assert row is not None
            assert word == "TOLD" or row.state == "delivered"
        await store.close()

    asyncio.run(kept())
    with telling(path, 1_000_000, 0) as process:
        out, errors = process.communicate(timeout=60)
        assert out.endswith("END\n"), errors
    assert asyncio.run(look(path)) == (with_news, set())
    assert len(said(out.splitlines(keepends=True), "TOLD")) >= len(noticed)
