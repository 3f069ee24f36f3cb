# ruff: noqa: INP001  a script beside the package, for a person
"""The real template on this machine: `make aws-local`. It starts the local AWS emulator and the sandbox, packages, deploys,
posts payments through the HTTP API, watches them settle through the queue and the worker function, compares every one with
the providers' ledgers, and stays up for curl until Ctrl-C. ``--exit`` ends after the comparison; the exit code is 1 when
anything differs or something failed.

The shell's own settings, AWS profiles and the payonce.toml of the current folder do not count: it works on what it starts."""

import argparse
import asyncio
import os
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx2
from botocore.exceptions import BotoCoreError, ClientError
from msgspec.structs import replace
from tests.aws.stack import Stack, deployed, leads_elsewhere

from payonce.bootstrap import App, open_app
from payonce.config import Settings, load
from payonce.core.errors import PayonceError
from payonce.core.payment import FINAL
from payonce.demo.balance import balance
from payonce.demo.ground import Ground, ground_of
from payonce.demo.script import Post, script
from payonce.demo.summary import summary
from payonce.demo.traffic import Traffic
from payonce.process import until_signal

SECONDS: Final = 20.0  # over how long the payments arrive: the emulator takes 60 ms for each request
SETTLE_S: Final = 240.0
TELL_S: Final = 3.0
CALL_S: Final = 60.0
AT_ONCE: Final = 6  # requests: each one more is a process of the emulator
OK, FAILURE, INTERRUPTED = 0, 1, 130
WHY_CHARS_MAX: Final = 600
# What a machine can do to it; anything else is a bug of this script and shows as one.
TROUBLE: Final = (PayonceError, OSError, RuntimeError, httpx2.HTTPError, BotoCoreError, ClientError)


class Doors(httpx2.AsyncBaseTransport):
    """One client for both: what begins with /sandbox goes to the sandbox, all else to the deployed API, with its key."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._http = stack, httpx2.AsyncHTTPTransport()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode()
        base = self._stack.sandbox_url if path.startswith("/sandbox") else self._stack.api
        request.url = httpx2.URL(base + path)
        request.headers["host"] = request.url.netloc.decode()
        if base == self._stack.api:
            request.headers.update(self._stack.bearer)
        async with self._room:
            return await self._http.handle_async_request(request)

    async def aclose(self) -> None:
        await self._http.aclose()


def main(arguments: list[str] | None = None) -> int:
    """See the module docstring."""
    parser = argparse.ArgumentParser(prog="make aws-local", description="The real template, deployed on this machine.")
    parser.add_argument("--exit", action="store_true", help="end after the comparison")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="over how long payments arrive (default %(default)s)")
    wish = parser.parse_args(arguments)
    try:
        code = _deploy_and_run(wish.seconds, stay=not wish.exit)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (*TROUBLE, ExceptionGroup) as error:
        if isinstance(error, ExceptionGroup) and error.split(TROUBLE)[1] is not None:
            raise
        print(f"aws-local: {why(error)}", file=sys.stderr, flush=True)
        code = FAILURE
    print("Everything is stopped.")
    return code


def why(error: BaseException) -> str:
    """One line for a person: of a group its first error, of a long text the beginning and the end."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split()) or type(error).__name__
    half = WHY_CHARS_MAX // 2
    text = text if len(text) <= WHY_CHARS_MAX else f"{text[:half]} ... {text[-half:]}"
    return f"it failed: {text.rstrip('.')} ({type(error).__name__}). Only simulated money is concerned; start it again."


def _deploy_and_run(seconds: float, *, stay: bool) -> int:
    elsewhere = leads_elsewhere(os.environ)
    with tempfile.TemporaryDirectory(prefix="payonce-aws-", ignore_cleanup_errors=True) as name:
        print("Packaging, and starting the emulator and the sandbox ...", flush=True)
        with deployed(Path(name)) as stack:
            env = environment_on(stack)
            os.environ.update(env)
            print(f"Deployed deploy/aws/template.yaml; logs of all functions: {stack.folder / 'emulator.log'}\n", flush=True)
            code = asyncio.run(_run(stack, env, seconds, hints=_hints(stack, env, elsewhere) if stay else ""))
            print("Stopping the emulator, its functions and the sandbox ...", flush=True)
    return code


def environment_on(stack: Stack) -> dict[str, str]:
    """What makes payonce work on the stack, whatever lies in the current folder: with a configuration file of its own."""
    config = stack.folder / "aws-local.toml"
    config.write_text("version = 1\n", encoding="utf-8")
    return {**stack.env, "PAYONCE_CONFIG": str(config)}


