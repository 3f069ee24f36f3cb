"""The journal: a chain that holds however many write, and in which nothing can be changed, removed or put between unseen."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from payonce.bootstrap import SystemClock
from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.core.events import digest
from payonce.merchants import journal as module
from payonce.merchants.journal import HEAD_KIND, HEAD_NAME, KIND, Act, Head, Journal, look, name_of
from payonce.ports import Record, Registry
from payonce.stores.memory import MemoryRegistry
from payonce.stores.sqlite import open_store
from tests.two_processes import Clock, Flaky

PAN = "4111111111111111"


async def written(registry: Registry, count: int) -> Journal:
    journal = Journal(registry, Clock())
    for n in range(count):
        await journal.write("key.created", f"key_{n}", actor="operator:alice@host", merchant_id="mer_default", mode="test")
    return journal


async def set_to(registry: Registry, kind: str, name: str, value: bytes | None) -> None:
    """Whatever stands there."""
    version = next((r.version for r in await registry.all(kind) if r.name == name), 0)
    assert await registry.put(kind, name, value, version)


def test_an_entry_says_who_did_what() -> None:
    """All that was given, in order, chained by hash; what looks like a secret or a card number is masked."""

    async def main() -> None:
        registry = MemoryRegistry()
        journal = Journal(registry, Clock())
        first = await journal.write(
            "key.created", "key_1", actor="key_x@h", merchant_id="mer_a", mode="live", request_id="req_1"
        )
        data = {"name": f"card {PAN}", "note": "sk_test_0123456789abcdef", "count": 3, "on": True}
        await journal.write("endpoint.created", f"https://x.invalid/{PAN}", actor="api@::1", data=data)
        one, two = await journal.read()
        assert one.act == first
        assert (one.act.seq, one.act.merchant_id, one.act.mode, one.act.request_id) == (1, "mer_a", "live", "req_1")
        assert (two.act.seq, two.act.prev) == (2, digest(one.raw))
        assert dict(two.act.data) == {"name": "card [redacted]", "note": "sk_test_[redacted]", "count": 3, "on": True}
        assert PAN.encode() not in two.raw

    asyncio.run(main())


def test_tasks_that_race_make_one_chain() -> None:
    """Sixty appends at once, from three processes' journals on one registry: each is there once."""

    async def main() -> None:
        registry = MemoryRegistry()
        journals = [Journal(registry, Clock()) for _ in range(3)]
        tasks = [journals[n % 3].write("key.created", f"key_{n}", actor="cli") for n in range(60)]
        await asyncio.gather(*tasks)
        entries = await journals[0].read()
        assert sorted(e.act.subject for e in entries) == sorted(f"key_{n}" for n in range(60))

    asyncio.run(main())


class Interleaved:
    """Every call lets others go first, so that writers meet."""

    def __init__(self, inner: Registry) -> None:
        self.inner = inner

    async def all(self, kind: str) -> tuple[Record, ...]:
        await asyncio.sleep(0)
        found = await self.inner.all(kind)
        await asyncio.sleep(0)
        return found

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        await asyncio.sleep(0)
        done = await self.inner.put(kind, name, value, expected_version)
        await asyncio.sleep(0)
        return done


def test_processes_that_meet_at_every_step_make_one_chain() -> None:
    """Eight journals whose every read and write is interleaved with the others'."""

    async def main() -> None:
        registry = Interleaved(MemoryRegistry())
        journals = [Journal(registry, Clock()) for _ in range(8)]

        async def many(who: int) -> None:
            for n in range(5):
                await journals[who].write("key.created", f"{who}-{n}", actor="cli")

        await asyncio.gather(*(many(who) for who in range(8)))
        assert len(await journals[0].read()) == 40

    asyncio.run(main())


def test_two_processes_on_one_file_make_one_chain(tmp_path: Path) -> None:
    """Real SQLite, two real processes, and this one reading beside them."""
    file = tmp_path / "payments.db"
    loop = Path(__file__).with_name("journal_loop.py")

    async def main() -> None:
        store = await open_store(file)
        started = [
            subprocess.Popen([sys.executable, str(loop), str(file), who, "60"], stderr=subprocess.PIPE) for who in ("a", "b")
        ]
        async with asyncio.timeout(60):
            while any(p.poll() is None for p in started):
                assert (await look(store.registry)).problems == (), "whole, also while it is written"
        assert [(p.returncode, p.communicate()[1]) for p in started] == [(0, b"")] * 2
        entries = await Journal(store.registry, SystemClock()).read()
        await store.close()
        assert sorted(e.act.subject for e in entries) == sorted(f"{who}-{n}" for who in "ab" for n in range(60))

    asyncio.run(main())


