"""The demo: a real server with the sandbox, a stream of varied payments over HTTP, an outage, and at the end the
comparison of every status with the providers' ledgers. Figures are measured, none is written down here.

ground     the accounts and rules that it has
script     what is posted
traffic    who posts it: duplicates, the outage
stories    what happens to a payment and why, in plain words
switches   what happens to a provider: outage, breaker, drain
watch      what a person sees meanwhile
balance    what the ledgers say, against what the payments say
summary    the figures
steady     what goes on afterwards, until Ctrl-C
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
from typing import Final

import httpx2
from msgspec import Struct
from msgspec.structs import replace

from payonce.bootstrap import App
from payonce.config import Settings, Value, in_one_process
from payonce.core.actors import actor
from payonce.core.payment import FINAL, Payment
from payonce.merchants.issuing import Issuing, Wanted
from payonce.merchants.keys import KeyScope
from payonce.ports import Filters
from payonce.process import until_signal
from payonce.serving import Served, dashboard_line, serving

from .balance import Balance, balance, failed_over
from .ground import elsewhere, ground_of
from .script import Post, script
from .steady import Steady
from .stories import Stories
from .summary import summary
from .switches import Switches
from .traffic import Traffic
from .watch import News, Quiet, Watch, awaited, watcher

SETTLE_DEADLINE_S: Final = 120.0  # after the last post; the whole script settles in well under a minute
LATE_US: Final = 60_000_000  # so long after it was accepted a late success is waited for
ALL: Final[KeyScope] = "admin"  # its key may do everything, for a day
KEY_S: Final = 86_400  # how long the demo's key lasts
PAGE: Final = 100
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
        token = await _key(served.app)
        sign_in = await _hello(settings, served, wish, token)
        show = asyncio.create_task(_show(served, settings, wish, token), name="show")
        await asyncio.wait({show, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not show.done():
            show.cancel()
            await asyncio.gather(show, return_exceptions=True)
            print("\nStopped in the middle. Every accepted payment is on record.", file=sys.stderr)
            return INTERRUPTED
        code = show.result()
        if wish.exit:
            return code
        await _go_on(served, settings, token, sign_in, ended)
        with contextlib.suppress(NotImplementedError):  # a second Ctrl-C cuts the drain short
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        return code


@contextmanager
def data_folder(settings: Settings, *, fresh: bool) -> Iterator[Settings]:
    """The settings with a fresh folder that is removed at the end, unless the caller named one; on this machine alone,
    whatever tables are configured."""
    settings = in_one_process(settings, "demo")
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


async def _key(app: App) -> str:
    """The text of a fresh test key that lasts a day: on record, and in the journal, like any other."""
    issuing = Issuing(app.merchants, app.keys, app.journal, app.clock, actor("cli"))
    expires_us = app.clock.now_us() + KEY_S * 1_000_000
    scope, scopes = app.scope, (ALL,)
    wanted = Wanted(merchant_id=scope.merchant_id, mode=scope.mode, scopes=scopes, name="demo", expires_us=expires_us)
    return (await issuing.key(wanted)).token


async def _go_on(served: Served, settings: Settings, token: str, sign_in: str, ended: asyncio.Task[None]) -> None:
    """Payments go on arriving until the signal. ``sign_in``: the address from the beginning, which has scrolled away."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=served.url, timeout=30, trust_env=False, headers=headers) as client:
        steady = Steady(client, ground_of(settings), served.app.clock)
        print(
            f"\nThe server stays up, and payments go on arriving. In a minute {steady.patient} degrades, and a minute later\n"
            f"it heals. Ctrl-C ends it. Watch it:\n  {sign_in}",
            flush=True,
        )
        going = asyncio.create_task(steady.run(), name="steady")
        await asyncio.wait({going, ended}, return_when=asyncio.FIRST_COMPLETED)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        if not ended.done():  # posting failed, which is the demo's own trouble: what was accepted is settled all the same
            print("The demo posts no more payments. Ctrl-C stops it.", file=sys.stderr)
            await ended


async def _hello(settings: Settings, served: Served, wish: Wish, token: str) -> str:
    """Where everything is; the address that signs in at the dashboard, if the server stays up."""
    kept = "" if wish.keep else " (temporary: it goes when the demo ends)"
    names = ", ".join(ground_of(settings).vendors)
    print(f"payonce listens on {served.url}; its providers ({names}) are simulated in this process,")
    print("nothing leaves this machine.")
    sign_in = await dashboard_line(served.app, served.url, actor("cli")) if not (wish.exit and not wish.keep) else ""
    if sign_in:
        print(f"  see it  {sign_in}")
    print(f"  docs    {served.url}/docs")
    with_key = "" if wish.exit and not wish.keep else "; with the key below"
    print(f"  ledger  {served.url}/sandbox/ledger  (what the providers say they charged{with_key})")
    print(f"  data    {settings.data_dir.resolve()}{kept}")
    if not (wish.exit and not wish.keep):
        print(f"  key     export PAYONCE_API_KEY={token}   # for a day")
    print(flush=True)
    return sign_in


