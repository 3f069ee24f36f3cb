"""Secrets and card numbers planted in every input of a real payonce (configuration, requests, headers, webhooks, a provider's
answers and errors), and looked for in everything that comes out of it: logs, HTTP answers, shown history, the command line, the
bytes of its files, what objects print, and the texts of errors (R11)."""

import asyncio
import contextlib
import hashlib
import hmac
import io
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import msgspec
import pytest
import structlog

from payonce import telemetry
from payonce.bootstrap import SystemClock
from payonce.cli import main
from payonce.config import load
from payonce.core.errors import PayonceError
from payonce.core.events import Observed, seal
from payonce.core.redact import heard
from payonce.httpd import address_of, bind, http_server
from payonce.merchants.keys import SCOPES
from payonce.sandbox.server import sandbox_app
from payonce.serving import Served, serving
from payonce.shown.outcomes import told_outcome
from payonce.shown.views import history_entry, provider_body
from tests.fuzz.providers import OURS, subject
from tests.leaks import Careless, Plants, careless, found, leaks, planted

SEEDS = (1, 2)
DEADLINE_S = 40
# value -> where it may stand all the same, and why
MAY = {
    "customer token": {
        "file": "the body of the charge, beside the chain: it is what the provider is sent again, and it can be erased",
    },
    "customer email": {
        "file": "the merchant's own metadata, beside the chain, erasable",
        "http own metadata": "whoever gave it gets it back",
        "cli own metadata": "the same, on the machine itself",
    },
}


# What an operator sees of an answer or webhook: fields that the adapter names, some of them free texts.
MAY_IN_BODIES = {
    "customer token": {"bodies": "it has no form of its own, and whoever looks has the payment before them"},
    "customer email": {"bodies": "the same"},
    "payu salt": {"bodies": "no form either; an account's own credentials are taken out before a webhook is kept"},
    "mock secret": {"bodies": "the same"},
    "razorpay key_secret": {"bodies": "the same"},
}


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that is logged, as a server logs it; afterwards the loggers are as they were."""
    for variable in [n for n in os.environ if n.startswith("PAYONCE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    names = ("payonce", *telemetry.OTHERS)
    before = [(logging.getLogger(n), list(logging.getLogger(n).handlers), logging.getLogger(n).propagate) for n in names]
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    telemetry.configure(level="debug", json=True)
    yield stream
    for logger, handlers, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(logging.NOTSET)
    structlog.reset_defaults()


def configured(folder: Path, vendor: str, plants: Plants, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A payonce.toml with an account of each adapter at the careless vendor; its secrets come from the environment."""
    keys = {
        "mock": {"secret": "mock secret", "webhook_secret": "mock webhook_secret"},
        "stripe": {"api_key": "stripe api_key"},
        "razorpay": {"key_id": "", "key_secret": "razorpay key_secret"},
        "payu": {"key": "", "salt": "payu salt"},
        "cashfree": {"client_id": "", "client_secret": "cashfree client_secret"},
    }
    lines = ["version = 1", "[server]", "port = 0", "[store]", f'data_dir = "{folder / "data"}"']
    for name, credentials in keys.items():
        lines += [f"[providers.{name}]", f'base_url = "{vendor}/{name}"', 'merchants = "*"']
        for key, plant in credentials.items():
            monkeypatch.setenv(f"X_{name}_{key}".upper(), plants[plant] if plant else f"rzp_test_{name}")
            lines.append(f'{key} = "env:X_{name.upper()}_{key.upper()}"')
    file = folder / "payonce.toml"
    file.write_text("\n".join(lines))
    return file


