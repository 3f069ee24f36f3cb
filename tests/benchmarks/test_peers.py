"""Peers of the benchmark: what they are judged by, the vendor that they are tortured with, and that each does the job.

Their libraries are in the environment of ``make bench`` only; elsewhere those tests are skipped.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from benchmarks.bench import Bench
from benchmarks.peers import NEEDED, contenders, why_not
from benchmarks.peers.contenders import APART, CELERY_PLAIN, CELERY_SQLITE, PEERS, Contest, Peer, Running
from benchmarks.peers.servers import Missing, Postgres
from benchmarks.peers.torture import Heard, Storm, Torture, storms
from benchmarks.peers.vendor import Vendor
from benchmarks.procs import Broken
from benchmarks.provider import Booked
from benchmarks.served import Provider

SETTLED_S = 30


def books(*references: str) -> list[Booked]:
    """Of a provider that has charged these references."""
    return [Booked(f"ch_{n}", reference, "", 1, 0, 0) for n, reference in enumerate(references)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One for all: it measures the disk first."""
    return Bench(tmp_path_factory.mktemp("bench"), "quick", quiet=True)


def torture(bench: Bench, peer: Peer) -> Torture:
    return Torture(bench, Contest(python=sys.executable, postgres=None), Storm(peer=peer), 1)


def heard(key: str, *ids: str, source: str = "tok_ok", other: tuple[int, ...] = ()) -> Heard:
    return Heard(key=key, body={"paymentMethod": source}, ids=set(ids), other=list(other))


def test_everything_right_counts_nothing(bench: Bench) -> None:
    """A payment that was charged once and one that was declined are no findings."""
    one = torture(bench, CELERY_SQLITE)
    one.heard = [heard("a", "pay_a", other=(422,)), heard("b", "pay_b", source="tok_decline")]
    counts = one.judge({"pay_a": "SUCCESS", "pay_b": "FAILED"}, books("pay_a"))
    assert {what: n for what, n in counts.items() if n} == {"payments": 2}


@pytest.mark.parametrize(
    ("shown", "charged", "what"),
    [
        ("PENDING", (), "never charged, still pending"),
        ("unknown", (), "never charged, still pending"),
        ("PENDING", ("pay_a",), "charged, still pending"),
        ("SUCCESS", ("pay_a", "pay_a"), "charged twice"),
        ("FAILED", ("pay_a",), "FAILED, but charged"),
        ("SUCCESS", (), "SUCCESS, but not charged"),
        ("IN_DOUBT", (), "in doubt, shown"),
    ],
)
def test_each_wrong_is_counted(bench: Bench, shown: str, charged: tuple[str, ...], what: str) -> None:
    """Each thing that can go wrong is counted as what it is, and as nothing else."""
    one = torture(bench, CELERY_SQLITE)
    one.heard = [heard("a", "pay_a")]
    counts = one.judge({"pay_a": shown}, books(*charged))
    assert {name: n for name, n in counts.items() if n} == {"payments": 1, what: 1}


def test_what_clients_heard_is_counted(bench: Bench) -> None:
    """Two payments for a key, another body that was taken, a client that was never answered, answers of trouble."""
    one = torture(bench, CELERY_SQLITE)
    one.heard = [heard("a", "pay_a", "pay_b"), heard("b", "pay_c", other=(202,)), heard("c")]
    one.answers = Counter({202: 5, 500: 2, 503: 1})
    counts = one.judge(dict.fromkeys(("pay_a", "pay_b", "pay_c"), "SUCCESS"), books("pay_a", "pay_b", "pay_c"))
    wrong = {"two payments for a key": 1, "another body taken": 1, "never answered": 1, "answers 5xx": 3}
    assert {name: n for name, n in counts.items() if n} == {"payments": 3, **wrong}


def test_references_of_payonce_name_their_payment(bench: Bench) -> None:
    """A charge of payonce is found by the first twenty characters of its reference."""
    one = torture(bench, APART)
    one.heard = [heard("a", "pay_06h1f6v73y45e1j390vf")]
    counts = one.judge({"pay_06h1f6v73y45e1j390vf": "SUCCESS"}, books("06h1f6v73y45e1j390vf0101"))
    assert {name: n for name, n in counts.items() if n} == {"payments": 1}


@pytest.mark.parametrize("scale", ["quick", "normal", "long"])
def test_rows_have_names_of_their_own(scale: str) -> None:
    """No two storms would write into one row, and each peer is in a storm."""
    places = [(storm.case, storm.name) for storm in storms(scale)]
    assert len(set(places)) == len(places)
    assert {peer.module for peer in PEERS} <= {storm.peer.module for storm in storms(scale)}


class Dead:
    """A contender whose processes are killed and started again in no time; Redis is its own."""

    def __init__(self) -> None:
        self.made = {"API": lambda: self, "worker": lambda: self}
        self.procs = {"API": self, "worker": self}
        self.redis, self.proc = self, self
        self.killed = 0

    def kill(self) -> None:
        self.killed += 1

    def start(self) -> None:
        """As Redis."""

    def again(self, name: str) -> None:
        """As API and worker."""


