"""``payonce sandbox``: the simulated provider as its own server."""

import textwrap
from pathlib import Path

from payonce.bootstrap import SystemClock
from payonce.config import Settings
from payonce.process import bind, http_server
from payonce.sandbox.server import sandbox_app

from . import OK
from .app import wait_for
from .options import HERE, Json, Where, start_logging
from .output import put, put_json, say
from .serve import stopped


def sandbox(*, port: int = 8090, ledger: Path | None = None, where: Where = HERE, json: Json = False) -> int:
    """Run the sandbox alone, with its durable ledger of money moved. It binds 127.0.0.1 only.

    To use it, put this into payonce.toml (its simulated vendor takes any secret that is not empty):

        version = 1
        [providers.mock]
        base_url = "http://127.0.0.1:8090/mock"
        secret = "env:PAYONCE_SECRET_MOCK"

    and start payonce where the variable is set:

        export PAYONCE_SECRET_MOCK=any
        payonce serve

    Parameters
    ----------
    port
        Port to bind; 0 takes a free one.
    ledger
        The ledger file (default: sandbox-ledger.db in the data folder).
    json
        Print where it listens as one line of JSON.
    """
    settings = where.settings()
    start_logging(settings)
    wait_for(_sandbox(settings, port, (ledger or settings.ledger_path).resolve(), as_json=json))
    return OK


STARTS = "export PAYONCE_SECRET_MOCK=any\npayonce serve\n"


def snippet(url: str) -> str:
    """The whole payonce.toml that pays at a sandbox of its own."""
    account = f'[providers.mock]\nbase_url = "{url}/mock"\nsecret = "env:PAYONCE_SECRET_MOCK"\n'
    return f"version = 1\n{account}"


async def _sandbox(settings: Settings, port: int, ledger: Path, *, as_json: bool) -> None:
    sock = bind("127.0.0.1", port)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    app = sandbox_app(ledger, SystemClock())
    async with http_server(app, sock, drain_s=settings.number("server.drain_s")) as url:
        if as_json:
            put_json({"url": url, "ledger": str(ledger)}, indent=False)
        else:
            put(f"The sandbox listens on {url}")
            put(f"  ledger  {url}/sandbox/ledger  ({ledger})")
            put("\nTo use it, put this into payonce.toml:\n")
            put(textwrap.indent(snippet(url), "    "))
            put("and start payonce where the variable is set (any value that is not empty):\n")
            put(textwrap.indent(STARTS, "    "))
            put("Ctrl-C stops it.")
        await stopped(lambda: say("stopping ..."))
