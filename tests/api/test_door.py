"""The door: which header opens it, what a key may do, and that nothing is read or told before that."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import httpx2
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette

from payonce.api.app import create_app
from payonce.api.door import AUTHORIZATION_CHARS_MAX, Door
from payonce.api.incoming import Request
from payonce.api.openapi import operations
from payonce.api.rights import NEEDS
from payonce.core.errors import InvariantViolated, StoreUnavailable
from payonce.engine import Engine
from payonce.merchants.keys import SCOPES, Keyring, KeyScope
from payonce.ports import Record, Scope
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import GOOD, START_US, TEST, Service, all_ok, engine_over, new_key, open_door, problem_of, ring, serving

Check = Callable[[Service, Keyring], Awaitable[None]]
SECRET: Final = "z" * 32
FORGED: Final = f"sk_test_06gywnk043sq5zmmz0n0{SECRET}"


def keyed(check: Check, *, keys: Keyring | None = None, **door: Any) -> None:
    """Run ``check`` against a service that takes the keys of a ring; needs one, as soon as there is one."""
    held = keys or ring()

    async def go(s: Service) -> None:
        await check(s, held)

    serving(go, door=lambda engine: open_door(engine, keys=held, **door))


def required(engine: Engine, keys: Keyring, **limits: Any) -> Door:
    """As on AWS, and as server.keys = required: nobody comes in without a key."""
    return Door(keys, "test", engine.clock, **limits)


# --- which header ---------------------------------------------------------------------------------------------------------


def test_without_any_key_whoever_comes_is_the_default_merchant() -> None:
    """Nothing is needed, nothing is asked: the shape of a machine of one's own. From where is on record, and not shown."""

    async def check(s: Service, _keys: Keyring) -> None:
        made = await s.post()
        assert made.status_code == 202
        id = made.json()["transactionId"]
        (accepted,) = (await s.get(f"/payments/{id}/history")).json()["data"]
        (recorded,) = await s.store.history(id)
        assert (accepted["actor"], recorded.envelope.actor) == ("api", "api@127.0.0.1")

    keyed(check)


def test_the_first_key_closes_the_door_and_its_end_does_not_open_it() -> None:
    """From then on it is needed; a revoked or expired key leaves the door closed, also for a process that starts later."""

    async def check(s: Service, keys: Keyring) -> None:
        assert (await s.get("/payments")).status_code == 200
        mine = await new_key(keys)
        assert problem_of(await s.get("/payments"))["code"] == "key_missing"
        assert (await s.client.get("/payments", headers=mine)).status_code == 200
        (key,) = await keys.all()
        await keys.end(key.id, START_US)
        assert problem_of(await s.client.get("/payments", headers=mine))["code"] == "key_invalid"
        assert problem_of(await s.get("/payments"))["code"] == "key_missing"
        later = create_app(s.engine, door=open_door(s.engine, keys=keys), ready=all_ok)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=later), base_url="http://x") as client:
            assert problem_of(await client.get("/payments"))["code"] == "key_missing"

    keyed(check)


def test_keys_of_the_other_mode_do_not_close_the_door_and_do_not_open_it() -> None:
    """A live key on a server of test mode is no key; and test mode stays as it was."""

    async def check(s: Service, keys: Keyring) -> None:
        live = await new_key(keys, Scope("mer_default", "live"))
        assert (await s.get("/payments")).status_code == 200
        answer = await s.client.get("/payments", headers=live)
        assert (answer.status_code, problem_of(answer)["code"]) == (401, "key_invalid")
        await new_key(keys)
        assert problem_of(await s.client.get("/payments", headers=live))["code"] == "key_invalid"

    keyed(check)


def test_where_keys_are_required_none_is_needed_to_close_the_door() -> None:
    """Without a single key on record nobody comes in."""

    async def check(s: Service) -> None:
        for path, needs in NEEDS.items():
            for method in (m for m, scope in needs.items() if scope is not None):
                answer = await s.client.request(method, path.replace("{", "").replace("}", ""))
                assert (answer.status_code, problem_of(answer)["code"]) == (401, "key_missing"), path

    serving(check, door=lambda engine: required(engine, ring()))


