"""Cut after cut: what is run, what is counted, and how one finding is seen again."""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import apsw
from msgspec import Struct

from payonce.core.errors import PayonceError, StoreUnavailable

from .disk import Disk, Image
from .inspection import FILE, Findings, inspect, lay_out
from .lives import World
from .promises import WatchedStore, _PowerCut
from .vfs import FAULTS, FOR_EVER, Fault, FaultKind, Machine, powered

VIOLATIONS_MAX: Final = 100  # that are told; the rest is only counted
TAPE_CUTS: Final = 40  # of one recorded life
KILLED_FROM: Final = 110  # an operation after the store was made
IMAGES: Final = 8  # that are looked at after each life of a chain; with one of them it goes on
LIVES_MAX: Final = 5  # of one chain
OPERATIONS: Final = 700  # about what one life asks of a disk


class PowerReport(Struct, frozen=True, kw_only=True):
    """What was done and found. ``violations`` end with the call that shows them again; at most 100 are told,
    ``violations_all`` counts. ``first_violation`` is the number of the cut that showed the first one, 0 = none."""

    cuts: int  # power cuts, each with an image of the platter that was opened and held against every promise
    opened: int  # images that the store opened
    rounds: int
    lives: int  # starts of the store on a simulated disk
    kills: int  # processes that died while the power stayed
    committed: int  # changes answered Committed, over all lives
    accepted: int  # payments whose client was answered 202
    refused: int  # changes answered StoreUnavailable: nothing was written
    unclear: int  # changes answered Unclear
    unclear_there: int  # of these, found after the next cut
    unclear_gone: int  # of these, not found
    lost: int  # committed changes that a cut lost
    writes_kept: int  # not synced when the power went
    writes_torn: int
    writes_dropped: int
    faults: Mapping[str, int]  # by kind: operations of the disk that failed
    violations_all: int
    first_violation: int
    violations: tuple[str, ...]


class _Tally:
    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.faults: Counter[str] = Counter(dict.fromkeys(FAULTS, 0))
        self.violations: list[str] = []
        self.first_violation = 0
        self.again = ""  # the call that repeats the present round

    def wrong(self, problem: str) -> None:
        self.count["violations"] += 1
        self.first_violation = self.first_violation or max(1, self.count["cuts"])
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(f"{problem} [{self.again}]")

    def image(self, image: Image, found: Findings, where: str) -> None:
        """One more cut was looked at."""
        self.count.update(cuts=1, opened=found.opened, lost=found.lost)
        self.count.update(kept=image.kept, torn=image.torn, dropped=image.dropped)
        for problem in found.problems:
            self.wrong(f"{where}: {problem}")

    def world(self, world: World) -> None:
        """A world has ended."""
        verdicts = Counter(a.verdict for each in world.promises.asked.values() for a in each)
        self.count.update(committed=verdicts["committed"], refused=verdicts["refused"], accepted=len(world.paid))

    def report(self) -> PowerReport:
        n = self.count
        return PowerReport(
            **{
                name: n[name]
                for name in ("cuts", "opened", "rounds", "lives", "kills", "committed", "accepted", "refused", "lost")
            },
            **{name: n[name] for name in ("unclear", "unclear_there", "unclear_gone")},
            writes_kept=n["kept"],
            writes_torn=n["torn"],
            writes_dropped=n["dropped"],
            faults=dict(self.faults),
            violations_all=n["violations"],
            first_violation=self.first_violation,
            violations=tuple(self.violations),
        )


def run(
    *,
    cuts: int,
    seed: int,
    first: int = 0,
    folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
    stop_at_violation: bool = False,
) -> PowerReport:
    """At least ``cuts`` power cuts, in whole rounds from number ``first`` on. The same arguments give the same report.

    ``folder`` is emptied and used (None = a temporary one); nothing in it is worth keeping. ``progress`` is told the cuts so
    far after each round. Not beside other threads that open databases: SQLite's default VFS is replaced meanwhile."""
    if cuts < 1 or first < 0:
        raise ValueError("cuts is at least 1, first at least 0")
    tally, number = _Tally(), first
    with _workplace(folder) as place:
        while tally.count["cuts"] < cuts and not (stop_at_violation and tally.violations):
            dice = random.Random(f"{seed}/{number}")
            tally.again = f"powerloss.run(cuts=1, seed={seed}, first={number})"
            round_of = (_recorded, _chained, _recorded, _failing)[number % 4]
            round_of(dice, tally, place)
            tally.count["rounds"] += 1
            number += 1
            if progress is not None:
                progress(tally.count["cuts"])
    return tally.report()


