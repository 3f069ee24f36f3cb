"""The power goes at every operation of the disk, and disks fail: what was answered is there, what was refused is not."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import apsw
import pytest

from payonce.ports import Change
from payonce.stores.sqlite import batch, schema, writer
from payonce.stores.sqlite import store as store_module
from payonce.testing import powerloss
from payonce.testing.powerloss import Disk, FaultKind, Machine, PowerReport, powered
from payonce.testing.powerloss.disk import SECTOR, Op
from payonce.testing.powerloss.inspection import inspect, lay_out
from payonce.testing.powerloss.lives import World
from payonce.testing.powerloss.promises import WatchedStore, _PowerCut

# Strict: the mark has to go as soon as the store does better.
DRAWS = 60  # of what survives one cut
WRITES = 20  # of one payment


# --- the disk -----------------------------------------------------------------------------------------------------


def draws(disk: Disk, name: str = "a") -> set[bytes | None]:
    """What the file may hold after a cut; None = it is not there."""
    return {disk.cut(random.Random(n)).files.get(name) for n in range(DRAWS)}


def disk_of(*ops: Op) -> Disk:
    disk = Disk({"a": b"." * 2 * SECTOR})
    for op in ops:
        disk.do(op)
    return disk


OLD, NEW = b"." * SECTOR, b"x" * SECTOR
WRITE = Op("write", "a", 0, NEW + NEW)


def test_what_was_synced_survives() -> None:
    """After a sync every cut leaves the new bytes; before it, each sector for itself may be old, new or torn."""
    assert draws(disk_of(WRITE, Op("sync", "a"))) == {NEW + NEW}
    assert {OLD + OLD, NEW + NEW, OLD + NEW, NEW + OLD} <= draws(disk_of(WRITE))


def test_any_version_of_a_sector_may_be_the_last() -> None:
    """Two writes to one sector without a sync leave the first, the second or none."""
    second = Op("write", "a", 0, b"y" * SECTOR)
    assert {OLD, NEW, b"y" * SECTOR} <= {each[:SECTOR] for each in draws(disk_of(WRITE, second)) if each}


def test_sizes_and_names_are_lost_like_bytes() -> None:
    """A new size survives a sync of the file, a new name only one of the directory, and a deleted file may come back."""
    longer = Op("write", "a", 2 * SECTOR, NEW)
    assert {2 * SECTOR, 3 * SECTOR} == {len(each or b"") for each in draws(disk_of(longer))}
    made = (Op("create", "b"), Op("write", "b", 0, NEW), Op("sync", "b"))
    assert draws(disk_of(*made), "b") == {None, NEW}
    assert draws(disk_of(*made, Op("sync_names")), "b") == {NEW}
    assert draws(disk_of(Op("delete", "a"))) == {None, OLD + OLD}


def test_a_sync_that_failed_saves_nothing_ever() -> None:
    """A later sync does not save what the failed one should have saved; writing it again does."""
    failed = (WRITE, Op("sync_failed", "a"))
    assert OLD + OLD in draws(disk_of(*failed, Op("sync", "a")))
    assert draws(disk_of(*failed, WRITE, Op("sync", "a"))) == {NEW + NEW}


# --- the store ----------------------------------------------------------------------------------------------------


def test_every_cut_of_a_short_life(tmp_path: Path) -> None:
    """Payments, a kill in the middle, a restart: the power is cut at every single operation, with several draws of what
    survives, and the store opens, is whole, and has all that was answered."""
    report = powerloss.every_cut(seed=6, payments=4, images=2, folder=tmp_path)
    assert report.violations == ()
    assert report.cuts == report.opened > 700
    assert (report.accepted > 2, report.committed > 6, report.lost) == (True, True, 0)
    assert min(report.writes_kept, report.writes_torn, report.writes_dropped) > 0


def test_chains_of_lives_on_failing_disks(tmp_path: Path) -> None:
    """Cuts, kills and disks that fail, life after life: nothing answered is lost, nobody is charged twice, and the same
    seed gives the same report."""
    first = powerloss.run(cuts=140, seed=3, folder=tmp_path)
    assert first.violations == ()
    assert first.rounds >= 4
    assert first.lives > 8
    assert first.refused + first.unclear > 0
    assert sum(first.faults.values()) > 0
    assert powerloss.run(cuts=140, seed=3, folder=tmp_path) == first
    assert powerloss.run(cuts=140, seed=5, folder=tmp_path) != first


# --- mutants: each must be reported -------------------------------------------------------------------------------


def hunted(folder: Path, cuts: int = 80) -> PowerReport:
    return powerloss.run(cuts=cuts, seed=1, folder=folder, stop_at_violation=True)


@pytest.mark.parametrize("level", ["NORMAL", "OFF"])
def test_mutant_less_than_full_synchronous(level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With less than synchronous=FULL, answered payments are lost, and it is said within 40 cuts."""
    connect = schema.connect

    def weaker(path: Path, busy_timeout_ms: int) -> apsw.Connection:
        connection = connect(path, busy_timeout_ms)
        connection.execute(f"PRAGMA synchronous={level}")
        return connection

    monkeypatch.setattr(schema, "connect", weaker)
    monkeypatch.setattr(store_module, "connect", weaker, raising=False)
    report = hunted(tmp_path)
    assert report.lost > 0
    assert 0 < report.first_violation <= 40


