"""Real processes on DynamoDB's tables at the local emulator: the same server as on a file, several of them, and a sandbox that
is a server of its own."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook as Verifier

from payonce.outbound.endpoints import ACTIVE_AFTER_US

from .aws.emulator import emulator
from .aws.receiver import Receiver
from .blackbox.running import free_port, until
from .tables_of_their_own import asked, tables_at

NOT_OURS = ("PAYONCE_", "AWS_")
STARTERS = ("TRAN_TABLE", "IDEM_TABLE", "SQS_QUEUE_URL", "MAX_RETRIES")


class Running:
    """A payonce command that stays, and prints one line of JSON when it is up."""

    def __init__(self, cwd: Path, env: Mapping[str, str], *args: str) -> None:
        self.log = cwd / f"{args[0]}-{free_port()}.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "payonce", *args, "--json"]
            self.popen = subprocess.Popen(command, cwd=cwd, env=dict(env), stdout=subprocess.PIPE, stderr=log)
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"it ended at start:\n{self.log.read_text()}"
        self.facts: dict[str, Any] = json.loads(line)
        self.url = str(self.facts.get("url", ""))

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(timeout=40)
        finally:
            assert self.popen.stdout is not None
            self.popen.stdout.close()


class Room:
    """A folder, three tables, and commands that work on them."""

    def __init__(self, cwd: Path, env: Mapping[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(NOT_OURS) and k not in STARTERS}
        self.cwd, self.env, self.running = cwd, kept | dict(env) | {"PAYONCE_DATA_DIR": str(cwd / "data")}, list[Running]()

    def start(self, *args: str, **env: str) -> Running:
        self.running.append(Running(self.cwd, self.env | env, *args))
        return self.running[-1]

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "payonce", *args]
        return subprocess.run(command, cwd=self.cwd, env=self.env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def at_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulator(tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture
def room(at_aws: str, tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path, tables_at(at_aws))
    yield made
    for process in made.running:
        process.end(signal.SIGKILL)


def post(url: str, key: str, token: str = "tok_ok", **more: Any) -> str:  # noqa: S107  no secret
    body = {"amount": 1050, "currency": "INR", "paymentMethod": token, **more}
    answer = httpx2.post(f"{url}/payments", json=body, headers={"Idempotency-Key": key}, timeout=20)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["transactionId"])


def view(url: str, id: str) -> dict[str, Any]:
    return dict(httpx2.get(f"{url}/payments/{id}", timeout=20).json())


def is_now(url: str, id: str, *statuses: str) -> Callable[[], bool]:
    return lambda: view(url, id)["status"] in statuses


def charged(sandbox: str) -> list[str]:
    """References of payments that were charged, one for each time."""
    moved = httpx2.get(f"{sandbox}/sandbox/ledger", timeout=20).json()["movements"]
    return sorted(m["reference"][:20] for m in moved if m["kind"] in ("charge", "capture"))


def test_serve_settles_hears_and_gives_back(room: Room) -> None:
    """What is posted settles once, webhooks are matched, a refund is given; nothing of it is in a file; verify is clean."""
    server = room.start("serve", "--port", "0")
    assert server.facts["store"] == f"the DynamoDB table {room.env['PAYONCE_TRANSACTIONS_TABLE']}"
    tokens = ("tok_ok", "tok_decline_then_ok", "tok_lost_response", "tok_decline_stolen_card")
    ids = {token: post(server.url, token, token) for token in tokens}
    assert post(server.url, "tok_ok", "tok_ok") == ids["tok_ok"], "the same key is the same payment"
    for token, id in ids.items():
        wanted = "FAILED" if token == "tok_decline_stolen_card" else "SUCCESS"
        until(is_now(server.url, id, wanted), f"{token} is {wanted}")
    assert charged(server.url) == sorted(ids[t].removeprefix("pay_") for t in tokens[:3])
    back = httpx2.post(
        f"{server.url}/payments/{ids['tok_ok']}/refunds", json={"amount": 50}, headers={"Idempotency-Key": "r"}, timeout=20
    )
    assert back.status_code == 202
    until(lambda: view(server.url, ids["tok_ok"])["refunded"] == 50, "the refund is given")
    heard = until(lambda: matched(room), "webhooks are matched")
    assert set(heard) <= set(ids.values())
    ready = httpx2.get(f"{server.url}/readyz", timeout=20)
    assert (ready.status_code, ready.json()["status"]) == (200, "ready"), ready.text
    assert server.end() == 0
    verified = room.cli("verify", "--json")
    assert (verified.returncode, json.loads(verified.stdout)["payments"]) == (0, 4), verified.stdout
    assert not list((room.cwd / "data").glob("payments.db*"))


def matched(room: Room) -> list[str]:
    """Payments that webhooks were found to be about."""
    rows = json.loads(room.cli("webhooks", "list", "--state", "matched", "--limit", "100", "--json").stdout)["webhooks"]
    return [id for row in rows for id in row["payments"]]


def test_a_drain_is_seen_by_other_processes(room: Room) -> None:
    """`providers drain` in one process keeps new payments of another away from the account, within a second or so."""
    server = room.start("serve", "--port", "0")
    assert view(server.url, post(server.url, "before"))["route"] is not None
    assert room.cli("providers", "drain", "razorpay_mock", "--reason", "works").returncode == 0
    shut = until(lambda: "razorpay_mock" in httpx2.get(f"{server.url}/readyz", timeout=20).text, "the server has seen it")
    assert shut
    after = post(server.url, "after")
    until(is_now(server.url, after, "SUCCESS"), "it is charged elsewhere")
    assert view(server.url, after)["provider"] != "razorpay_mock"


def test_two_servers_share_tables_and_a_sandbox(room: Room) -> None:
    """The same keys at both at once make one payment each, charged once; one is killed, and the other ends what it began.
    Webhooks and customers' pages work with the sandbox elsewhere."""
    port = free_port()
    sandbox = room.start("sandbox", "--port", "0", "--webhooks-to", f"http://127.0.0.1:{port}")
    elsewhere = {"PAYONCE_SANDBOX_URL": sandbox.url}
    one = room.start("serve", "--port", str(port), **elsewhere)
    two = room.start("serve", "--port", "0", **elsewhere)
    assert one.facts["sandbox"] == f"{sandbox.url}/sandbox/ledger"
    with ThreadPoolExecutor(8) as pool:
        asked_of = [(url, f"k-{n}") for n in range(12) for url in (one.url, two.url)]
        ids = list(pool.map(lambda each: post(each[0], each[1], "tok_lost_response"), asked_of))
    assert len(set(ids)) == 12
    assert two.end(signal.SIGKILL) == -signal.SIGKILL
    for id in set(ids):
        until(is_now(one.url, id, "SUCCESS"), f"{id} is settled")
    assert charged(sandbox.url) == sorted(id.removeprefix("pay_") for id in set(ids))
    sent = httpx2.get(f"{sandbox.url}/sandbox/outbox", timeout=20).json()["events"]
    assert {d["endpoint"].rpartition("/")[2] for e in sent for d in e["deliveries"]} >= {"razorpay_mock"}
    until(lambda: set(ids) <= set(matched(room)), "each payment's webhooks are matched")
    assert room.cli("verify").returncode == 0


