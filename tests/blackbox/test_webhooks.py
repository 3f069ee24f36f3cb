"""Webhooks and real processes: kill -9 between the answer and the look, two workers, a real full disk."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.core import ids
from payonce.providers.mock import ADAPTER

from .running import Payonce, parsed, until

pytestmark = pytest.mark.slow

TOML = "version = 1\n[providers.mock]\n"


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Payonce]]:
    """The processes of a test; what still runs at its end is killed."""
    started: list[Payonce] = []
    yield started
    for each in started:
        each.end()


def running(places: list[Payonce], folder: Path, *args: str, command: str = "serve") -> Payonce:
    places.append(Payonce(folder / "data", *args, toml=TOML, command=command))
    places[-1].start()
    return places[-1]


def deliver(url: str, event: str, payment_id: str, *, secret: str | None = None) -> httpx2.Response:
    """What the mock vendor sends about the first attempt of a payment."""
    reference = ids.reference(payment_id, 1, 0)
    body = json.dumps({"id": event, "type": "charge.updated", "data": {"id": "ch_none", "reference": reference}}).encode()
    seconds = str(int(time.time()))
    key = (secret or ADAPTER.SANDBOX_CREDENTIALS["webhook_secret"]).encode()
    digest = hmac.new(key, seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    given = {"x-mock-signature": f"t={seconds},v1={digest}", "content-type": "application/json"}
    return httpx2.post(f"{url}/webhooks/mock", content=body, headers=given, timeout=10)


def inbox(at: Payonce, *args: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parsed(at.cli("webhooks", "list", "--json", *args))["webhooks"]
    return rows


def hints(at: Payonce, payment_id: str) -> int:
    """Hints on the record of a payment."""
    history = parsed(at.cli("show", payment_id, "--json"))["history"]
    return sum(e["kind"] == "Hinted" and e["actor"] == "webhook" for e in history)


def waiting(places: list[Payonce], folder: Path) -> str:
    """A payment that stays open, sent by a server that is stopped then; its id."""
    server = running(places, folder)
    id = server.post("k1", method="tok_never_resolves")
    until(lambda: len(server.history(id)) >= 2, "the charge is sent")
    assert server.stop() == 0
    return id


def test_killed_between_the_answer_and_the_look(places: list[Payonce], tmp_path: Path) -> None:
    """Answered 200 and killed at once, before anybody looked: after the next start the payment is found and hinted."""
    id = waiting(places, tmp_path)
    door = running(places, tmp_path, "--no-worker")
    before = hints(door, id)
    answers = [deliver(door.url, event, id) for event in ("evt_a", "evt_a", "evt_b")]
    assert [(a.status_code, a.json()["repeated"]) for a in answers] == [(200, False), (200, True), (200, False)]
    door.kill()
    assert [(row["state"], row["deliveries"]) for row in inbox(door)] == [("new", 1), ("new", 2)]
    assert hints(door, id) == before
    worker = running(places, tmp_path, command="worker")
    until(lambda: {row["state"] for row in inbox(worker)} == {"matched"}, "both are looked up")
    assert [row["payments"] for row in inbox(worker)] == [[id], [id]]
    assert hints(worker, id) > before
    assert worker.cli("verify").returncode == 0


def test_two_workers_and_a_server_share_an_inbox(places: list[Payonce], tmp_path: Path) -> None:
    """Forty events, each twice, about one payment and about one that is not here: all are looked up once each, none twice
    kept, and what is forged is refused."""
    id = waiting(places, tmp_path)
    server = running(places, tmp_path)
    running(places, tmp_path, command="worker")
    running(places, tmp_path, command="worker")
    unknown = ids.new_id("pay_", 1_795_000_000_000_000, 7)
    for n in range(40):
        for _ in range(2):
            assert deliver(server.url, f"evt_{n}", id if n % 2 else unknown).status_code == 200
    assert deliver(server.url, "evt_forged", id, secret="whsec_guess").status_code == 401
    until(lambda: not inbox(server, "--state", "new"), "all are looked up")
    rows = inbox(server, "--limit", "100")
    assert len(rows) == 40
    assert {(row["state"], tuple(row["payments"]), row["deliveries"]) for row in rows} == {
        ("matched", (id,), 2),
        ("parked", (), 2),
    }
    assert server.cli("verify").returncode == 0


def test_an_event_of_no_payment_here_waits_and_can_be_replayed(places: list[Payonce], tmp_path: Path) -> None:
    """Heard by a server on another store, as before a backup came back: parked with its next look; a replay, asked of the
    file while the server runs, is done within a second, and is parked again."""
    id = waiting(places, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    server = running(places, elsewhere)
    assert deliver(server.url, "evt_early", id).status_code == 200
    (row,) = until(lambda: inbox(server, "--state", "parked"), "it is parked")
    assert (row["payments"], row["tries"], row["dueAt"] is not None) == ([], 1, True)
    until(lambda: inbox(server)[0]["tries"] == 2, "it is looked up again after 5 s")
    assert parsed(server.cli("webhooks", "replay", "--parked", "--json")) == {"replayed": [row["id"]]}
    until(lambda: (inbox(server)[0]["state"], inbox(server)[0]["tries"]) == ("parked", 1), "it began again")