def test_an_append_reads_no_other_entry() -> None:
    """However long the journal is: the head says how it ends."""

    async def main() -> None:
        registry = MemoryRegistry()
        await written(registry, 5)
        asked: list[str] = []

        class Watched(Interleaved):
            async def all(self, kind: str) -> tuple[Record, ...]:
                asked.append(kind)
                return await super().all(kind)

        await Journal(Watched(registry), Clock()).write("x.y", "z", actor="cli")
        assert asked == [HEAD_KIND]
        assert len(await Journal(registry, Clock()).read()) == 6

    asyncio.run(main())


@pytest.mark.parametrize("head", [None, b"{", msgspec.json.encode(Head(4, "0" * 64))], ids=["gone", "damaged", "behind"])
def test_a_head_that_was_left_behind_is_brought_forward(head: bytes | None) -> None:
    """A writer that died between entry and head: the next one goes on from the entry."""

    async def main() -> None:
        registry = MemoryRegistry()
        journal = await written(registry, 5)
        entries = await journal.read()
        if head is not None and b"0000" in head:
            await set_to(registry, HEAD_KIND, HEAD_NAME, msgspec.json.encode(Head(4, entries[3].hash)))
            assert (await look(registry)).problems == (), "one entry behind is what a dead writer leaves"
        else:
            await set_to(registry, HEAD_KIND, HEAD_NAME, head)
        await journal.write("x.y", "z", actor="cli")
        assert [e.act.seq for e in await journal.read()] == [1, 2, 3, 4, 5, 6]

    asyncio.run(main())


def test_an_act_that_cannot_be_put_on_record_is_not_done() -> None:
    """A registry that takes no writes raises; one that fails after the entry lets the act go on; the next heals it."""

    async def main() -> None:
        inner = MemoryRegistry()
        shut = Flaky(inner)
        shut.writable = False
        with pytest.raises(StoreUnavailable):
            await Journal(shut, Clock()).write("x.y", "z", actor="cli")
        assert await inner.all(KIND) == ()

        class HeadRefused(Interleaved):
            async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
                if kind == HEAD_KIND:
                    raise StoreUnavailable("full")
                return await super().put(kind, name, value, expected_version)

        act = await Journal(HeadRefused(inner), Clock()).write("x.y", "one", actor="cli")
        assert act.seq == 1
        with pytest.raises(StoreUnavailable, match="full"):
            await Journal(HeadRefused(inner), Clock()).write("x.y", "two", actor="cli")
        assert (await Journal(inner, Clock()).write("x.y", "three", actor="cli")).seq == 2
        assert [e.act.subject for e in await Journal(inner, Clock()).read()] == ["one", "three"]

    asyncio.run(main())