@pytest.mark.parametrize("provider", ["mock", "razorpay_mock", "stripe_mock", "cashfree_mock"])
def test_a_customer_acts_at_a_sandbox_elsewhere(room: Room, provider: str) -> None:
    """The page is the sandbox's own, and leads back to payonce and from there to the shop."""
    sandbox = room.start("sandbox", "--port", "0")
    server = room.start("serve", "--port", "0", PAYONCE_SANDBOX_URL=sandbox.url)
    currency = "USD" if provider == "stripe_mock" else "INR"
    id = post(server.url, "c", "tok_action", provider=provider, currency=currency, returnUrl="https://shop.invalid/paid")
    until(is_now(server.url, id, "REQUIRES_ACTION"), "the customer is asked")
    page = str(view(server.url, id)["nextAction"]["url"])
    assert page.startswith(sandbox.url), page
    decided = httpx2.post(page, data={"decision": "approve"}, timeout=20, follow_redirects=False)
    assert decided.status_code == 303
    back = httpx2.get(decided.headers["location"], timeout=20, follow_redirects=False)
    assert decided.headers["location"].startswith(f"{server.url}/return/")
    assert back.headers["location"].startswith("https://shop.invalid/paid")
    until(is_now(server.url, id, "SUCCESS"), "it is settled")