async def asked(served: Served, plants: Plants, out: dict[str, str]) -> None:
    """Requests of every kind with plants in every place; each answer is kept, with its headers."""
    key, text = served.app.keys.new("mer_default", "test", SCOPES)
    await served.app.keys.add(key)
    out["secret of the test itself"] = text
    answers: list[str] = []
    headers = {"authorization": f"Bearer {text}", "content-type": "application/json"}
    async with httpx2.AsyncClient(base_url=served.url, headers=headers, timeout=30) as client:

        async def ask(method: str, path: str, body: Any = None, **more: str) -> httpx2.Response:
            raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            answer = await client.request(method, path, content=raw, headers=more)
            answers.append(f"{answer.headers} {answer.text}")
            return answer

        await _with_cards(ask, plants)
        ids = await _accepted(ask, plants)
        await _webhooks(ask, plants)
        ended = time.monotonic() + DEADLINE_S
        while time.monotonic() < ended:
            counts = [(await ask("GET", f"/payments/{id}")).json() for id in ids]
            if all(p["status"] != "PENDING" or (p["lastError"] or {}).get("code") for p in counts):
                break
            await asyncio.sleep(0.1)
        for id in ids:
            await ask("GET", f"/payments/{id}/history?limit=100")
            await ask("POST", f"/payments/{id}/refunds", {"amount": 10}, **{"idempotency-key": f"r-{id}"})
        for path in ("/payments", "/events", "/readyz", "/livez", "/webhook-endpoints", "/sandbox", "/nowhere"):
            await ask("GET", path)
        await ask("GET", "/payments", authorization=plants["bearer of the vendor"])
    out["http"] = "\n".join(each for each in answers if plants["customer email"] not in each)
    out["http own metadata"] = "\n".join(each for each in answers if plants["customer email"] in each)
    out["ids"] = ",".join(ids)


async def _with_cards(ask: Any, plants: Plants) -> None:
    """A card number in each field, name, header, query and path: refused, or at least known to nobody."""
    good = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok"}
    for pan in (plants["card"], plants["card with spaces"]):
        for name in ("description", "clientId", "provider", "returnUrl", "paymentMethod", "currency", "amount", "x", pan):
            answer = await ask("POST", "/payments", {**good, name: pan}, **{"idempotency-key": "k"})
            assert (answer.status_code, answer.json()["code"]) == (422, "card_number_refused"), (name, answer.text)
        for metadata in ({"note": pan}, {pan: 1}, {"n": int(pan.replace(" ", ""))}):
            answer = await ask("POST", "/payments", {**good, "metadata": metadata}, **{"idempotency-key": "k"})
            assert answer.json()["code"] == "card_number_refused"
        assert (await ask("POST", "/payments", good, **{"idempotency-key": pan})).json()["code"] == "card_number_refused"
        await ask("GET", "/payments", **{"request-id": pan, "user-agent": pan, "referer": pan})
        for target in (
            f"/payments/{pan}",
            f"/payments?clientId={pan}",
            f"/payments?cursor={pan}",
            f"/{pan}",
            f"/webhooks/{pan}",
        ):
            assert (await ask("GET", target)).status_code >= 400
        await ask("POST", "/payments", f'{{"amount": {pan}'.encode(), **{"idempotency-key": "k"})


async def _accepted(ask: Any, plants: Plants) -> list[str]:
    """Payments that are worked on: good ones, declined ones, and a customer's token at each vendor."""
    metadata = {"customerEmail": plants["customer email"]}
    ids = []
    wanted = [("mock", "tok_ok"), ("mock", "tok_decline_do_not_honor"), ("mock", plants["customer token"])]
    wanted += [(name, plants["customer token"]) for name in ("stripe", "razorpay", "payu", "cashfree")]
    for n, (name, token) in enumerate(wanted):
        method = {"type": "card", "token": token}
        body = {"amount": 1050, "currency": "INR", "provider": name, "paymentMethod": method, "metadata": metadata}
        answer = await ask("POST", "/payments", body, **{"idempotency-key": f"order-{n}"})
        if answer.status_code == 202:
            ids.append(answer.json()["transactionId"])
    assert len(ids) >= 5
    return ids


async def _webhooks(ask: Any, plants: Plants) -> None:
    """Signed and unsigned, with card numbers and secrets in body and headers."""
    said = {"id": "evt_1", "type": "charge.x", "data": {"id": plants["card in a webhook"], "reference": "nothing-of-ours"}}
    body = json.dumps(
        {**said, "text": plants.echo("card", "mock", "bearer", "customer"), "authorization": plants["bearer of the vendor"]}
    ).encode()
    at = int(time.time())
    for secret in (plants["mock webhook_secret"], "wrong"):
        digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        more = {"x-mock-signature": f"t={at},v1={digest}", "x-secret-token": plants["bearer of the vendor"]}
        answer = await ask("POST", "/webhooks/mock", body, **more, **{"x-event-note": plants["card in a webhook"]})
        assert answer.status_code == (200 if secret != "wrong" else 401), answer.text


