"""Routing, failover and doubt as a user meets them: real processes, real HTTP, the command line beside them."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.testing.judge import net_charges, of_payment

from .running import Payonce, free_port, parsed, until

pytestmark = pytest.mark.slow
# The shipped accounts and rules with other times: payments look for an account for SETTLE_S, and are in doubt after
# HORIZON_S.
SHORT = """version = 1
[providers.mock]
{times}
[providers.razorpay_mock]
{times}
[providers.cashfree_mock]
{times}
[[rules]]
name = "inr"
when = {{ currency = "INR" }}
use = ["razorpay_mock"]
[[rules]]
name = "anything-else"
use = ["mock"]
"""
Serve = Callable[..., Payonce]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start ``payonce serve``, or another command, on one data folder; all are ended after the test."""
    started: list[Payonce] = []

    def start(*args: str, toml: str = "", command: str = "serve") -> Payonce:
        started.append(Payonce(tmp_path / "data", *args, toml=toml, command=command))
        started[-1].start()
        return started[-1]

    yield start
    for each in reversed(started):
        each.end()


def told(server: Payonce, payment_id: str) -> str:
    """``payonce show`` in words."""
    plain = server.cli("show", payment_id)
    assert plain.returncode == 0, plain.stderr
    return plain.stdout


def story(server: Payonce, payment_id: str) -> dict[str, Any]:
    """``payonce show --json``."""
    found: dict[str, Any] = parsed(server.cli("show", payment_id, "--json"))
    return found


def sends(server: Payonce, payment_id: str, account: str) -> list[str]:
    """The steps that the history shows at an account, in order: ``create``, ``fire``, ..."""
    planned = [event["data"] for event in server.history(payment_id) if event["kind"] == "Planned"]
    accounts = [data["opens"]["account"] for data in planned if data.get("opens")]
    return [data["step"]["kind"] for data in planned if accounts[data.get("attempt", 0)] == account]


def observed(server: Payonce, payment_id: str) -> list[dict[str, Any]]:
    """Every outcome on record, the tries of reads one by one."""
    outcomes = [event["data"]["outcome"] for event in server.history(payment_id) if event["kind"] == "Observed"]
    return [each for o in outcomes for each in (o.get("tries") or [o])]


def break_razorpay(server: Payonce) -> None:
    """Payments run into its outage until its breaker is open."""
    server.fault("razorpay", outage=True)
    ids = [server.post(f"breaks-{n}", currency="INR") for n in range(4)]
    until(lambda: "razorpay_mock: circuit breaker open" in server.shut(), "the breaker of razorpay_mock opens")
    for each in ids:
        server.ends_as(each, "SUCCESS")


# --- the other account ----------------------------------------------------------------------------------------------


def test_a_vendor_that_is_down_costs_seconds_and_show_tells_why(serve: Serve) -> None:
    """Nothing could be sent to razorpay: the payment goes on to the next account, and show says why there and why not here."""
    server = serve()
    server.fault("razorpay", outage=True)
    payment_id = server.post("down", currency="INR")
    payment = server.ends_as(payment_id, "SUCCESS")
    assert payment["provider"] == "mock"
    assert [m["provider"] for m in net_charges(server.ledger(), payment_id)] == ["mock"]
    assert "fire" not in sends(server, payment_id, "razorpay_mock")
    text, found = told(server, payment_id), story(server, payment_id)
    assert "Route  by rule inr\n       1. razorpay_mock: rule inr: currency INR\n       2. mock: fallback: takes INR" in text
    assert "[attempt 1 razorpay_mock create]" in text
    assert "[attempt 2 mock fire] the charge is sent to mock (next of the route: no charge was sent to razorpay_mock" in text
    assert "10.50 INR was taken, once" in text
    assert found["payment"]["rule"] == "inr"
    assert [c["account"] for c in found["payment"]["route"] if c["taken"] and c["why"]] == [
        "razorpay_mock",
        "mock",
        "cashfree_mock",
        "stripe_mock",
        "payu_mock",
    ]


