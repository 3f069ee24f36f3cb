"""endpoints, deliveries, events: on a real store, to a real receiver, without a server."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from payonce.bootstrap import SystemClock
from payonce.cli import endpoints
from payonce.merchants.journal import Journal
from payonce.outbound.courier import Courier
from payonce.stores.sqlite import open_store
from tests.receiver import Receiver

from .conftest import Payonce, Ran

pytestmark = pytest.mark.usefixtures("one_account", "hooks_here")

standardwebhooks = pytest.importorskip("standardwebhooks", reason="the oracle is a dependency of development")


@pytest.fixture
def hooks_here(payonce: Payonce, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints may be on this machine."""
    monkeypatch.setenv("PAYONCE_WEBHOOK_ALLOW_HOSTS", "127.0.0.1")


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def hook(payonce: Payonce, paid: Callable[..., dict[str, Any]], shop: Receiver) -> dict[str, Any]:
    """An endpoint of the default merchant, as JSON; there was a payment before it."""
    paid("tok_ok")
    return good(payonce("endpoints", "create", f"{shop.url}/hook", "--description", "the shop", "--json")).json


def good(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


def acts(data: Path) -> list[tuple[str, str]]:
    """What the journal has, with who did it."""

    async def read() -> list[tuple[str, str]]:
        store = await open_store(data / "payments.db")
        found = [(w.act.what, w.act.actor) for w in await Journal(store.registry, SystemClock()).read()]
        await store.close()
        return found

    return asyncio.run(read())


def test_an_endpoint_is_made_shown_and_listed(payonce: Payonce, hook: dict[str, Any], shop: Receiver) -> None:
    """Its secret when it is made and when it is asked for; a row for each; the same objects as over HTTP with --json."""
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]+=*", hook["secret"])
    quiet = {**hook, "secret": None}
    assert good(payonce("endpoints", "show", hook["id"], "--json")).json == quiet
    assert good(payonce("endpoints", "show", hook["id"], "--secret", "--json")).json == hook
    assert good(payonce("endpoints", "list", "--json")).json == {"data": [quiet]}
    head, row = (line.split("\t") for line in good(payonce("endpoints", "list")).out.splitlines())
    assert dict(zip(head, row, strict=True))["ID"] == hook["id"]
    ran = good(payonce("endpoints", "show", hook["id"]))
    assert f"{hook['id']}  enabled  {shop.url}/hook" in ran.out
    assert "whsec_" not in ran.out
    again = payonce("endpoints", "create", f"{shop.url}/hook")
    assert (again.code, hook["id"] in again.err) == (5, True)


def test_a_person_gets_the_secret_and_what_to_do_next(payonce: Payonce, hook: dict[str, Any], shop: Receiver) -> None:
    """On standard output, and the command that tries it, which works as it is printed."""
    ran = good(payonce("endpoints", "create", f"{shop.url}/other", "--types", "payment.failed, refund.*"))
    assert "payment.failed, refund.*" in ran.out
    assert re.search(r"^whsec_\S+$", ran.out, re.MULTILINE)
    (command,) = re.findall(r"^Try it: payonce (.+)$", ran.err, re.MULTILINE)
    assert good(payonce(*command.split())).out.endswith("was taken: 204.\n")
    assert shop.got[0].path == "/other"


def test_a_test_event_is_sent_now(payonce: Payonce, hook: dict[str, Any], shop: Receiver) -> None:
    """Signed so that the specification's own library takes it; the exit code says whether the endpoint did."""
    good(payonce("endpoints", "test", hook["id"]))
    (message,) = shop.got
    told = standardwebhooks.Webhook(hook["secret"]).verify(message.body, dict(message.headers))
    assert (told["type"], message.path) == ("webhook.test", "/hook")
    shop.status = 500
    ran = payonce("endpoints", "test", hook["id"])
    assert (ran.code, "was not taken: 500" in ran.out) == (1, True)
    shop.down()
    ran = payonce("endpoints", "test", hook["id"], "--json")
    assert (ran.code, ran.json["lastStatus"], bool(ran.json["lastError"])) == (1, None, True)
    states = [d["state"] for d in good(payonce("deliveries", "list", "--json")).json["data"]]
    assert sorted(states) == ["delivered", "failed", "failed"]