def commands(file: Path, ids: list[str]) -> str:
    """What the command line prints, both streams."""
    printed = io.StringIO()
    plain = (
        "list",
        "list --json",
        "webhooks list",
        "webhooks list --json",
        "config show",
        "config show --json",
        "verify",
        "doctor",
        "providers list",
        "events list",
        "audit export",
        "routes check",
        f"show {ids[0]} --json",
        *(f"show {id}" for id in ids),
    )
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for line in plain:
            main([*line.split(), "--config", str(file)])
        for webhook in re.findall(r"\bwh_[0-9a-z]{20}\b", printed.getvalue())[:2]:
            main(["webhooks", "show", webhook, "--config", str(file)])
    return printed.getvalue()


def printed_objects(served: Served) -> str:
    """What a debugger, a log line or an assertion would print."""
    app = served.app
    things: list[object] = [
        app.settings,
        app.engine.accounts,
        app.engine,
        app,
        app.keys,
        app.transport,
        app.webhooks,
        app.endpoints,
    ]
    things += [a.credentials for a in app.engine.accounts.values()]
    return "\n".join(f"{thing!r} {thing!s} {getattr(thing, '__rich_repr__', str)()}" for thing in things)


def raised(folder: Path, plants: Plants, monkeypatch: pytest.MonkeyPatch) -> str:
    """Texts of errors about a configuration that somebody wrote secrets into."""
    said = []
    for n, line in enumerate(
        (
            f'[providers.stripe]\napi_key = "{plants["stripe api_key"]}"',
            f'[providers.mock]\nsecret = "{plants["mock secret"]}"\nbase_url = "https://a.example"',
            f'[providers.mock]\nbase_url = "https://user:{plants["mock secret"]}@a.example"',
            f'[providers.mock]\nbase_url = "ftp://a.example/?secret={plants["payu salt"]}"',
            f'[server]\nport = "{plants["card"]}"',
            f'[server]\nhost = "{plants["card with spaces"]}"\nmode = "{plants["card"]}"',
        )
    ):
        file = folder / f"bad-{n}.toml"
        file.write_text(f"version = 1\n{line}\n")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            main(["doctor", "--config", str(file), "--data-dir", str(folder / "none")])
            main(["config", "show", "--config", str(file)])
        said.append(printed.getvalue())
        with contextlib.suppress(PayonceError):
            said.append(repr(load(file=file)))
    return "\n".join(said)


def _bug(plants: Plants) -> Any:
    """An adapter that fails, with a text that quotes everything."""

    def parse(_self: object, _intent: object, response: Any) -> Any:
        held_here = plants.echo()
        raise ValueError(f"cannot read {response!r} {held_here}")

    return parse


async def lived(folder: Path, plants: Plants, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, str], Path, int]:
    out: dict[str, str] = {}
    (folder / "vendor").mkdir()
    sandbox = sandbox_app(folder / "vendor" / "ledger.db", SystemClock())
    vendor = Careless(sandbox, plants, "sandbox")
    sock = bind("127.0.0.1", 0)
    try:
        file = configured(folder, address_of(sock), plants, monkeypatch)
        async with http_server(vendor, sock, drain_s=1), serving(load(file=file)) as served:
            broken = served.app.engine.accounts["payu"].adapter
            monkeypatch.setattr(type(broken), "parse", _bug(plants))
            await asked(served, plants, out)
            out["objects"] = printed_objects(served)
    finally:
        sandbox.close()
        sock.close()
    return out, file, vendor.answers


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_that_is_planted_comes_out(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    """No output holds a card number, a key or secret of ours or a provider's, or a customer's token, but where MAY says so."""
    plants = planted(seed)
    out, file, answers = asyncio.run(lived(tmp_path, plants, monkeypatch))
    assert answers > 5, "the vendor was not asked: nothing is shown"
    out["log"] = logged.getvalue()
    printed = commands(file, out.pop("ids").split(","))
    mine = [part for part in printed.splitlines() if plants["customer email"] in part]
    out["cli"] = "\n".join(part for part in printed.splitlines() if part not in mine)
    out["cli own metadata"] = "\n".join(mine)
    out["errors"] = raised(tmp_path, plants, monkeypatch)
    out["file"] = "\n".join(f.read_bytes().decode("latin-1") for f in sorted((tmp_path / "data").rglob("*")) if f.is_file())
    own = out.pop("secret of the test itself")
    assert own not in "".join(out.values()), "the API key came out"
    assert leaks(plants, out, MAY) == []
    assert all(len(out[name]) > 500 for name in ("log", "http", "cli", "file", "objects", "errors")), {
        n: len(t) for n, t in out.items()
    }


def test_what_may_stand_somewhere_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO) -> None:
    """The exceptions in MAY are needed: the customer's token and e-mail address are in the file. So the search finds things."""
    plants = planted(99)
    asyncio.run(lived(tmp_path, plants, monkeypatch))
    raw = "\n".join(f.read_bytes().decode("latin-1") for f in sorted((tmp_path / "data").glob("payments.db*")))
    assert [name for name in MAY if not found(plants[name], raw)] == []


