"""Where the dashboard is and where it is not: switched off, over TLS, in live mode, and not loaded before it is asked for."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from payonce.bootstrap import App, open_app
from payonce.cli import main
from payonce.config import load
from payonce.serving import api_of, dashboard_line, sessions_of

HTTPS = "https://pay.example.com"


def asked(
    folder: Path,
    doing: Callable[[App, httpx2.AsyncClient], Awaitable[None]],
    *,
    base: str = "http://127.0.0.1:8080",
    client: tuple[str, int] = ("127.0.0.1", 5),
    **flags: str,
) -> None:
    """With a client of the API that comes to ``base`` from the address ``client``."""

    async def run() -> None:
        named = {name.replace("__", "."): value for name, value in flags.items()}
        settings = load({"store.data_dir": str(folder), **named}, env={})
        async with open_app(settings, env={}, worker=False) as app:
            transport = httpx2.ASGITransport(app=api_of(app), client=client)
            async with httpx2.AsyncClient(transport=transport, base_url=base) as http:
                await doing(app, http)

    asyncio.run(run())


def test_switched_off_nothing_is_there(tmp_path: Path) -> None:
    """404 as for any path, and the start says that it is off."""

    async def check(app: App, http: httpx2.AsyncClient) -> None:
        assert (await http.get("/dashboard")).status_code == 404
        assert (await http.get("/dashboard/sign-in")).status_code == 404
        assert await dashboard_line(app, "http://x", "operator:x") == "off (server.dashboard)"

    asked(tmp_path, check, server__dashboard="off")


def test_over_tls_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    """Under the https address it is a __Host- cookie and Secure; on the machine itself a plain one below the dashboard."""

    async def check(app: App, http: httpx2.AsyncClient) -> None:
        for base, wanted in ((HTTPS, "__Host-payonce="), ("http://127.0.0.1:8080", "payonce_session=")):
            ticket = await sessions_of(app).print_ticket("mer_default", ("admin",), by="operator:test")
            answer = await http.get(f"{base}/dashboard/sign-in?ticket={ticket}")
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith(wanted)
            assert ("Path=/;" in cookie, "Secure" in cookie) == (base == HTTPS, base == HTTPS)

    asked(tmp_path, check, base=HTTPS, server__public_url=HTTPS)


@pytest.mark.parametrize(
    ("base", "client", "status"),
    [("http://10.1.2.3:8080", "10.9.9.9", 403), ("http://127.0.0.1:8080", "127.0.0.1", 303), (HTTPS, "10.9.9.9", 303)],
)
def test_in_live_mode_nobody_signs_in_in_the_clear(tmp_path: Path, base: str, client: str, status: int) -> None:
    """From elsewhere over http the page says why not, and the ticket is not used up; over https and on the machine one may."""

    async def check(app: App, http: httpx2.AsyncClient) -> None:
        ticket = await sessions_of(app).print_ticket("mer_default", ("admin",), by="operator:test")
        answer = await http.get(f"/dashboard/sign-in?ticket={ticket}")
        assert answer.status_code == status
        assert ("https only" in answer.text) == (status == 403)
        assert len(await app.store.registry.all("ticket")) == (1 if status == 403 else 0)

    asked(tmp_path, check, base=base, client=(client, 5), server__mode="live", server__public_url=HTTPS)


def test_nothing_of_it_is_loaded_before_it_is_asked_for(tmp_path: Path) -> None:
    """A process that serves, or takes payments on AWS, pays for no templates."""
    code = (
        "import asyncio, sys\nfrom payonce.bootstrap import open_app\nfrom payonce.config import load\n"
        "from payonce.serving import api_of\n"
        "async def main():\n"
        "    async with open_app(load({'store.data_dir': sys.argv[1]}, env={}), env={}, worker=False) as app: api_of(app)\n"
        "asyncio.run(main())\n"
        "assert not {'jinja2', 'payonce.dashboard'} & set(sys.modules), 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_command_prints_an_address_that_signs_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``payonce dashboard``: with the scopes and the merchant that were asked for, and at the server's address."""
    asked(tmp_path, _nothing)
    here = ["--data-dir", str(tmp_path)]
    assert main(["dashboard", *here, "--scope", "refunds:write", "--at", "http://127.0.0.1:9", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scopes"] == ["payments:read", "refunds:write"]
    start = "http://127.0.0.1:9/dashboard/sign-in?ticket="
    assert told["url"].startswith(start)

    async def check(_app: App, http: httpx2.AsyncClient) -> None:
        answer = await http.get("/dashboard/sign-in", params={"ticket": told["url"].removeprefix(start)})
        assert answer.status_code == 303
        page = (await http.get("/dashboard/x")).text
        assert "operator" in page
        assert "/dashboard/settings" not in page

    asked(tmp_path, check)
    assert main(["dashboard", *here, "--merchant", "mer_none"]) == 3
    assert main(["dashboard", *here, "--at", "localhost:9"]) == 2


def test_a_command_signs_everybody_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``payonce dashboard --end-sessions``: asked first, or told --yes; a browser that was signed in is not any more."""
    tokens = []

    async def sign_in(app: App, http: httpx2.AsyncClient) -> None:
        ticket = await sessions_of(app).print_ticket("mer_default", ("admin",), by="operator:test")
        tokens.append((await http.get(f"/dashboard/sign-in?ticket={ticket}")).cookies["payonce_session"])

    async def live(app: App, _http: httpx2.AsyncClient) -> None:
        tokens.append(await sessions_of(app).of(tokens[0]) is not None)

    asked(tmp_path, sign_in)
    ends = ["dashboard", "--data-dir", str(tmp_path), "--end-sessions"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(ends) == 2
    assert main([*ends, "--yes", "--merchant", "mer_none"]) == 3
    assert main([*ends, "--yes", "--at", "http://127.0.0.1:9"]) == 2
    asked(tmp_path, live)
    capsys.readouterr()
    assert main([*ends, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"merchant": "mer_default", "sessions": 1, "tickets": 0}
    asked(tmp_path, live)
    assert tokens[1:] == [True, False]


async def _nothing(_app: App, _http: httpx2.AsyncClient) -> None:
    """The store is made."""