def test_a_writer_that_never_wins_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After RACES_MAX lost races nothing is done, and that is said."""
    monkeypatch.setattr(module, "RACES_MAX", 3)

    async def main() -> None:
        inner = MemoryRegistry()
        others = Journal(inner, Clock())

        class AlwaysLate(Interleaved):
            async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
                if kind == KIND:
                    await others.write("x.y", "theirs", actor="cli")
                return await super().put(kind, name, value, expected_version)

        with pytest.raises(StoreUnavailable, match="all the time"):
            await Journal(AlwaysLate(inner), Clock()).write("x.y", "ours", actor="cli")
        assert {e.act.subject for e in await others.read()} == {"theirs"}

    asyncio.run(main())


def changed(acts: list[Record]) -> dict[str, bytes | None]:
    return {acts[2].name: acts[2].value.replace(b"alice", b"mallo")}


def removed(acts: list[Record]) -> dict[str, bytes | None]:
    return {acts[2].name: None}


def removed_first(acts: list[Record]) -> dict[str, bytes | None]:
    return {acts[0].name: None}


def removed_last(acts: list[Record]) -> dict[str, bytes | None]:
    return {acts[-1].name: None}


def removed_and_moved_up(acts: list[Record]) -> dict[str, bytes | None]:
    renumbered = {acts[n].name: acts[n + 1].value for n in range(2, len(acts) - 1)}
    return {**renumbered, acts[-1].name: None}


def put_between(acts: list[Record]) -> dict[str, bytes | None]:
    return {f"{acts[2].name}x": acts[2].value}


def replaced_well(acts: list[Record]) -> dict[str, bytes | None]:
    """It continues the one before, but those after it do not."""
    act = msgspec.json.decode(acts[2].value, type=Act)
    put = msgspec.json.encode(msgspec.structs.replace(act, subject="forged"))
    return {acts[2].name: put}


def unreadable(acts: list[Record]) -> dict[str, bytes | None]:
    return {acts[2].name: b"{"}


def added_many(acts: list[Record]) -> dict[str, bytes | None]:
    """Two well-made entries after the end, without the head."""
    last = msgspec.json.decode(acts[-1].value, type=Act)
    one = msgspec.json.encode(msgspec.structs.replace(last, seq=last.seq + 1, prev=digest(acts[-1].value)))
    two = msgspec.json.encode(msgspec.structs.replace(last, seq=last.seq + 2, prev=digest(one)))
    return {name_of(last.seq + 1): one, name_of(last.seq + 2): two}


def changed_last(acts: list[Record]) -> dict[str, bytes | None]:
    return {acts[-1].name: acts[-1].value.replace(b"alice", b"mallo")}


def newer(acts: list[Record]) -> dict[str, bytes | None]:
    return {acts[-1].name: acts[-1].value.replace(b'"v":1', b'"v":2')}


Spoiling = Callable[[list[Record]], dict[str, bytes | None]]
SPOILINGS: tuple[Spoiling, ...] = (
    changed,
    removed,
    removed_first,
    removed_last,
    removed_and_moved_up,
    put_between,
    replaced_well,
    unreadable,
    added_many,
    changed_last,
    newer,
)


@pytest.mark.parametrize("spoiling", SPOILINGS, ids=lambda each: each.__name__)
def test_what_was_done_to_it_is_seen(spoiling: Spoiling) -> None:
    """Changed, removed, put between, cut off or added: the journal is not as it was written."""

    async def main() -> None:
        registry = MemoryRegistry()
        journal = await written(registry, 6)
        assert (await look(registry)).problems == ()
        for name, value in spoiling(list(await registry.all(KIND))).items():
            await set_to(registry, KIND, name, value)
        assert (await look(registry)).problems != ()
        with pytest.raises(InvariantViolated, match="not as it was written"):
            await journal.read()

    asyncio.run(main())


def test_a_chain_that_was_made_anew_with_a_gap_is_seen() -> None:
    """Even with every hash and the head right: a number is missing."""

    async def main() -> None:
        registry = MemoryRegistry()
        await written(registry, 5)
        acts = [msgspec.json.decode(r.value, type=Act) for r in await registry.all(KIND)]
        await set_to(registry, KIND, name_of(3), None)
        prev = acts[3 - 1].prev
        for act in acts[3:]:
            raw = msgspec.json.encode(msgspec.structs.replace(act, prev=prev))
            await set_to(registry, KIND, name_of(act.seq), raw)
            prev = digest(raw)
        await set_to(registry, HEAD_KIND, HEAD_NAME, msgspec.json.encode(Head(5, prev)))
        assert [p for p in (await look(registry)).problems if "one was removed or put between" in p] != []

    asyncio.run(main())


def test_what_follows_a_broken_entry_is_still_read() -> None:
    """One finding for one change, and the other entries are there."""

    async def main() -> None:
        registry = MemoryRegistry()
        await written(registry, 6)
        await set_to(registry, KIND, name_of(3), b"{")
        looked = await look(registry)
        assert [e.act.seq for e in looked.entries] == [1, 2, 4, 5, 6]
        assert len(looked.problems) == 2, "the entry itself, and the one that does not continue it"

    asyncio.run(main())


def test_an_empty_journal_is_whole() -> None:
    """Nothing was ever done."""
    looked = asyncio.run(look(MemoryRegistry()))
    assert (looked.entries, looked.problems, looked.head) == ((), (), "")