def test_mutant_acknowledge_before_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A writer that commits one batch later than it answers is caught by the first cut."""

    def early(self: writer.Writer, jobs: Sequence[writer.Job]) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("COMMIT")
            connection = self._begin()
            for job in jobs:
                writer._isolated(connection, job)
        except Exception as error:  # noqa: BLE001 - as the real one
            self._recover(error)
            writer._fail(jobs, error)

    monkeypatch.setattr(writer.Writer, "write", early)
    bench = Bench(tmp_path)

    def days(store: WatchedStore, machine: Machine) -> None:
        bench.pay(store, machine)
        assert any("was answered Committed and is lost" in each for each in bench.problems(draws=1))

    bench.life(days)


def test_mutant_a_change_in_two_transactions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A row that is committed before its events is seen half-written within 40 cuts."""
    tell = batch._tell  # what comes between the rows and their events

    def apart(connection: schema.WritingConnection, changes: Iterable[Change]) -> dict[tuple[str, int], int]:
        connection.execute("COMMIT; BEGIN IMMEDIATE")
        return tell(connection, changes)

    monkeypatch.setattr(batch, "_tell", apart)
    assert 0 < hunted(tmp_path).first_violation <= 40


# --- scripts ------------------------------------------------------------------------------------------------------


class Bench:
    """One world, its disk, and its server that is started again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.world, self.disk = folder, World(random.Random(3)), Disk()

    def life(self, days: Callable[[WatchedStore, Machine], object]) -> None:
        """A process from its start to a kill."""
        path = lay_out(self.disk.seen(), self.folder / "live")
        machine = Machine(self.disk)
        with powered(machine, path.parent):
            store = WatchedStore(path, machine, self.world.promises)
            try:
                days(store, machine)
            except _PowerCut:
                pass
            finally:
                machine.off(path)

    def pay(self, store: WatchedStore, machine: Machine, *keys: str) -> None:
        """These clients ask, or a new one."""
        for key in keys or (self.world.order(),):
            asyncio.run(self.world.pay(self.world.engine(store, machine), machine, key))

    def problems(self, draws: int = DRAWS) -> list[str]:
        """What is wrong after a power cut now, over many draws."""
        cuts = [self.disk.cut(random.Random(n)).files for n in range(draws)]
        return [
            p for files in cuts for p in inspect(files, self.world.promises, self.disk.done, self.folder / "after").problems
        ]

    def heads(self) -> list[bool]:
        """For each draw, whether the youngest change is in the file."""
        youngest = [a for each in self.world.promises.asked.values() for a in each][-1]
        cuts = [self.disk.cut(random.Random(n)).files for n in range(DRAWS)]
        found = [inspect(files, self.world.promises, self.disk.done, self.folder / "after").heads for files in cuts]
        return [youngest.head in heads for heads in found]


def test_unclear_is_unclear(tmp_path: Path) -> None:
    """A commit whose sync failed is answered Unclear, and after a cut it is there in some draws and not in others."""
    bench = Bench(tmp_path)

    def days(store: WatchedStore, machine: Machine) -> None:
        bench.pay(store, machine)
        asyncio.run(store.due(0, 1))  # a reader looks, as in every server
        machine.fail("eio_sync")
        bench.pay(store, machine)
        verdicts = [a.verdict for each in bench.world.promises.asked.values() for a in each]
        assert verdicts == ["committed", "unclear"]
        assert set(bench.heads()) == {True, False}

    bench.life(days)
    assert bench.problems() == []


def test_mutant_unclear_is_called_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store that says "nothing was written" after a sync that failed is caught."""
    fail = writer._fail
    monkeypatch.setattr(writer, "_fail", lambda jobs, error, **_: fail(jobs, error))
    bench = Bench(tmp_path)

    def days(store: WatchedStore, machine: Machine) -> None:
        bench.pay(store, machine)
        asyncio.run(store.due(0, 1))
        machine.fail("eio_sync")
        bench.pay(store, machine)

    bench.life(days)
    assert any("although it was refused" in each for each in bench.problems())