def every_cut(*, seed: int, payments: int = 2, images: int = 2, folder: Path | None = None) -> PowerReport:
    """A short life of ``payments``, a kill, another life, and the power cut at every single operation of the disk, each with
    ``images`` draws of what survives."""
    tally = _Tally()
    tally.again = f"powerloss.every_cut(seed={seed}, payments={payments}, images={images})"
    dice = random.Random(f"{seed}/every")
    with _workplace(folder) as place:
        _Recording(dice, tally, place, payments).cut_everywhere(images)
        tally.count["rounds"] += 1
    return tally.report()


@contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    temporary = nullcontext(folder) if folder is not None else tempfile.TemporaryDirectory()
    with temporary as place:
        yield Path(place)


# --- one life -----------------------------------------------------------------------------------------------------


class _Life(Struct, frozen=True, kw_only=True):
    """What happens in it: new payments, how long the worker works, whether old clients repeat all before, and whether the
    disk works again at the end."""

    orders: int
    turns: int = 300
    repeats: bool = False
    heals: bool = False
    ends: str = "closed"  # closed, killed


def _live(world: World, machine: Machine, path: Path, life: _Life, tally: _Tally) -> None:
    """One process on the machine's disk, from start to end."""
    tally.count["lives"] += 1
    with powered(machine, path.parent):
        try:
            store = WatchedStore(path, machine, world.promises)
        except (StoreUnavailable, _PowerCut) as error:
            if not machine.dead and not machine.fired:
                tally.wrong(f"the store does not open: {error}")
            machine.off(path)
            tally.faults.update(machine.fired)
            return
        try:
            asyncio.run(_days(world, store, machine, life))
            if life.ends == "killed":
                machine.off(path)
        except _PowerCut:
            pass
        except PayonceError as error:
            tally.wrong(f"the engine raised {type(error).__name__}: {error}")
        finally:
            if not machine.dead:
                _close(store, tally)
            machine.off(path)
    tally.faults.update(machine.fired)


def _close(store: WatchedStore, tally: _Tally) -> None:
    try:
        asyncio.run(store.close())
    except apsw.Error as error:
        tally.wrong(f"close() raised {type(error).__name__}: {error}")


async def _days(world: World, store: WatchedStore, machine: Machine, life: _Life) -> None:
    if life.repeats:
        await world.repeat(store, machine)
    await world.live(store, machine, orders=life.orders, turns=life.turns)
    if life.heals:
        await world.healed(store, machine)


# --- recorded: one tape, cut at many places -----------------------------------------------------------------------