async def _show(served: Served, settings: Settings, wish: Wish, token: str) -> int:
    ground, key = ground_of(settings), {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=served.url, timeout=30, trust_env=False, headers=key) as client:
        posts = script(ground, endless=not wish.exit)
        traffic = Traffic(client, posts, ground, served.app, wish.seconds)
        with watcher(len(posts)) as watch:
            sending = asyncio.create_task(traffic.run(), name="traffic")
            try:
                await _until_settled(served, traffic, sending, watch)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        result = await balance(client, served.app.store, traffic)
        page = await _customers_page(client, result) if not wish.exit else ""
    print(summary(result, traffic), flush=True)
    _hints(served.url if not wish.exit else "", settings, result, wish)
    if page:
        print(f"\nBe the customer of a payment: approve or decline it in a browser at\n  {page}", flush=True)
    return FAILURE if result.wrong else OK


async def _customers_page(client: httpx2.AsyncClient, result: Balance) -> str:
    """Where the customer of the payment that waits for one can act."""
    waiting = result.of_status("REQUIRES_ACTION")
    view = (await client.get(f"/payments/{waiting[0].payment.id}")).json() if waiting else {}
    return str((view.get("nextAction") or {}).get("url") or "")


async def _until_settled(served: Served, traffic: Traffic, sending: asyncio.Task[None], watch: Watch) -> None:
    """Look at the payments until nothing more happens to them and everything posted is answered."""
    loop, app = asyncio.get_running_loop(), served.app
    stories, switches = Stories(app.store), Switches(app.health, traffic.outage, traffic.ground.vendor)
    quiet = Quiet(loop.time())
    deadline = 0.0
    while True:
        done = sending.done()  # before looking: what was posted last is in this look
        ours = await _ours(app, traffic)
        told = await stories.look(ours, app.health.blocked(app.clock.now_us()))
        watch.update(News(ours, told, await switches.look(), switches.now, stories.last), traffic)
        now_us = app.clock.now_us()
        waiting = [p.id for p in ours if not at_rest(p, traffic.by_id[p.id], now_us)]
        if quiet.lasts(ours, loop.time()):
            watch.wait(await _awaited(served, waiting))
        elif quiet.since_s + POLL_S > loop.time():  # it has just changed
            watch.wait("")
        if done:
            sending.result()
            deadline = deadline or loop.time() + SETTLE_DEADLINE_S
            if (not waiting and len(ours) == len(traffic.by_id)) or loop.time() > deadline:
                return
        await asyncio.sleep(POLL_S)


async def _ours(app: App, traffic: Traffic) -> list[Payment]:
    """Newest first. In a kept folder there are older ones below."""
    found: list[Payment] = []
    cursor: str | None = None
    while len(found) < len(traffic.by_id):
        page = await app.store.list(app.scope, Filters(), PAGE, cursor)
        found += [p for p in page.payments if p.id in traffic.by_id]
        cursor = page.next
        if cursor is None:
            break
    return found


async def _awaited(served: Served, waiting: list[str]) -> str:
    due = [at for each in waiting if (at := await served.app.store.due_of(each)) is not None]
    return awaited(len(waiting), min(due, default=None), served.app.clock.now_us())


def at_rest(p: Payment, post: Post, now_us: int) -> bool:
    """Settled or in doubt, with nothing left to give back. A late success has its time to come; the one that never
    resolves is not waited for."""
    if post.endless:
        return True
    if p.status not in (*FINAL, "IN_DOUBT") or any(o.state == "PENDING" for o in p.operations[1:]):
        return False
    if post.late and p.status == "FAILED":
        return p.reversed_minor() == p.amount_minor or now_us - p.created_us > LATE_US
    return True


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


def _hints(url: str, settings: Settings, result: Balance, wish: Wish) -> None:
    if wish.exit and not wish.keep:
        return
    lost = [past.payment.id for past in result.of_status(*FINAL) if past.unknown]
    over = [past.payment.id for past in result.pasts if failed_over(past.payment)]
    example = next(iter(lost), "pay_...")
    say, at = program(), f"--data-dir {shlex.quote(str(settings.data_dir.resolve()))}"
    print("\nTry it yourself:")
    if url:
        key = '-H "Authorization: Bearer $PAYONCE_API_KEY"'
        post = f"curl -s {url}/payments {key} -H 'Content-Type: application/json' -H 'Idempotency-Key: mine-1'"
        print(f"  {post} \\")
        print("""       -d '{"amount": 1050, "currency": "INR", "paymentMethod": "tok_lost_response"}'""")
        print(f"  curl -s {url}/payments/{example} {key}")
        print(f"  curl -s {url}/payments/{example}/history {key}")
        print(f"  curl -s {url}/sandbox/ledger {key}")
        vendor = ground_of(settings).vendor
        if vendor:
            print(f"""  curl -s -X PUT {url}/sandbox/faults/{vendor} {key} -d '{{"outage": true}}'      (-d '{{}}' ends it)""")
    print(f"  {say} show {example} {at}      (its story; it was unknown for a while)")
    if over:
        print(f"  {say} show {over[0]} {at}      (it failed over)")
    print(f"  {say} routes explain --amount 1000000 --currency USD")
    print(f"  {say} providers list {at}")
    if url:
        print(f"  docs: {url}/docs", flush=True)


__all__ = ["Post", "Wish", "data_folder", "elsewhere", "free_port", "run"]
