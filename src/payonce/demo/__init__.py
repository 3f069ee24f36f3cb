"""The demo: a real server with the sandbox, a stream of varied payments over HTTP, and at the end the comparison of
every status with the sandbox's ledger. Figures are measured, none is written down here.

traffic    what is posted, and by whom (duplicates, an outage)
watch      what a person sees meanwhile
balance    what the ledger says about each payment
"""

import asyncio
import contextlib
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import httpx2
from msgspec import Struct
from msgspec.structs import replace

from payonce.config import Settings, Value
from payonce.process import until_signal
from payonce.serving import Served, serving

from .balance import Balance, balance, summary
from .traffic import Outage, Post, Traffic, script
from .watch import Quiet, Watch, awaited, watcher

SETTLE_DEADLINE_S: Final = 120.0  # the whole script settles in well under a minute
POLL_S: Final = 0.2
DRAIN_S: Final = 2
OK, FAILURE, INTERRUPTED = 0, 1, 130


class Wish(Struct, frozen=True, kw_only=True):
    """What the caller wants of the demo. ``seconds``: over how long the payments arrive, 1 to 600."""

    seconds: float = 8.0
    exit: bool = False
    keep: bool = False  # the data folder is the caller's, not a temporary one


async def run(settings: Settings, wish: Wish) -> int:
    """Serve, post, watch, compare, and stay until Ctrl-C (or end, with ``exit``). The exit code: 1 when any payment was
    charged more than once or any status differs from the ledger."""
    ended = asyncio.create_task(until_signal(), name="signal")
    if settings.values["server.drain_s"].origin == "default":  # nobody wants to wait for a demo; a cut call is safe
        settings = replace(settings, values={**settings.values, "server.drain_s": Value(DRAIN_S, "demo")})
    async with serving(free_port(settings)) as served:
        _hello(settings, served, wish)
        show = asyncio.create_task(_show(served, settings, wish), name="show")
        await asyncio.wait({show, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not show.done():
            show.cancel()
            await asyncio.gather(show, return_exceptions=True)
            print("\nStopped in the middle. Every accepted payment is on record.", file=sys.stderr)
            return INTERRUPTED
        code = show.result()
        if wish.exit:
            return code
        print("\nThe server stays up. Ctrl-C stops it.", flush=True)
        await ended
        with contextlib.suppress(NotImplementedError):  # a second Ctrl-C cuts the drain short
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        return code


@contextmanager
def data_folder(settings: Settings, *, fresh: bool) -> Iterator[Settings]:
    """The settings with a fresh folder that is removed at the end, unless the caller named one."""
    if not fresh:
        yield settings
        return
    with TemporaryDirectory(prefix="payonce-demo-", ignore_cleanup_errors=True) as folder:
        values = {**settings.values, "store.data_dir": Value(folder, "demo"), "store.path": Value("", "demo")}
        yield replace(settings, values=values)


def free_port(settings: Settings) -> Settings:
    """The same settings, or with a free port where theirs is taken; says so."""
    host, port = settings.text("server.host"), settings.number("server.port")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            print(f"Port {port} cannot be used ({error.strerror}): taking a free one.", flush=True)
            return replace(settings, values={**settings.values, "server.port": Value(0, "demo")})
    return settings


def _hello(settings: Settings, served: Served, wish: Wish) -> None:
    kept = "" if wish.keep else " (temporary: it goes when the demo ends)"
    print(f"payonce listens on {served.url}; the provider is a simulated one in this process, nothing leaves this machine.")
    print(f"  docs    {served.url}/docs")
    print(f"  ledger  {served.url}/sandbox/ledger  (what the provider says it charged: the outside witness)")
    print(f"  data    {settings.data_dir.resolve()}{kept}\n", flush=True)


async def _show(served: Served, settings: Settings, wish: Wish) -> int:
    async with httpx2.AsyncClient(base_url=served.url, timeout=30, trust_env=False) as client:
        posts = script(endless=not wish.exit)
        traffic = Traffic(client, posts, Outage(), wish.seconds)
        with watcher(len(posts)) as watch:
            sending = asyncio.create_task(traffic.run(), name="traffic")
            try:
                await _until_settled(served, traffic, sending, Seen(client, watch))
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        result = await balance(client, traffic)
    print(summary(result, traffic), flush=True)
    if not wish.exit:
        _hints(served.url, settings.data_dir, result)
    return FAILURE if result.wrong else OK


class Seen(NamedTuple):
    """Through what the payments are looked at, and who is shown them."""

    client: httpx2.AsyncClient
    watch: Watch


async def _until_settled(served: Served, traffic: Traffic, sending: asyncio.Task[None], seen: Seen) -> None:
    """Look at the payments until nothing more happens to them and everything posted is answered."""
    client, watch = seen
    loop = asyncio.get_running_loop()
    quiet = Quiet(loop.time())
    deadline = loop.time() + SETTLE_DEADLINE_S
    while True:
        page = (await client.get("/payments", params={"limit": "100"})).json()
        ours = [p for p in page["data"] if p["transactionId"] in traffic.by_id]
        watch.update(ours, traffic)
        waiting = [p["transactionId"] for p in ours if not at_rest(p, traffic)]
        if quiet.lasts(ours, loop.time()):
            watch.wait(await _awaited(served, waiting))
        elif quiet.since_s + POLL_S > loop.time():  # it has just changed
            watch.wait("")
        if sending.done():
            sending.result()
            if not waiting or loop.time() > deadline:
                return
        await asyncio.sleep(POLL_S)


async def _awaited(served: Served, waiting: list[str]) -> str:
    due = [at for each in waiting if (at := await served.app.store.due_of(each)) is not None]
    return awaited(len(waiting), min(due, default=None), served.app.clock.now_us())


def at_rest(view: dict[str, object], traffic: Traffic) -> bool:
    """Settled or in doubt, and a late success given back; the one that never resolves is not waited for."""
    post = traffic.by_id.get(str(view["transactionId"]))
    if post is not None and post.endless:
        return True
    if post is not None and post.late:
        return view["reversed"] == view["amount"]
    return view["status"] in ("SUCCESS", "FAILED", "CANCELED", "IN_DOUBT")


def program() -> str:
    """The command that started this process, as somebody in the same folder can type it."""
    start = Path(sys.argv[0])
    if start.name == "__main__.py":
        return f"{shlex.quote(_near(Path(sys.executable)))} -m payonce"
    found = shutil.which(start.name)
    if found and start.exists() and Path(found).absolute() == start.absolute():
        return shlex.quote(start.name)
    return shlex.quote(_near(start)) if start.exists() else "payonce"


def _near(path: Path) -> str:
    """Relative where that leads downwards from here."""
    path = path.absolute()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _hints(url: str, data_dir: Path, result: Balance) -> None:
    example = result.example or "pay_..."
    at = shlex.quote(str(data_dir.resolve()))
    print("\nTry it yourself:")
    print(f"  curl -s {url}/payments -H 'Content-Type: application/json' -H 'Idempotency-Key: mine-1' \\")
    print("""       -d '{"amount": 1050, "currency": "INR", "paymentMethod": "tok_lost_response"}'""")
    print(f"  curl -s {url}/payments/{example}")
    print(f"  curl -s {url}/payments/{example}/history")
    print(f"  curl -s {url}/sandbox/ledger")
    print(f"  {program()} show {example} --data-dir {at}      (its story; it was unknown for a while)")
    print(f"  docs: {url}/docs", flush=True)


__all__ = ["Post", "Wish", "data_folder", "free_port", "run"]