@pytest.mark.parametrize("guard", ["payonce.dispatch.heard", "payonce.inbox.storable", "payonce.telemetry.told"])
def test_without_a_guard_something_comes_out(
    guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    """Each guard is needed, and the whole search sees it when one is gone: of outcomes, of webhooks, of errors in the log."""
    plants = planted(42)
    monkeypatch.setattr(guard, lambda value, *_: f"{value!r}" if guard.endswith("told") else value)
    out, _, _ = asyncio.run(lived(tmp_path, plants, monkeypatch))
    out["log"] = logged.getvalue()
    out["file"] = "\n".join(f.read_bytes().decode("latin-1") for f in sorted((tmp_path / "data").glob("payments.db*")))
    del out["secret of the test itself"]
    assert leaks(plants, out, MAY) != []


@pytest.mark.parametrize("name", OURS)
def test_no_adapter_lets_through_what_its_provider_says(name: str) -> None:
    """Each recorded answer of each provider with plants in all its texts: not in what is kept of it, nor in what is shown."""
    plants = planted(7)
    ours = (dict(plants.values),)
    for case in subject(name).cases:
        answers = []
        for answer in case.answers():
            try:
                body = json.dumps(careless(json.loads(answer.body), plants.echo())).encode()
            except ValueError:
                body = answer.body
            answers.append(msgspec.structs.replace(answer, body=body))
        outcome = heard(subject(name).learn(case, answers=answers), *ours)
        entry = seal(Observed(about=1, outcome=outcome), seq=2, at_us=1, actor="worker", request_id="", prev="0")
        shown = history_entry("pay_01kav0q8t03x9m2c7h5n", entry)
        bodies = [provider_body(subject(name).adapter, a.body) for a in answers]
        out = {
            "kept": entry.raw.decode(),
            "history": msgspec.json.encode(shown).decode(),
            "story": told_outcome(outcome),
            "bodies": json.dumps(bodies),
        }
        assert leaks(plants, out, MAY_IN_BODIES) == [], case.name


def test_a_secret_in_place_of_its_reference_is_not_shown(tmp_path: Path) -> None:
    """Who writes the signing key itself into the file, instead of where it lies, does not find it in the settings."""
    key = planted(5)["mock webhook_secret"]
    file = tmp_path / "payonce.toml"
    file.write_text(f'version = 1\n[webhooks]\nsigning_key = "{key}"\n')
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main(["config", "show", "--json", "--config", str(file)])
    with contextlib.suppress(PayonceError):
        printed.write(repr(load(file=file)))
    assert key not in printed.getvalue()


@pytest.mark.parametrize("where", ["as it is", "in a URL", "in JSON", "in base64", "with dashes"])
@pytest.mark.parametrize("what", ["card", "card with spaces", "payu salt", "customer token", "bearer of the vendor"])
def test_a_leak_is_seen(where: str, what: str) -> None:
    """Each kind of plant, written as programs write it, is found in the middle of a long text; another one is not."""
    import base64
    from urllib.parse import quote

    plants = planted(3)
    value = plants[what].removeprefix("Bearer ")
    written = {
        "as it is": value,
        "in a URL": quote(value),
        "in JSON": json.dumps({"a": value}),
        "in base64": base64.b64encode(f"user:{value}".encode()).decode(),
        "with dashes": value.replace(" ", "-"),
    }[where]
    filler = "".join(Random(1).choice("abcdefghij 0123456789\n") for _ in range(5000))
    if where != "in base64" or "card" not in what:
        assert what in [leak.partition(":")[0] for leak in leaks(plants, {"log": f"{filler} {written} {filler}"}, {})]
    assert leaks(planted(4), {"log": f"{filler} {written} {filler}"}, {}) == []
    assert leaks(plants, {"log": written}, {name: {"log": "may"} for name in plants.values}) == []