async def _run(stack: Stack, env: Mapping[str, str], seconds: float, *, hints: str) -> int:
    """``hints``: what to print before it stays up; empty: it does not."""
    ended = asyncio.create_task(until_signal(), name="signal")
    show = asyncio.create_task(_show(stack, env, seconds), name="show")
    await asyncio.wait({show, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not show.done():
        show.cancel()
        await asyncio.gather(show, return_exceptions=True)
        print("\nStopped in the middle.", flush=True)
        return INTERRUPTED
    ended_well = show.result()
    if hints:
        print(hints, flush=True)
        await ended
    ended.cancel()
    return OK if ended_well else FAILURE


async def _show(stack: Stack, env: Mapping[str, str], seconds: float) -> bool:
    """Post, watch, compare; whether all is right."""
    settings = load(env=env)
    async with (
        open_app(settings, env=env) as app,
        httpx2.AsyncClient(transport=Doors(stack), base_url="http://stack.invalid", timeout=CALL_S) as client,
    ):
        traffic = Traffic(client, *_posts(settings), app, seconds)
        print(f"Posting {len(traffic.posts)} payments, some of them more than once ...", flush=True)
        posting = asyncio.create_task(traffic.run(), name="posting")
        try:
            settled = await _watched(app, traffic, posting)
            await posting
        finally:
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)
        if not settled:
            print(f"\nNot all are settled after {SETTLE_S:.0f} s.", flush=True)
        result = await balance(client, app.store, traffic)
        print(summary(result, traffic), flush=True)
        return settled and not result.wrong


def _posts(settings: Settings) -> tuple[list[Post], Ground]:
    """The demo's payments without the outage, which is about time and not about AWS."""
    ground = ground_of(settings)
    posts = [post for post in script(ground, endless=False) if post.part in ("mix", "life")]
    return posts, replace(ground, lead="")


async def _watched(app: App, traffic: Traffic, posting: "asyncio.Task[None]") -> bool:
    """Tell how far it is until all are settled. False: not within SETTLE_S."""
    loop = asyncio.get_running_loop()
    deadline, told = loop.time() + SETTLE_S, -TELL_S
    while loop.time() < deadline:
        found = [p for name in list(traffic.by_id) if (p := await app.store.get(name))]
        open_still = [
            p for p in found if p.status not in (*FINAL, "IN_DOUBT") or any(o.state == "PENDING" for o in p.operations)
        ]
        if loop.time() - told >= TELL_S:
            told = loop.time()
            counts = ", ".join(f"{n} {status}" for status, n in sorted(Counter(p.status for p in found).items()))
            print(f"  {len(found)} accepted: {counts or 'nothing yet'}", flush=True)
        if posting.done() and (posting.exception() or not open_still):
            return posting.exception() is None
        await asyncio.sleep(0.5)
    return False


def _hints(stack: Stack, env: Mapping[str, str], elsewhere: tuple[str, ...]) -> str:
    """``elsewhere``: names of this shell that another one probably has too."""
    body = shlex.quote('{"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok"}')
    endpoint = shlex.quote('{"url": "http://127.0.0.1:9000/hooks"}')
    unset = [name for name in elsewhere if name not in env]
    lines = [f"  unset {' '.join(unset)}"] if unset else []
    exports = "\n".join(lines + [f"  export {name}={shlex.quote(value)}" for name, value in env.items()])
    return (
        f"\nIt stays up until Ctrl-C. Post a payment:\n\n  api='{stack.api}'\n  key='{stack.key}'\n"
        f'  curl -i "$api/payments" -H "Authorization: Bearer $key" -H "Idempotency-Key: try-1" '
        f'-H "Content-Type: application/json" -d {body}\n\n'
        "The key is one of test mode, made for this run: it may do everything.\n"
        "Hear of what happens: ask for it, or make an endpoint and let something listen there:\n\n"
        '  PAYONCE_API_KEY="$key" payonce listen --url "$api" --forward-to http://127.0.0.1:9000/hooks\n'
        f'  curl -i "$api/webhook-endpoints" -H "Authorization: Bearer $key" -H "Content-Type: application/json" '
        f"-d {endpoint}\n\n"
        f"The command line on the same tables, in another shell:\n\n{exports}\n  payonce list\n  payonce doctor\n\n"
        f"The sandbox with its ledger and faults: {stack.sandbox_url}/sandbox\n"
    )


if __name__ == "__main__":
    sys.exit(main())