def test_a_server_without_a_worker_tells_the_queue(room: Room) -> None:
    """With a queue an accepting process puts the id there, once the caller has its answer; a worker process settles it from
    the tables, whatever becomes of the message."""
    made = asked(room.env, "sqs", "CreateQueue", {"QueueName": "due-of-one"})
    url = made["QueueUrl"]
    server = room.start("serve", "--port", "0", "--no-worker", PAYONCE_QUEUE_URL=url)
    id = post(server.url, "q")

    def told() -> list[str]:
        got = asked(room.env, "sqs", "ReceiveMessage", {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0})
        return [each["Body"] for each in got.get("Messages", ())]

    assert until(told, "the queue has a message") == [id]
    assert view(server.url, id)["status"] == "PENDING"
    asked(room.env, "sqs", "PurgeQueue", {"QueueUrl": url})
    worker = room.start("worker")
    until(is_now(server.url, id, "SUCCESS"), "the worker finds it in the tables")
    assert [worker.end(), server.end()] == [0, 0]


def test_merchants_are_told_from_the_tables(room: Room) -> None:
    """An endpoint that is made at one server hears of a payment that another one settles, once, and a page of events has
    it. Without a signing key there are no endpoints, and that is said."""
    bare = room.start("serve", "--port", "0", "--no-worker")
    refused = httpx2.post(f"{bare.url}/webhook-endpoints", json={"url": "https://shop.example/hooks"}, timeout=20)
    assert (refused.status_code, refused.json()["code"]) == (503, "webhooks_unavailable")
    assert bare.end() == 0
    signs = {"PAYONCE_WEBHOOK_SIGNING_KEY": "env:SIGNING", "SIGNING": "s" * 40, "PAYONCE_WEBHOOK_ALLOW_HOSTS": "127.0.0.1"}
    with Receiver().up() as receiver:
        one, two = (room.start("serve", "--port", "0", *worker, **signs) for worker in (("--no-worker",), ()))
        made = httpx2.post(f"{one.url}/webhook-endpoints", json={"url": receiver.url}, timeout=20).json()
        since = dt.datetime.fromisoformat(made["createdAt"]) + dt.timedelta(microseconds=ACTIVE_AFTER_US)
        until(lambda: dt.datetime.now(dt.UTC) > since, "the endpoint counts")
        id = post(one.url, "told")
        until(is_now(one.url, id, "SUCCESS"), "it is settled")
        until(lambda: bool(receiver.got), "the merchant is told")
        headers, body = receiver.got[0]
        event = Verifier(made["secret"]).verify(body, headers)
        assert (event["type"], event["data"]["payment"]["transactionId"]) == ("payment.succeeded", id)

        def shown() -> list[dict[str, Any]]:
            return list(httpx2.get(f"{one.url}/events", timeout=20).json()["data"])

        assert until(shown, "the feed has it") == [event]
        assert [two.end(), one.end()] == [0, 0]
    assert len(receiver.got) == 1


def test_a_hold_binds_servers_that_run(room: Room) -> None:
    """`serve --hold` on the tables stops another server's worker too, within about a second, until reconcile has run."""
    other = room.start("serve", "--port", "0")
    until(is_now(other.url, post(other.url, "free"), "SUCCESS"), "nothing is held yet")
    held = room.start("serve", "--port", "0", "--hold", "--no-worker")
    assert held.facts["hold"] is True
    until(lambda: "holding" in httpx2.get(f"{other.url}/readyz", timeout=20).text, "the other one has seen it")
    id = post(other.url, "held")
    assert room.cli("pay", "--amount", "7", "--currency", "INR", "--wait", "0.5").returncode == 6
    assert view(other.url, id)["status"] == "PENDING"
    assert room.cli("reconcile", "--timeout", "20").returncode == 0
    until(is_now(other.url, id, "SUCCESS"), "it is charged after the hold")