@pytest.mark.parametrize("kind", ["full", "eio_write", "short_write"])
def test_a_write_that_failed_is_never_committed_and_the_store_goes_on(kind: FaultKind, tmp_path: Path) -> None:
    """At each write of a payment in turn: full, error or short; nobody is answered 202, and the next try is taken."""
    for after in range(0, WRITES, 2):
        bench = Bench(tmp_path)

        def days(store: WatchedStore, machine: Machine, bench: Bench = bench, after: int = after) -> None:
            machine.fail(kind, after=after, length=1)
            bench.pay(store, machine)
            assert machine.fired
            assert bench.world.paid == {}
            asyncio.run(bench.world.healed(store, machine))
            assert bench.world.problems == []

        bench.life(days)
        assert bench.problems(draws=8) == []


def test_what_a_killed_process_left_is_synced_before_it_is_answered(tmp_path: Path) -> None:
    """A process dies between the writes and the sync of a commit. After the restart the client repeats, is told 202 for the
    payment that stands in the log, and then the power goes: it is there."""
    bench = Bench(tmp_path)

    def first(store: WatchedStore, machine: Machine) -> None:
        bench.pay(store, machine)
        machine.cut_at, machine.at_sync = machine.done, True
        bench.pay(store, machine)

    bench.life(first)
    assert list(bench.world.paid) == ["key-0"]
    bench.life(lambda store, machine: bench.pay(store, machine, "key-0", "key-1"))
    assert list(bench.world.paid) == ["key-0", "key-1"]
    assert bench.problems() == []


def test_nothing_rests_on_a_log_whose_sync_failed(tmp_path: Path) -> None:
    """A sync fails, the process is restarted, and goes on: what it commits then survives a power cut, although what was
    written before the failed sync never reached the platter."""
    bench = Bench(tmp_path)

    def first(store: WatchedStore, machine: Machine) -> None:
        bench.pay(store, machine)
        asyncio.run(store.due(0, 1))
        machine.fail("eio_sync")
        bench.pay(store, machine)

    bench.life(first)
    bench.life(bench.pay)
    assert "key-2" in bench.world.paid
    assert bench.problems() == []


def test_an_unclear_payment_is_not_answered_before_it_is_safe(tmp_path: Path) -> None:
    """Two syncs fail, that of a commit and that of the connection which is closed for it, before any reader has looked: the
    client is not told 202 for what only the cache knows."""
    bench = Bench(tmp_path)

    def days(store: WatchedStore, machine: Machine) -> None:
        bench.pay(store, machine)
        machine.fail("eio_sync")
        bench.pay(store, machine)
        assert machine.fired
        assert bench.problems() == []

    bench.life(days)


def test_closing_on_a_failing_disk_ends(tmp_path: Path) -> None:
    """The disk fails for good; close() raises nothing and leaves no connection open."""
    bench, path = Bench(tmp_path), lay_out({}, tmp_path / "live")
    machine = Machine(bench.disk)
    with powered(machine, path.parent):
        store = WatchedStore(path, machine, bench.world.promises)
        bench.pay(store, machine)
        asyncio.run(store.due(0, 1))
        machine.fail("eio_sync")
        machine.fail("eio_write")
        machine.fail("eio_read")
        bench.pay(store, machine)
        try:
            asyncio.run(store.close())
        finally:
            left = [c for c in apsw.connections() if Path(c.filename) == path.resolve()]
            machine.off(path)
    assert left == []


def test_the_real_answer_is_committed(tmp_path: Path) -> None:
    """Without faults the bench's store answers Committed and every draw has the payment."""
    bench = Bench(tmp_path)
    bench.life(bench.pay)
    assert [a.verdict for each in bench.world.promises.asked.values() for a in each] == ["committed"]
    assert bench.problems() == []
    assert all(bench.heads())
