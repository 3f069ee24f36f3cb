"""payonce beside what people would use instead, on one machine, at the same job, with the same durability.

The job: ``POST /payments`` with an idempotency key is validated, stored durably together with its key, and answered 202
PENDING; a repeat gets the same payment, another body under the key a 409 or 422; a worker charges the provider over HTTP and
writes down how it ended; ``GET /payments/{id}`` says it. ``order`` has what the peers share, ``with_*`` are the peers.
"""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.bench import Bench

    from .contenders import Contest, Peer

NAME: Final = "peers"
NEEDED: Final = {  # what each module of a peer imports
    "with_celery": ("fastapi", "sqlalchemy", "celery", "redis"),
    "with_dbos": ("fastapi", "sqlalchemy", "aiosqlite", "dbos"),
    "with_procrastinate": ("fastapi", "psycopg", "psycopg_pool", "procrastinate"),
}
SIDE_BY_SIDE: Final = 4  # tortures at once: nothing in them is a time


def run(bench: "Bench") -> None:
    """The whole section; eight to nine minutes at scale normal."""
    # What follows is needed by the harness only: the processes of the peers import this package too.
    from . import contenders
    from .servers import Missing, Postgres

    bench.note(contenders.DURABLE)
    bench.note(contenders.TRIED)
    postgres = None
    try:
        postgres = Postgres(bench.folder / "postgres")
    except Missing as missing:
        bench.note(f"{missing}; contenders on PostgreSQL are left out.")
    contest = contenders.Contest(python=bench.python, postgres=postgres)
    try:
        _measure(bench, contest)
        _torture(bench, contest)
    finally:
        if postgres:
            postgres.stop()


def why_not(peer: "Peer", *, postgres: bool, redis: bool) -> str:
    """Why a contender cannot run here; empty: it can."""
    missing = [name for name in NEEDED.get(peer.module, ()) if find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    if peer.postgres and not postgres:
        return "no PostgreSQL"
    return "no Redis" if peer.redis and not redis else ""


def _present(bench: "Bench", contest: "Contest", peers: "tuple[Peer, ...]") -> "list[Peer]":
    """Those who can run here; the others are noted."""
    import shutil

    kept, redis = [], shutil.which("redis-server") is not None
    for peer in peers:
        if why := why_not(peer, postgres=contest.postgres is not None, redis=redis):
            bench.note(f"{peer.name} is left out: {why}.")
        else:
            kept.append(peer)
    return kept


def _measure(bench: "Bench", contest: "Contest") -> None:
    """Everybody takes a turn, and again."""
    from benchmarks.procs import Broken

    from .contenders import OURS, PEERS
    from .measured import Turn, ratios

    everybody = _present(bench, contest, (*OURS, *PEERS))
    for number in range(bench.times()):
        found = {}
        for peer in everybody:
            try:
                found[peer.name] = Turn(bench, contest, peer, number).run()
            except Broken as broken:
                if not peer.module:
                    raise  # payonce has no excuse
                bench.note(f"{peer.name} broke off a turn: {str(broken)[:300]}")
        ratios(bench, found)
        bench.save()


def _torture(bench: "Bench", contest: "Contest") -> None:
    """Each storm once, some side by side."""
    from benchmarks.procs import Broken

    from .torture import HOW, Torture, storms

    able = {peer.name for peer in _present(bench, contest, tuple(storm.peer for storm in storms(bench.scale)))}
    rows = [storm for storm in storms(bench.scale) if storm.peer.name in able]
    bench.note(HOW)
    tortures = [Torture(bench, contest, storm, number) for number, storm in enumerate(rows)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        found = [pool.submit(torture.run) for torture in tortures]
        try:
            for storm, future in zip(rows, found, strict=True):
                try:
                    counts = future.result()
                except Broken as broken:
                    if not storm.peer.module:
                        raise  # payonce has no excuse
                    bench.note(f"{storm.name} broke off its torture: {str(broken)[:300]}")
                    continue
                for what, count in counts.items():
                    bench.row(storm.case, storm.name, what, "", count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for torture in tortures:
                torture.break_off()
            raise