def test_a_forced_provider_that_is_down_is_waited_for(serve: Serve) -> None:
    """It goes nowhere else, show says why it waits and until when, and it is settled when the vendor is back."""
    server = serve()
    server.fault("razorpay", outage=True)
    payment_id = server.post("forced", currency="INR", provider="razorpay_mock")
    until(lambda: "razorpay_mock: circuit breaker open" in server.shut(), "the breaker of razorpay_mock opens")
    found, text = story(server, payment_id), told(server, payment_id)
    assert found["payment"]["status"] == "PENDING"
    assert [(c["account"], c["taken"], c["why"]) for c in found["payment"]["route"]] == [
        ("razorpay_mock", True, "the request names it"),
        ("mock", False, "the request names razorpay_mock"),
        ("cashfree_mock", False, "the request names razorpay_mock"),
        ("stripe_mock", False, "the request names razorpay_mock"),
        ("payu_mock", False, "the request names razorpay_mock"),
    ]
    assert re.search(r"^Due    (create an order at|ask) razorpay_mock.*, (now|in [0-9.]+ (ms|s))", text, re.MULTILINE), text
    waits = until(lambda: (due := story(server, payment_id)["due"]) and "it waits" in due and due, "show says why it waits")
    assert waits.startswith("create an order at razorpay_mock, ")
    assert "it waits because nothing new goes to razorpay_mock: circuit breaker open: " in waits
    assert found["money"].startswith("Nothing was taken so far")
    server.fault("razorpay")
    payment = server.ends_as(payment_id, "SUCCESS", seconds=60)
    assert (payment["provider"], payment["attempts"]) == ("razorpay_mock", 1)
    assert {m["provider"] for m in of_payment(server.ledger(), payment_id)} == {"razorpay"}


# --- breaker and drain ------------------------------------------------------------------------------------------------


def test_a_breaker_opens_is_shown_and_heals_with_one_probe(serve: Serve) -> None:
    """While it is open new payments pass the account over without a call; when the outage is over one of them tries it."""
    server = serve()
    break_razorpay(server)
    seen = server.accounts()["razorpay_mock"]["breaker"]
    assert seen["state"] in ("open", "half-open", "probing")
    assert "failed" in seen["why"]

    def passes_by() -> str:
        """A payment that came while nothing new was sent there, and that was no probe."""
        shut, payment_id = server.shut(), server.post(f"by-{len(server.payments())}", currency="INR")
        server.ends_as(payment_id, "SUCCESS")
        return payment_id if shut and not sends(server, payment_id, "razorpay_mock") else ""

    by = until(passes_by, "a payment passes razorpay_mock over")
    assert (server.get(by)["provider"], server.get(by)["attempts"]) == ("mock", 1)
    assert "(the first of the route that may take it; passed over: razorpay_mock (circuit breaker open: " in told(server, by)
    assert [m for m in server.ledger() if m["provider"] == "razorpay"] == []
    server.fault("razorpay")

    def heals() -> bool:
        payment = server.ends_as(server.post(f"heals-{len(server.payments())}", currency="INR"), "SUCCESS")
        return bool(payment["provider"] == "razorpay_mock")

    until(heals, "a payment probes razorpay_mock", seconds=70, every=0.3)
    assert server.accounts()["razorpay_mock"]["breaker"]["state"] == "closed"
    assert server.ends_as(server.post("again", currency="INR"), "SUCCESS")["provider"] == "razorpay_mock"


def test_a_drain_keeps_new_payments_away_and_lets_open_ones_finish(serve: Serve) -> None:
    """``payonce providers drain`` beside a running server counts within seconds; resume brings the account back."""
    server = serve()
    slow = server.post("slow", currency="INR", method="tok_slow_5s")
    until(lambda: "fire" in sends(server, slow, "razorpay_mock"), "the slow payment is fired at razorpay_mock")
    drained = server.cli("providers", "drain", "razorpay_mock", "--reason", "their maintenance")
    assert drained.returncode == 0, drained.stderr

    def next_one_at(account: str) -> Callable[[], str]:
        def ask() -> str:
            payment_id = server.post(f"new-{account}-{len(server.payments())}", currency="INR")
            return payment_id if server.ends_as(payment_id, "SUCCESS")["provider"] == account else ""

        return ask

    def next_one_kept_away() -> str:
        """A payment that was planned before the drain was seen may hold a container there: it is left, not fired."""
        payment_id = next_one_at("mock")()
        return "" if not payment_id or sends(server, payment_id, "razorpay_mock") else payment_id

    by = until(next_one_kept_away, "new payments pass razorpay_mock over", seconds=4)
    assert "passed over: razorpay_mock (drained by operator: their maintenance)" in told(server, by)
    assert server.accounts()["razorpay_mock"]["drain"]["reason"] == "their maintenance"
    assert "razorpay_mock: drained by operator: their maintenance" in server.shut()
    forced = server.post("forced", currency="INR", provider="razorpay_mock")
    assert "nothing new goes to razorpay_mock: drained by operator: their maintenance" in story(server, forced)["due"]
    assert server.ends_as(slow, "SUCCESS")["provider"] == "razorpay_mock"
    assert sends(server, slow, "razorpay_mock")[-1] == "capture"
    assert (server.get(forced)["status"], sends(server, forced, "razorpay_mock")) == ("PENDING", [])
    assert server.cli("providers", "resume", "razorpay_mock").returncode == 0
    until(next_one_at("razorpay_mock"), "new payments use razorpay_mock again", seconds=4)
    assert server.ends_as(forced, "SUCCESS", seconds=60)["provider"] == "razorpay_mock"