def test_a_test_that_another_process_sends_is_waited_for(
    payonce: Payonce, hook: dict[str, Any], shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running server may take the delivery first: what came of that is told, and what is not known is not called refused."""
    resolve = Courier.resolve
    busy = 3

    async def claimed(self: Courier, id: str) -> None:
        nonlocal busy
        busy -= 1
        if busy <= 0:
            await resolve(self, id)

    monkeypatch.setattr(Courier, "resolve", claimed)
    good(payonce("endpoints", "test", hook["id"]))
    busy = 10**9
    monkeypatch.setattr(endpoints, "GRACE_US", 0)
    monkeypatch.setenv("PAYONCE_WEBHOOK_TIMEOUT_MS", "100")
    ran = payonce("endpoints", "test", hook["id"])
    assert (ran.code, "is under way still" in ran.out, len(shop.got)) == (6, True, 1)


def test_an_endpoint_is_changed(payonce: Payonce, hook: dict[str, Any], shop: Receiver) -> None:
    """What is not named stays; all means all."""
    update = ("endpoints", "update", hook["id"], "--json")
    quiet = {**hook, "secret": None}
    assert good(payonce(*update, "--types", "payment.failed")).json == {**quiet, "types": ["payment.failed"]}
    assert good(payonce(*update, "--types", "all", "--description", "")).json == {**quiet, "description": None}
    assert good(payonce(*update, "--url", f"{shop.url}/new")).json["url"] == f"{shop.url}/new"
    assert payonce(*update, "--types", "payment.lost").code == 2
    assert payonce(*update, "--url", "https://10.0.0.1/x").code == 5


def test_rotation_prints_the_new_secret(payonce: Payonce, hook: dict[str, Any], shop: Receiver) -> None:
    """Both sign during the overlap."""
    turned = good(payonce("endpoints", "rotate", hook["id"], "--overlap", "1h", "--json")).json
    assert turned["secret"] != hook["secret"]
    good(payonce("endpoints", "test", hook["id"]))
    for secret in (hook["secret"], turned["secret"]):
        standardwebhooks.Webhook(secret).verify(shop.got[0].body, dict(shop.got[0].headers))
    assert payonce("endpoints", "rotate", hook["id"], "--overlap", "8d").code == 2


def test_enable_recovers_what_was_missed(
    payonce: Payonce, paid: Callable[..., dict[str, Any]], hook: dict[str, Any], shop: Receiver
) -> None:
    """Events since it was disabled become deliveries; --no-recover leaves them; the ones before it are recovered on request."""
    before = good(payonce("events", "list", "--json")).json["data"]
    off = good(payonce("endpoints", "disable", hook["id"], "--reason", "down for a week", "--json")).json
    assert (off["state"], off["reason"]) == ("disabled", "down for a week")
    missed = paid("tok_ok")["transactionId"]
    good(payonce("endpoints", "enable", hook["id"], "--no-recover"))
    assert good(payonce("deliveries", "list", "--json")).json["data"] == []
    good(payonce("endpoints", "disable", hook["id"]))
    again = paid("tok_ok")["transactionId"]
    ran = good(payonce("endpoints", "enable", hook["id"]))
    assert "1 event since " in ran.err
    (d,) = good(payonce("deliveries", "list", "--json")).json["data"]
    assert (d["transactionId"], d["state"], d["type"]) == (again, "pending", "payment.succeeded")
    done = good(payonce("endpoints", "recover", hook["id"], "--since", "2026-01-01", "--json")).json
    assert done == {"deliveries": 2}
    rows = good(payonce("deliveries", "list", "--endpoint", hook["id"], "--json")).json["data"]
    assert {row["transactionId"] for row in rows} == {missed, again, before[0]["data"]["payment"]["transactionId"]}


def test_deliveries_are_shown_and_replayed(payonce: Payonce, hook: dict[str, Any], shop: Receiver) -> None:
    """By id; a replay makes it pending with all tries before it; filters narrow the list."""
    good(payonce("endpoints", "test", hook["id"]))
    (d,) = good(payonce("deliveries", "list", "--state", "delivered", "--type", "webhook.test", "--json")).json["data"]
    assert good(payonce("deliveries", "show", d["id"], "--json")).json == d
    ran = good(payonce("deliveries", "show", d["id"]))
    assert f"{d['id']}  delivered  webhook.test" in ran.out
    assert good(payonce("deliveries", "replay", d["id"], "--json")).json["state"] == "pending"
    assert good(payonce("deliveries", "list", "--state", "delivered")).err == "No delivery matches.\n"
    line = good(payonce("deliveries", "list")).out.splitlines()[1].split("\t")
    assert line[:3] == [d["id"], hook["id"], "webhook.test"]


def test_events_are_listed_page_by_page(payonce: Payonce, paid: Callable[..., dict[str, Any]]) -> None:
    """The oldest first; the cursor goes on, also when more happened since; --since and --type narrow."""
    ids = [paid(token)["transactionId"] for token in ("tok_ok", "tok_stolen", "tok_ok")]
    every = good(payonce("events", "list", "--json")).json
    assert [e["data"]["payment"]["transactionId"] for e in every["data"]] == ids
    first = good(payonce("events", "list", "--limit", "2", "--json")).json
    rest = good(payonce("events", "list", "--cursor", first["nextCursor"], "--json")).json
    assert first["data"] + rest["data"] == every["data"]
    assert good(payonce("events", "list", "--cursor", rest["nextCursor"])).err.startswith("No event matches.\n")
    new = paid("tok_ok")["transactionId"]
    assert new in good(payonce("events", "list", "--cursor", rest["nextCursor"])).out
    assert [e["type"] for e in good(payonce("events", "list", "--type", "payment.failed", "--json")).json["data"]] == [
        "payment.failed"
    ]
    since = every["data"][2]["timestamp"]
    assert len(good(payonce("events", "list", "--since", since, "--json")).json["data"]) == 2
    lines = [line.split("\t") for line in good(payonce("events", "list")).out.splitlines()]
    assert lines[0][:4] == ["TIME", "TYPE", "PAYMENT", "STATUS"]
    assert [line[3] for line in lines[1:]] == ["SUCCESS", "FAILED", "SUCCESS", "SUCCESS"]


def test_one_merchants_things_are_not_the_others(payonce: Payonce, hook: dict[str, Any], shop: Receiver) -> None:
    """With --merchant of another one: nothing listed, and every id is unknown in the same words."""
    good(payonce("endpoints", "test", hook["id"]))
    (d,) = good(payonce("deliveries", "list", "--json")).json["data"]
    other = ("--merchant", good(payonce("merchant", "create", "Another", "--no-key")).out.strip())
    assert good(payonce("endpoints", "list", "--json", *other)).json == {"data": []}
    assert good(payonce("deliveries", "list", "--json", *other)).json["data"] == []
    assert good(payonce("deliveries", "list", "--endpoint", hook["id"], "--json", *other)).json["data"] == []
    assert good(payonce("events", "list", "--json", *other)).json["data"] == []
    cursor = good(payonce("events", "list", "--json")).json["nextCursor"]
    assert payonce("events", "list", "--cursor", cursor, *other).code == 2
    for words in (
        ("endpoints", "show", hook["id"]),
        ("endpoints", "update", hook["id"], "--types", "all"),
        ("endpoints", "remove", hook["id"]),
        ("endpoints", "enable", hook["id"]),
        ("endpoints", "disable", hook["id"]),
        ("endpoints", "rotate", hook["id"]),
        ("endpoints", "test", hook["id"]),
        ("endpoints", "recover", hook["id"], "--since", "2026-01-01"),
        ("deliveries", "show", d["id"]),
        ("deliveries", "replay", d["id"]),
    ):
        unknown = [word.replace(word[4:], "0" * 20) if word in (hook["id"], d["id"]) else word for word in words]
        foreign, nothing = payonce(*words, *other), payonce(*unknown, *other)
        assert (foreign.code, foreign.out) == (nothing.code, nothing.out) == (3, "")
        assert re.sub(r"(whe|dlv)_[0-9a-z]+", "ID", foreign.err) == re.sub(r"(whe|dlv)_[0-9a-z]+", "ID", nothing.err)
    mine = good(payonce("endpoints", "create", f"{shop.url}/hook", "--json", *other)).json
    assert mine["secret"] != hook["secret"]
    assert payonce("endpoints", "list", "--merchant", "mer_nobody").code == 3


def test_who_did_it_is_on_the_journal(payonce: Payonce, hook: dict[str, Any], data: Path) -> None:
    """Each act with the operator and the machine, without secrets."""
    good(payonce("endpoints", "disable", hook["id"]))
    good(payonce("endpoints", "remove", hook["id"]))
    assert good(payonce("endpoints", "list")).err.startswith("There is no endpoint.")
    written = acts(data)
    assert [what for what, _ in written] == ["endpoint.created", "endpoint.disabled", "endpoint.removed"]
    assert all(re.fullmatch(r"operator:[^@]+@\S+", actor) for _, actor in written)
    assert "whsec_" not in json.dumps(written)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("endpoints", "create", "https://127.0.0.2/x"), 5, "endpoint_refused"),
        (("endpoints", "create", "https://shop.example/x", "--types", "x"), 2, "no event type"),
        (("endpoints", "show", "whe_x"), 3, "Nothing was changed"),
        (("endpoints", "recover", "whe_x", "--since", "soon"), 2, "--since"),
        (("deliveries", "list", "--limit", "0"), 2, "1 to 100"),
        (("deliveries", "list", "--cursor", "x"), 2, "--cursor"),
        (("deliveries", "list", "--type", "x"), 2, "webhook.test"),
        (("events", "list", "--limit", "101"), 2, "1 to 100"),
        (("events", "list", "--cursor", "x"), 2, "--cursor"),
        (("events", "list", "--type", "x"), 2, "payment.succeeded"),
        (("events", "list", "--cursor", "x", "--since", "2026-01-01"), 2, "--since"),
    ],
)
def test_what_is_wrong_is_said(
    payonce: Payonce, paid: Callable[..., dict[str, Any]], args: tuple[str, ...], code: int, said: str
) -> None:
    """One message with what to do, nothing on standard output, and the exit code that stands for it."""
    paid("tok_ok")
    ran = payonce(*args)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_a_mistyped_folder_is_not_an_empty_store(payonce: Payonce) -> None:
    """Nothing is made there."""
    for args in (("endpoints", "list"), ("endpoints", "create", "https://shop.example/x"), ("events", "list")):
        ran = payonce(*args, "--data-dir", "nowhere")
        assert (ran.code, "there is no store at" in ran.err) == (2, True)
    assert not Path("nowhere").exists()