class _Recording:
    """Two lives on one disk, a kill between them, recorded once; the power is cut on the tape."""

    def __init__(self, dice: random.Random, tally: _Tally, place: Path, payments: int) -> None:
        self.dice, self.tally, self.place = dice, tally, place
        self.world, disk = World(dice), Disk()
        first = _Life(orders=payments, turns=dice.randint(1, 12), ends="killed")
        killed_at = dice.randrange(KILLED_FROM, KILLED_FROM + 40 * payments)
        _live(
            self.world, Machine(disk, cut_at=killed_at, at_sync=dice.random() < 0.5), lay_out({}, place / "live"), first, tally
        )
        tally.count["kills"] += 1
        files = disk.seen()
        second = _Life(orders=max(1, payments // 2), repeats=True)
        _live(self.world, Machine(disk), lay_out(files, place / "live"), second, tally)
        self.tape = tuple(disk.tape)
        tally.world(self.world)
        for problem in self.world.problems:
            tally.wrong(problem)

    def cut_at(self, places: list[int], images: int) -> None:
        """Cut while each of these operations is being done."""
        disk, wanted = Disk(), set(places)
        for number, op in enumerate(self.tape):
            saves = op.kind in ("sync", "sync_names")  # begun, it may have saved nothing
            if not saves:
                disk.do(op)
            if number in wanted:
                self._look(disk, number, images)
            if saves:
                disk.do(op)
        if len(self.tape) in wanted:
            self._look(disk, len(self.tape), images)
        self.world.close()

    def cut_everywhere(self, images: int) -> None:
        self.cut_at(list(range(len(self.tape) + 1)), images)

    def _look(self, disk: Disk, number: int, images: int) -> None:
        op = self.tape[number] if number < len(self.tape) else None
        where = f"cut at operation {number} ({f'{op.kind} of {op.name}' if op else 'the end'})"
        for _ in range(images):
            image = disk.cut(self.dice)
            self.tally.image(image, inspect(image.files, self.world.promises, number, self.place / "after"), where)


def _recorded(dice: random.Random, tally: _Tally, place: Path) -> None:
    recording = _Recording(dice, tally, place, dice.randint(2, 10))
    count = len(recording.tape) + 1
    recording.cut_at(dice.sample(range(count), min(count, TAPE_CUTS)), 1)


# --- chained: life after life on what was left ---------------------------------------------------------------------


def _chained(dice: random.Random, tally: _Tally, place: Path) -> None:
    _chain(dice, tally, place, failing=False)


def _failing(dice: random.Random, tally: _Tally, place: Path) -> None:
    _chain(dice, tally, place, failing=True)


def _chain(dice: random.Random, tally: _Tally, place: Path, *, failing: bool) -> None:
    """Lives that end by power cut, kill, or a clean end, on disks that may fail; then a last one in peace, and the judge."""
    world, disk, files = World(dice), Disk(), dict[str, bytes]()
    for number in range(dice.randint(2, LIVES_MAX)):
        faults = _faults(dice) if failing else ()
        cut_at = disk.done + dice.randrange(OPERATIONS) if dice.random() < 0.8 else None
        soon = dice.randrange(40) if failing and dice.random() < 0.3 else None
        machine = Machine(
            disk,
            cut_at=cut_at,
            at_sync=dice.random() < 0.3,
            faults=faults,
            after_fault=soon,
            seed=dice.getrandbits(32),
        )
        life = _Life(
            orders=dice.randint(1, 6),
            turns=dice.randint(1, 20),
            repeats=True,
            heals=failing and dice.random() < 0.5,
            ends=dice.choice(("closed", "killed")),
        )
        _live(world, machine, lay_out(files, place / "live"), life, tally)
        if dice.random() < 0.3:
            tally.count["kills"] += 1
            files = disk.seen()  # the power stayed: the cache is still there
            continue
        files = _cut(world, disk, tally, place, f"life {number}")
        disk = Disk(files, disk.done)
    machine = Machine(disk)
    _live(world, machine, lay_out(files, place / "live"), _Life(orders=1, repeats=True), tally)
    files = _cut(world, disk, tally, place, "the last life")
    for problem in _judged(world, files, place):
        tally.wrong(f"in the end: {problem}")
    tally.world(world)
    world.close()


def _faults(dice: random.Random) -> tuple[Fault, ...]:
    """One to three things that go wrong: once, for a while, or until the process ends."""
    kinds: tuple[FaultKind, ...] = (*FAULTS, "eio_sync")
    reach = {"eio_sync": 20, "eio_read": 60}
    return tuple(
        Fault(kind=kind, at=dice.randrange(reach.get(kind, OPERATIONS // 2)), length=dice.choice((1, 1, 2, 3, 20, FOR_EVER)))
        for kind in dice.choices(kinds, k=dice.randint(1, 3))
    )


def _cut(world: World, disk: Disk, tally: _Tally, place: Path, where: str) -> dict[str, bytes]:
    """The power goes; what is left is looked at, and decides what was open."""
    dice = world.dice
    for _ in range(IMAGES):
        image = disk.cut(dice)
        found = inspect(image.files, world.promises, disk.done, place / "after")
        tally.image(image, found, f"after {where}")
    tally.count["unclear"] += sum(a.verdict == "unclear" for each in world.promises.asked.values() for a in each)
    there, gone = world.promises.settle(found.heads, disk.done)
    tally.count.update(unclear_there=there, unclear_gone=gone)
    return dict(image.files)


def _judged(world: World, files: Mapping[str, bytes], place: Path) -> list[str]:
    path = lay_out(files, place / "judged")
    machine = Machine(Disk(files))

    async def ask() -> list[str]:
        store = WatchedStore(path, machine, world.promises)
        try:
            return await world.judge(store)
        finally:
            await store.close()

    with powered(machine, path.parent):
        return asyncio.run(ask())


__all__ = ["FILE", "PowerReport", "every_cut", "run"]