def test_processes_share_a_breaker(serve: Serve) -> None:
    """What a worker learned of a vendor holds in the API's process and in a worker that never called it."""
    server = serve("--no-worker")
    first = serve(command="worker")
    break_razorpay(server)  # the server itself called nobody
    first.kill()
    serve(command="worker")
    ids = [server.post(f"other-{n}", currency="INR") for n in range(8)]
    tried = 0
    for payment_id in ids:
        server.ends_as(payment_id, "SUCCESS")
        tried += bool(sends(server, payment_id, "razorpay_mock"))
    assert tried <= 2, "only probes call it: a worker that had to learn for itself would have sent each payment there"
    assert server.accounts()["razorpay_mock"]["breaker"]["state"] != "closed"


# --- the end of patience and doubt ------------------------------------------------------------------------------------


def test_when_everything_is_down_until_the_end_nothing_was_taken(serve: Serve, tmp_path: Path) -> None:
    """FAILED no_provider_available after settle_s and not before; no money moved, and nothing counts as an attempt."""
    secret = tmp_path / "secret"
    secret.write_text("any", encoding="utf-8")
    away = f'base_url = "http://127.0.0.1:{free_port()}"\nsecret = "file:{secret}"\n'
    toml = SHORT.format(times="settle_s = 8").replace("[providers.mock]\n", f"[providers.mock]\n{away}")
    server = serve(toml=toml)
    for vendor in ("razorpay", "cashfree"):
        server.fault(vendor, outage=True)
    ids = [server.post(f"nobody-{n}", currency=currency) for n, currency in enumerate(("INR", "USD", "INR"))]
    for payment_id in ids:
        payment = server.ends_as(payment_id, "FAILED", seconds=40)
        assert payment["reason"] == "no_provider_available"
        begun, ended = (datetime.fromisoformat(payment[name]) for name in ("createdAt", "updatedAt"))
        assert (ended - begun).total_seconds() >= 7.5
        for account in ("razorpay_mock", "cashfree_mock"):
            assert "fire" not in sends(server, payment_id, account)
        assert {o["type"] for o in observed(server, payment_id)} <= {"NotSent", "Unknown", "Unreadable"}
        assert all(o["type"] == "NotSent" for o in fired(server, payment_id))
    assert "No money is kept (no_provider_available)." in told(server, ids[0])
    assert server.ledger() == []


def fired(server: Payonce, payment_id: str) -> list[dict[str, Any]]:
    """What became of each fire."""
    events = server.history(payment_id)
    shots = {e["seq"] for e in events if e["kind"] == "Planned" and e["data"]["step"]["kind"] == "fire"}
    return [e["data"]["outcome"] for e in events if e["kind"] == "Observed" and e["data"]["about"] in shots]


DOUBTS = {  # key -> (account, token, decision, status after it)
    "r-charged": ("razorpay_mock", "tok_never_resolves", "charged", "SUCCESS"),
    "r-not": ("razorpay_mock", "tok_never_resolves", "not-charged", "FAILED"),
    "r-reversed": ("razorpay_mock", "tok_wrong_amount", "reversed", "FAILED"),
    "c-charged": ("cashfree_mock", "tok_never_resolves", "charged", "SUCCESS"),
    "c-not": ("cashfree_mock", "tok_never_resolves", "not-charged", "FAILED"),
    "c-reversed": ("cashfree_mock", "tok_wrong_amount", "reversed", "FAILED"),
}