# what stands in Authorization -> the code; {} is the good token
HEADERS: Final[Mapping[str, str | None]] = {
    "Bearer {}": None,
    "bearer {}": None,
    "BEARER   {}": None,
    "Basic {}": "key_missing",
    "{}": "key_missing",
    "Bearer": "key_invalid",
    "Bearer ": "key_invalid",
    "Bearer {}x": "key_invalid",
    "Bearer {} {}": "key_invalid",
    "Bearer {},Bearer {}": "key_invalid",
    "Bearer  \t{}": "key_invalid",
    f"Bearer {FORGED}": "key_invalid",
    f"Bearer {FORGED.replace('test', 'live')}": "key_invalid",
    "Bearer sk_test_": "key_invalid",
    "Bearer \u0455k_test_{}": "key_invalid",
    "Bearer {}\u00e9": "key_invalid",
    "Bearer sk_test_" + "z" * 5000: "key_invalid",
    "Bearer " + "{}" + " " * AUTHORIZATION_CHARS_MAX + ".": "key_invalid",
}


@pytest.mark.parametrize(("form", "code"), HEADERS.items(), ids=[f"{n}" for n in range(len(HEADERS))])
def test_one_form_of_the_header_opens(form: str, code: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """Bearer, in any case, with a key; all else is a 401 with its challenge, which repeats nothing, nor does the log."""

    async def check(s: Service, keys: Keyring) -> None:
        token = (await new_key(keys))["Authorization"].removeprefix("Bearer ")
        sent = form.replace("{}", token)
        with caplog.at_level(logging.DEBUG, "payonce"):
            answer = await s.client.get("/payments", headers={b"authorization": sent.encode()})
        if code is None:
            assert answer.status_code == 200
            return
        assert (answer.status_code, problem_of(answer)["code"]) == (401, code)
        assert answer.headers["www-authenticate"].startswith('Bearer realm="payonce"')
        assert ('error="invalid_token"' in answer.headers["www-authenticate"]) == (code == "key_invalid")
        seen = answer.text + str(answer.headers) + caplog.text
        assert not any(secret in seen for secret in (token[-32:], token[8:28], SECRET))

    keyed(check)


def test_two_headers_are_none() -> None:
    """Two Authorization headers, also with the same good key twice: nobody chooses one."""

    async def check(s: Service, keys: Keyring) -> None:
        mine = (await new_key(keys))["Authorization"].encode()
        answer = await s.client.get("/payments", headers=[(b"authorization", mine), (b"authorization", mine)])
        assert (answer.status_code, problem_of(answer)["code"]) == (401, "key_invalid")

    keyed(check)


def test_a_foreign_token_is_none_of_our_business_until_there_are_keys() -> None:
    """Mounted in a program with a login of its own, its tokens are let pass; one that looks like a key must be one."""

    async def check(s: Service, keys: Keyring) -> None:
        theirs, looks = {"authorization": "Bearer eyJhbGciOiJ"}, {"authorization": f"Bearer {FORGED}"}
        assert (await s.client.get("/payments", headers=theirs)).status_code == 200
        assert problem_of(await s.client.get("/payments", headers=looks))["code"] == "key_invalid"
        await new_key(keys)
        assert problem_of(await s.client.get("/payments", headers=theirs))["code"] == "key_invalid"

    keyed(check)


@pytest.mark.parametrize(
    ("headers", "client", "opens"),
    [
        ({"host": "127.0.0.1:8080"}, "127.0.0.1", True),
        ({"host": "localhost"}, "::1", True),
        ({"host": "[::1]:8080"}, "::1", True),
        ({"host": "pay.localhost:80"}, "127.0.0.1", True),
        ({}, "127.0.0.1", True),
        ({"host": "rebound.example"}, "127.0.0.1", False),
        ({"host": "localhost.example"}, "127.0.0.1", False),
        ({"host": "[::1"}, "127.0.0.1", False),
        ({"host": ""}, "127.0.0.1", False),
        ({"host": "localhost"}, "203.0.113.7", False),
        ({"host": "localhost", "x-forwarded-for": "127.0.0.1"}, "127.0.0.1", False),
        ({"host": "localhost", "forwarded": "for=127.0.0.1"}, "127.0.0.1", False),
        ({"host": "localhost", "via": "1.1 proxy"}, "127.0.0.1", False),
    ],
)
def test_without_keys_only_this_machine_itself_is_let_in(headers: dict[str, str], client: str, opens: bool) -> None:
    """Where a server says so: not what came through a proxy, nor a page that was opened under another name."""

    async def check(s: Service, keys: Keyring) -> None:
        assert await status_of(s.app, "GET", "/payments", headers, client) == (200 if opens else 401)
        mine = await new_key(keys)
        assert await status_of(s.app, "GET", "/payments", {**headers, **mine}, client) == 200

    keyed(check, local_only=True)


async def status_of(app: Starlette, method: str, path: str, headers: Mapping[str, str], client: str) -> int:
    """The status of a request whose body never comes: whoever waited for it would hang."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw, "root_path": ""}
    async with asyncio.timeout(20):
        await app({**scope, "client": (client, 1)}, receive, send)
    return int(sent[0]["status"])


# --- what a key may do ----------------------------------------------------------------------------------------------------

MAY: Final[Mapping[KeyScope, frozenset[KeyScope]]] = {
    "payments:read": frozenset({"payments:read"}),
    "payments:write": frozenset({"payments:read", "payments:write"}),
    "refunds:write": frozenset({"refunds:write"}),
    "admin": frozenset(SCOPES),
}


def test_the_table_of_scopes_is_what_was_decided() -> None:
    """Reads need payments:read, giving money back refunds:write, who runs things admin (endpoints, deliveries, keys, settings,
    the journal, switches, an operator's decision), and all else that changes something payments:write. A dry run
    changes nothing. What is open is listed in test_two_merchants."""
    runs = ("/webhook-", "/keys", "/configuration", "/journal", "/providers/{account}/", "/inbox/{id}/")
    for path, needs in NEEDS.items():
        for method, scope in needs.items():
            if scope is None:
                continue
            if path.startswith(runs) or path.endswith("/resolve"):
                assert scope == "admin", path
            elif method == "GET" or path == "/routing/dry-run":
                assert scope == "payments:read", path
            else:
                assert scope == ("refunds:write" if path.endswith("/refunds") else "payments:write"), path


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_does_what_its_scope_says_and_nothing_else(scope: KeyScope) -> None:
    """Every operation: let in, or 403 that names the missing scope, before an id is looked at or a body is read."""

    async def check(s: Service, keys: Keyring) -> None:
        mine = await new_key(keys, TEST, scope)
        for path, method, _ in operations():
            needs = NEEDS[path][method.upper()]
            if needs is None:
                continue
            if needs in MAY[scope]:
                answer = await s.client.request(method, path.replace("{", "").replace("}", ""), headers=mine)
                assert answer.status_code not in (401, 403), path
                continue
            assert await status_of(s.app, method.upper(), path, {**mine, "content-length": "9"}, "127.0.0.1") == 403
            answer = await s.client.request(method, path.replace("{", "").replace("}", ""), headers=mine)
            assert problem_of(answer)["code"] == "scope_missing"
            assert needs in problem_of(answer)["detail"]
            assert "insufficient_scope" in answer.headers["www-authenticate"]

    keyed(check)


def test_nothing_is_read_before_the_key_is_known() -> None:
    """No row and no byte of a body: 401 comes although the store is broken and the body never comes."""

    class Untouchable(MemoryStore):
        async def get(self, payment_id: str) -> Any:
            raise AssertionError(payment_id)

        async def find_key(self, scope: Scope, key: str) -> Any:
            raise AssertionError(key)

    async def check() -> None:
        engine = engine_over(Untouchable())
        app = create_app(engine, door=required(engine, ring()), ready=all_ok)
        for path, method, _ in operations():
            if NEEDS[path][method.upper()] is not None:
                headers = {"content-type": "application/json", "content-length": "9", "expect": "100-continue"}
                assert await status_of(app, method.upper(), path, headers, "127.0.0.1") == 401

    asyncio.run(check())


class Flaky(MemoryRegistry):
    """A registry that can go away."""

    gone = False

    async def all(self, kind: str) -> tuple[Record, ...]:
        if self.gone:
            raise StoreUnavailable("the registry reported an error: /secret/path")
        return await super().all(kind)


def test_keys_that_cannot_be_read_let_nobody_in() -> None:
    """503 not_ready, also for a POST, which says that nothing was done; /livez lives, and /readyz says words."""

    async def check(s: Service, keys: Keyring) -> None:
        mine = await new_key(keys)
        registry.gone = True
        for answer in (
            await s.client.get("/payments", headers=mine),
            await s.client.post("/payments", json=GOOD, headers={**mine, "idempotency-key": "k"}),
        ):
            told = problem_of(answer)
            assert (answer.status_code, told["code"], answer.headers["retry-after"]) == (503, "not_ready", "1")
            assert "/secret" not in answer.text
        assert await s.count() == 0
        assert (await s.get("/livez")).status_code == 200
        assert (await s.client.get("/readyz", headers=mine)).json()["checks"] == {"store": "ok"}

    registry = Flaky()
    keyed(check, keys=ring(registry))


# --- what strangers see ---------------------------------------------------------------------------------------------------


def test_strangers_see_no_details_of_readiness() -> None:
    """Without a key, or with a wrong one: words; with one of any scope what concerns its merchant."""
    asked: list[Scope | None] = []

    async def ready(scope: Scope | None) -> Mapping[str, str]:
        asked.append(scope)
        return {"store": "ok", "accounts": "ok: nothing new is sent to secret_account"}

    async def check(s: Service) -> None:
        mine = await new_key(keys, TEST, "payments:read")
        for headers in ({}, {"authorization": f"Bearer {FORGED}"}, {"authorization": "Basic eA=="}):
            answer = await s.client.get("/readyz", headers=headers)
            assert answer.json() == {"status": "ready", "checks": {"store": "ok", "accounts": "ok"}}
        assert "secret_account" in (await s.client.get("/readyz", headers=mine)).text
        assert asked == [None, None, None, TEST]

    keys = ring()
    serving(check, door=lambda engine: open_door(engine, keys=keys), ready=ready)


def test_strangers_are_not_told_why_it_is_not_ready() -> None:
    """The names of checks, and no text of the store."""

    async def ready(_scope: Scope | None) -> Mapping[str, str]:
        raise StoreUnavailable("its disk is full")

    async def check(s: Service) -> None:
        answer = await s.get("/readyz")
        assert (answer.status_code, problem_of(answer)["code"]) == (503, "not_ready")
        assert "disk" not in answer.text

    serving(check, door=lambda engine: required(engine, ring()), ready=ready)


def test_a_handler_without_a_caller_sees_nobodys_rows() -> None:
    """A route that needs no key has no caller; asking for one is a bug that ends in a 500, not in somebody's payments."""
    request = Request({"client": None}, None, "r")  # type: ignore[arg-type]
    with pytest.raises(InvariantViolated):
        _ = request.caller
    with pytest.raises(InvariantViolated):
        _ = request.actor


def test_a_keyring_that_names_a_key_of_another_mode_is_not_believed() -> None:
    """Defence in depth: the door itself compares the mode."""

    class Wrong(Keyring):
        async def check(self, token: str) -> Any:
            found = await super().check(token)
            return replace(found, mode="live") if found else None

    async def check(s: Service, keys: Keyring) -> None:
        mine = await new_key(keys)
        assert problem_of(await s.client.get("/payments", headers=mine))["code"] == "key_invalid"

    clocked = ring()
    keyed(check, keys=Wrong(clocked._registry, clocked._clock, clocked._entropy))
