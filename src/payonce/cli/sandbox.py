"""``payonce sandbox``: the simulated providers as their own server."""

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.json import encode

from payonce.bootstrap import SystemClock
from payonce.config import PUBLIC_URL, Settings
from payonce.httpd import bind, http_server
from payonce.providers import load_adapters
from payonce.sandbox.courier import delivering
from payonce.sandbox.outbox import put_endpoints
from payonce.sandbox.pages import serve_pages_at
from payonce.sandbox.server import installed, sandbox_app
from payonce.serving import sandbox_accounts

from . import OK, USAGE
from .options import HERE, Exit, Json, Where, start_logging
from .output import put, put_json, say
from .running import stay
from .serve import stopped


def sandbox(
    *,
    port: int = 8090,
    ledger: Path | None = None,
    webhooks_to: str | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Run the sandbox alone, with its durable ledger of money moved. It binds 127.0.0.1 only.

    Accounts at the sandbox, the shipped ones too, pay there when payonce is told where it is, and get its webhooks when it is
    told where payonce is:

        payonce sandbox --webhooks-to http://127.0.0.1:8080
        PAYONCE_SANDBOX_URL=http://127.0.0.1:8090 payonce serve

    It prints accounts for all its simulated vendors, with credentials that they take, for a payonce that is to see it as a
    provider like any other. For the mock alone put this into payonce.toml (it takes any secret that is not empty):

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
    webhooks_to
        A payonce that takes the webhooks of the sandbox's accounts in these settings, at URL/webhooks/ACCOUNT. The ledger
        keeps it, in place of what was put there before.
    json
        Print where it listens as one line of JSON.
    """
    settings = where.settings()
    to = "" if webhooks_to is None else server_named(webhooks_to)
    start_logging(settings)
    work = _sandbox(settings, port, (ledger or settings.ledger_path).resolve(), to, as_json=json)
    stay(work, settings.text("server.loop"))
    return OK


def server_named(url: str) -> str:
    """The address without a slash at its end. Ends the command for what is none."""
    if not PUBLIC_URL.fullmatch(url) or "?" in url or "#" in url:
        raise Exit(
            USAGE,
            "payonce: --webhooks-to is the http or https URL of a payonce, such as http://127.0.0.1:8080. Nothing was started.",
        )
    return url.rstrip("/")


def endpoints_at(settings: Settings, url: str) -> dict[str, list[str]]:
    """Vendor -> where the payonce at ``url`` takes the webhooks of its accounts. Ends the command when there are none."""
    found: dict[str, list[str]] = {}
    for account, vendor in sandbox_accounts(settings).items():
        found.setdefault(vendor, []).append(f"{url}/webhooks/{account}")
    if not found:
        raise Exit(USAGE, "payonce: --webhooks-to: no account of these settings is at the sandbox. Nothing was started.")
    return found


def snippet(url: str) -> str:
    """The whole payonce.toml that pays at a sandbox of its own: an account for each simulated vendor with an adapter."""
    blocks = ["version = 1\n"]
    for vendor, credentials in _vendors():
        keys = "".join(f'{key} = "env:{_variable(vendor, key)}"\n' for key in credentials)
        blocks.append(f'[providers.{vendor}]\nbase_url = "{url}/{vendor}"\n{keys}')
    return "\n".join(blocks)


def starts() -> str:
    """The commands that set the variables of the snippet and start payonce."""
    pairs = ((_variable(vendor, key), value) for vendor, known in _vendors() for key, value in known.items())
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in pairs) + "payonce serve\n"


def webhooks(url: str) -> str:
    """The command that has every vendor of the snippet send its webhooks to payonce where it serves by default."""
    endpoints = {vendor: [f"http://127.0.0.1:8080/webhooks/{vendor}"] for vendor, _ in _vendors()}
    return f"curl -X PUT {url}/sandbox/webhooks -d {shlex.quote(encode(endpoints).decode())}"


def _vendors() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each simulated vendor with an adapter, and credentials that both take."""
    adapters = load_adapters()
    yield from ((name, adapters[name].SANDBOX_CREDENTIALS) for name in installed() if name in adapters)


def _variable(vendor: str, key: str) -> str:
    return "PAYONCE_SECRET_" + re.sub(r"\W", "_", f"{vendor}_{key}").upper()


async def _sandbox(settings: Settings, port: int, ledger: Path, webhooks_to: str, *, as_json: bool) -> None:
    wanted = endpoints_at(settings, webhooks_to) if webhooks_to else {}
    sock = bind("127.0.0.1", port)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    app = sandbox_app(ledger, clock)
    drain_s = settings.number("server.drain_s")
    async with http_server(app, sock, drain_s=drain_s) as url, delivering(app, clock):
        serve_pages_at(app.ledger, url)
        if wanted:
            with app.books():
                put_endpoints(app.ledger, encode(wanted), app.vendors)
        if as_json:
            put_json({"url": url, "ledger": str(ledger), "webhooks": wanted or None}, indent=False)
        else:
            put(f"The sandbox listens on {url}")
            put(f"  ledger  {url}/sandbox/ledger  ({ledger})")
            for vendor, urls in wanted.items():
                put(f"  webhooks of {vendor} go to {', '.join(urls)}")
            put("\nFor the accounts at the sandbox, the shipped ones too:\n")
            put(f"    PAYONCE_SANDBOX_URL={url} payonce serve")
            put("\nTo use it as a provider like any other, put this into payonce.toml, or only the accounts that you want:\n")
            put(textwrap.indent(snippet(url), "    "))
            put("and start payonce where their variables are set. Any other value that is not empty will do for the vendors of")
            put("payonce itself, but a prefix of a test key, such as rzp_test_, has to stay:\n")
            put(textwrap.indent(starts(), "    "))
            if not wanted:
                put("It sends webhooks once it knows where to (--webhooks-to), for each vendor:\n")
                put(f"    {webhooks(url)}\n")
            put("Ctrl-C stops it.")
        await stopped(lambda: say("stopping ..."))