def test_doubt_is_shown_everywhere_and_ends_by_a_decision(serve: Serve) -> None:
    """IN_DOUBT stands in list, show, doctor and /readyz; each decision is recorded; a charge that turns up after
    ``not-charged`` is given back at cashfree."""
    server = serve(toml=SHORT.format(times="horizon_s = 4"))
    ids = {key: server.post(key, 1050, "INR", token, provider=at) for key, (at, token, _, _) in DOUBTS.items()}
    for payment_id in ids.values():
        server.ends_as(payment_id, "IN_DOUBT")
    listed = server.cli("list", "--status", "IN_DOUBT").stdout
    assert all(payment_id in listed for payment_id in ids.values())
    readiness = httpx2.get(f"{server.url}/readyz", timeout=10)
    assert readiness.status_code == 200
    assert "6 IN_DOUBT" in readiness.json()["checks"]["payments"]
    found = parsed(server.cli("doctor", "--json"))
    (check,) = [c for c in found["checks"] if c["name"] == "payments"]
    assert (check["state"], check["says"]) == ("warn", "6 IN_DOUBT")
    assert "payonce resolve" in check["fix"]
    refs = {key: [o["ref"] for o in observed(server, payment_id) if o.get("ref")][-1] for key, payment_id in ids.items()}
    for key in ("r-not", "c-reversed"):
        text = told(server, ids[key])
        assert f"payonce resolve {ids[key]} --as charged --provider-ref REF --amount MINOR | not-charged | reversed" in text
        assert ("not 10.50 INR as asked" if key == "c-reversed" else "may or may not have been taken") in text
        assert re.search("^Due    (ask|close it at) .*, (now|in )", text, re.MULTILINE), text
    with sandbox_of(serve) as vendor:
        give_back(vendor, ids["c-reversed"])
        for key, (_, _, decision, after) in DOUBTS.items():
            particulars = ["--provider-ref", refs[key], "--amount", "1050"] if decision == "charged" else []
            done = server.cli("resolve", ids[key], "--as", decision, "--reason", "ticket 7", "--yes", *particulars)
            assert done.returncode == 0, (key, done.stderr)
            assert server.get(ids[key])["status"] == after, key
        answer = vendor.post("/simulate", json=simulation(refs["c-not"]))
        assert answer.status_code == 200, answer.text
    late = until(lambda: (p := server.get(ids["c-not"]))["reversed"] == 1050 and p, "the late charge is given back", seconds=60)
    assert (late["status"], late["reason"]) == ("FAILED", "not_charged")
    movements = server.ledger()
    kinds = [(m["provider"], m["kind"], m["amount"]) for m in of_payment(movements, ids["c-not"])]
    assert kinds == [("cashfree", "charge", 1050), ("cashfree", "refund", 1050)]
    assert net_charges(movements, ids["c-not"]) == net_charges(movements, ids["c-reversed"]) == []
    text = told(server, ids["c-not"])
    assert "an operator decided: not-charged, because: ticket 7" in text
    assert "was taken late and was given back" in text
    assert server.cli("verify").returncode == 0


def sandbox_of(serve: Serve) -> httpx2.Client:
    """The vendor's own API over the same ledger, as its dashboard would use it."""
    process = serve(command="sandbox")
    headers = {"x-client-id": "sandbox", "x-client-secret": "sandbox", "x-api-version": "2025-01-01"}
    return httpx2.Client(base_url=f"{process.url}/cashfree", headers=headers, timeout=10)


def simulation(ref: str) -> dict[str, Any]:
    return {"entity": "PAYMENTS", "entity_id": ref, "entity_simulation": {"payment_status": "SUCCESS"}}


def give_back(vendor: httpx2.Client, payment_id: str) -> None:
    """An operator gives the money of the first attempt back by hand."""
    order = f"{payment_id[4:]}0100"
    (taken,) = vendor.get(f"/orders/{order}/payments").json()
    body = {"refund_amount": taken["payment_amount"], "refund_id": "by-hand", "refund_note": "by hand"}
    answer = vendor.post(f"/orders/{order}/refunds", json=body)
    assert answer.status_code == 200, answer.text


# --- the start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "line", "reason"),
    [
        ('use = ["stripe_mock"]', 5, "use names stripe_mock, and there is no such account"),
        ('use = ["mokc"]', 5, "there is no such account; did you mean mock?"),
        ('use = ["mock"]\nfallback = ["razorpay_mock"]', 6, "fallback names razorpay_mock, and there is no such account"),
    ],
)
def test_a_bad_file_is_refused_at_the_start(tmp_path: Path, rule: str, line: int, reason: str) -> None:
    """Exit code 2 with file, line and reason, and nothing was made."""
    toml = f'version = 1\n[providers.mock]\n[[rules]]\nname = "all"\n{rule}\n'
    server = Payonce(tmp_path / "data", toml=toml)
    refused = server.cli("serve", "--port", str(server.port))
    assert refused.returncode == 2, refused
    assert f"{server.config[1]}:{line}" in refused.stderr or f"{server.config[1]}, line {line}" in refused.stderr, (
        refused.stderr
    )
    assert reason in refused.stderr
    assert "Nothing was started." in refused.stderr
    assert not server.data_dir.exists()


def test_the_tour_of_the_readme(serve: Serve) -> None:
    """Killed in the middle of a slow call, started again: asked, not sent again; held once and captured once."""
    server = serve()
    payment = server.post("order-1", currency="INR", method="tok_slow_5s")

    def fired() -> bool:
        return any(e["kind"] == "Planned" and e["data"]["step"]["kind"] == "fire" for e in server.history(payment))

    until(fired, "the fire is on record", 10)
    server.kill()
    server.start()
    assert server.ends_as(payment, "SUCCESS", 60)["provider"] == "razorpay_mock"
    assert [(m["provider"], m["kind"]) for m in server.ledger()] == [("razorpay", "authorize"), ("razorpay", "capture")]
    assert "only into the same order" not in told(server, payment)