def test_each_process_is_killed_as_often_and_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """API, worker and Redis take turns, and the counts are those of the kills."""
    monkeypatch.setattr("benchmarks.peers.torture.KILL_EVERY_S", (0.0, 0.0))
    monkeypatch.setattr("benchmarks.peers.torture.DOWN_S", (0.0, 0.0))
    monkeypatch.setattr("benchmarks.peers.torture.EARLY_SHARE", 0.0)
    one, dead = torture(bench, CELERY_SQLITE), Dead()
    one.storm = Storm(peer=CELERY_SQLITE, redis_too=True)
    killer = threading.Thread(target=one.kill, args=[dead])
    killer.start()
    until = time.monotonic() + SETTLED_S
    while one.kills.total() < 30 and time.monotonic() < until:
        pass
    one.over.set()
    killer.join()
    assert dead.killed == one.kills.total() >= 30
    assert set(one.kills) == {"API", "worker", "Redis"}
    assert max(one.kills.values()) - min(one.kills.values()) <= 1
    counts = one.judge({}, books())
    assert [counts[f"{name} killed"] for name in one.kills] == [*one.kills.values()]


def test_a_storm_that_is_broken_off_ends(bench: Bench) -> None:
    """Its clients stop asking a contender that will not come back."""
    one = torture(bench, CELERY_SQLITE)
    one.break_off()
    with pytest.raises(Broken, match="broken off"):
        asyncio.run(one.post(httpx2.AsyncClient(), heard("a")))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contender whose libraries or servers are not there is left out for a reason that says so."""
    monkeypatch.setitem(NEEDED, "with_celery", ("json", "no_such_library"))
    assert why_not(CELERY_SQLITE, postgres=True, redis=True) == "no_such_library not installed"
    monkeypatch.setitem(NEEDED, "with_celery", ())
    assert why_not(CELERY_SQLITE, postgres=True, redis=False) == "no Redis"
    assert why_not(contenders.CELERY_POSTGRES, postgres=False, redis=True) == "no PostgreSQL"
    assert why_not(APART, postgres=False, redis=False) == ""


# --- the vendor -----------------------------------------------------------------------------------------------------------


def charge(vendor: Vendor, token: str, key: str = "k") -> int:
    """The status of the answer to a charge; 0: the connection would be dropped."""
    body = msgspec.json.encode({"amount": 1, "currency": "USD", "reference": "pay_a", "source": token})
    scope = {"type": "http", "method": "POST", "path": "/charges", "headers": [(b"idempotency-key", key.encode())]}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(vendor(scope, receive, send))
    return int(sent[0]["status"]) if len(sent) == 2 else 0


@pytest.mark.parametrize(
    ("token", "first", "charges"), [("tok_ok", 200, 1), ("tok_drop", 0, 1), ("tok_error", 500, 1), ("tok_refused", 500, 0)]
)
def test_a_vendor_that_honours_keys_charges_once(token: str, first: int, charges: int) -> None:
    """Whatever happened to the first answer, the second one is good and nothing is charged twice."""
    vendor = Vendor()
    assert charge(vendor, token) == first
    assert len(vendor.books.booked) == charges
    assert charge(vendor, token) == 200
    assert len(vendor.books.booked) == 1


def test_a_vendor_that_honours_no_keys_charges_again() -> None:
    """The same key is another charge there."""
    vendor = Vendor()
    vendor.keyless = True
    assert charge(vendor, "tok_drop") == 0
    assert charge(vendor, "tok_drop") == 200
    assert len(vendor.books.booked) == 2


# --- peers at work --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contest() -> Iterator[Contest]:
    """With a PostgreSQL, where there is one that can run here."""
    if any(why_not(peer, postgres=True, redis=True) for peer in PEERS if peer.postgres):
        yield Contest(python=sys.executable, postgres=None)
        return
    # None of pytest's folders: whoever runs PostgreSQL must get through, and other sessions of pytest close theirs to others.
    with tempfile.TemporaryDirectory(prefix="payonce-peers-") as folder:
        Path(folder).chmod(0o755)
        try:
            postgres = Postgres(Path(folder) / "postgres")
        except Missing:
            postgres = None
        yield Contest(python=sys.executable, postgres=postgres)
        if postgres:
            postgres.stop()


def ask(url: str, body: dict[str, Any] | None = None, key: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json", **({"idempotency-key": key} if key else {})}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, {}


@pytest.mark.parametrize("peer", [CELERY_PLAIN, *PEERS], ids=lambda peer: peer.name)
def test_a_peer_does_the_job(peer: Peer, contest: Contest, tmp_path: Path) -> None:
    """Accepts, answers a repeat with the same payment, refuses another body, settles, and charges once."""
    if why := why_not(peer, postgres=contest.postgres is not None, redis=shutil.which("redis-server") is not None):
        pytest.skip(f"{peer.name}: {why}")
    order = {"amount": 100, "currency": "USD", "paymentMethod": "tok_error", "clientId": "shop", "metadata": {"a": "b"}}
    folder = tmp_path / f"peer_{(CELERY_PLAIN, *PEERS).index(peer)}"
    with Provider(tmp_path) as provider, Running(peer, contest, folder, provider.url).start() as running:
        url = f"{running.url}/payments"
        status, shown = ask(url, order, "one")
        assert (status, shown["status"]) == (202, "PENDING")
        status, again = ask(url, order, "one")
        assert (status, again["transactionId"]) == (202, shown["transactionId"])
        assert ask(url, {**order, "amount": 101}, "one")[0] in (409, 422)
        assert ask(url, {**order, "amount": 0}, "two")[0] == 422
        assert ask(url, order)[0] in (400, 422)
        until = time.monotonic() + SETTLED_S
        while (now := ask(f"{url}/{shown['transactionId']}")[1])["status"] == "PENDING" and time.monotonic() < until:
            time.sleep(0.05)
        assert now["status"] == "SUCCESS"
        assert {name: now[name] for name in order} == order
        assert provider.ledger().charges == 1
