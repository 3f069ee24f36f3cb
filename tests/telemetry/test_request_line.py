"""One line for each request and each answered call, with what leads from one to the other, and nothing that was sent."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import structlog

from payonce import telemetry
from payonce.api.door import INSIDE
from payonce.merchants.keys import SCOPES, Caller
from payonce.telemetry import names as n
from payonce.telemetry.watching import Watcher, key_hash
from tests.api.service import TEST, Service, new_key, open_door, ring
from tests.telemetry.watched import watched

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Begin to log at a level, as JSON unless told otherwise, and read it. Afterwards the loggers are as they were."""
    loggers = ("payonce", *telemetry.OTHERS)
    before = [(each, list(each.handlers), each.propagate) for each in map(logging.getLogger, loggers)]
    stream = io.StringIO()

    def begin(level: str = "info", *, as_json: bool = True) -> None:
        monkeypatch.setattr(sys, "stderr", stream)
        telemetry.configure(level=level, json=as_json)

    def read(event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == event]

    yield begin, read, stream.getvalue
    for logger, handlers, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(logging.NOTSET)
    for name in telemetry.CANONICAL:
        logging.getLogger(f"payonce.{name}").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def test_a_request_has_one_line(log: Any) -> None:
    """Method, template, status, time, size, whose key, which payment, and the ids that lead on; no body, query or path."""
    begin, read, text = log
    keys = ring()

    async def check(s: Service, _watcher: Watcher) -> None:
        begin()
        bearer = await new_key(keys, TEST, "payments:write")
        headers = {**bearer, "traceparent": PARENT, "request-id": "checkout-42"}
        answer = await s.post({"amount": 1050, "currency": "INR", "description": "a present"}, key="order-1", headers=headers)
        await s.client.get("/payments?clientId=shop-seven", headers=bearer)
        await s.client.get("/nowhere/else", headers=bearer)
        created, listed, lost = read("request")
        id = answer.json()["transactionId"]
        assert created["payment_id"] == id
        assert (created["method"], created["route"], created["status"]) == ("POST", "/payments", 202)
        assert (created["request_id"], created["trace_id"]) == ("checkout-42", TRACE)
        assert created["merchant_id"] == TEST.merchant_id
        assert created["key_id"].startswith("key_")
        assert created["bytes"] == len(answer.content)
        assert created["ms"] > 0
        assert created["level"] == "info"
        assert (listed["route"], "payment_id" in listed, "trace_id" in listed) == ("/payments", False, False)
        assert (lost["route"], lost["status"]) == ("unmatched", 404)
        for word in ("a present", "shop-seven", "nowhere", "order-1", bearer["Authorization"].split("_")[-1]):
            assert word not in text()

    watched(check, door=lambda engine: open_door(engine, keys=keys))


def test_an_answered_call_has_one_line_that_leads_to_its_request(log: Any) -> None:
    """Who paid where, which step, what came of it, and the request and trace that asked for it; the key as a hash."""
    begin, read, text = log

    async def check(s: Service, watcher: Watcher) -> None:
        begin()
        headers = {"traceparent": PARENT, "request-id": "checkout-43"}
        answer = await s.post(
            {"amount": 1050, "currency": "INR", "paymentMethod": "tok_stolen"}, key="order-9", headers=headers
        )
        id = answer.json()["transactionId"]
        with watcher.working(id):
            await s.engine.advance(id)
        (line,) = read("attempt")
        assert line["payment_id"] == id
        assert (line["account"], line["attempt"], line["operation"], line["step"]) == ("tiny", 0, "", "fire")
        assert (line["outcome"], line["decline_code"]) == ("Declined", "stolen_card")
        assert (line["request_id"], line["trace_id"], line["key_hash"]) == ("checkout-43", TRACE, key_hash("order-9"))
        assert line["ms"] >= 0
        (status,) = read("status")
        assert (status["payment_id"], status["after"], status["request_id"]) == (id, "FAILED", "checkout-43")
        assert "order-9" not in text()

    watched(check)


def test_an_operation_has_its_line(log: Any) -> None:
    """A refund's call names the operation, and the request that asked for the refund."""
    begin, read, _ = log

    async def check(s: Service, _watcher: Watcher) -> None:
        id = await s.settled()
        begin()
        asked = await s.ask(id, "refunds", "refund-1", {"amount": 50}, **{"request-id": "back-office-7"})
        await s.engine.advance(id)
        (line,) = read("attempt")
        assert (line["step"], line["outcome"], line["request_id"]) == ("refund", "Refunded", "back-office-7")
        assert line["operation"].startswith("op_")
        assert asked.status_code == 202
        assert read("request")[0]["payment_id"] == id

    watched(check)


@pytest.mark.parametrize("straight", [True, False])
def test_a_canonical_line_is_as_any_other(log: Any, monkeypatch: pytest.MonkeyPatch, *, straight: bool) -> None:
    """It is put together in a shorter way, and in our own processes goes straight to the stream; its fields, their order and
    what is masked in them are those of the logger's own."""
    begin, read, text = log
    begin()
    if not straight:
        monkeypatch.setattr(telemetry, "_straight", [])
    facts = {
        "status": 202,
        "ms": 1.5,
        "note": "4242 4242 4242 4242",
        "token": "Bearer abcdef123",
        "odd": "half \ud83d",
        "umlaut": "ä",
    }
    with structlog.contextvars.bound_contextvars(request_id="sk_test_0123456789"):
        telemetry.canonical("request", logging.INFO, dict(facts))
        telemetry.get_logger("request").info("request", **facts)
    short, long = read("request")
    assert list(short) == list(long)
    assert {**short, "timestamp": ""} == {**long, "timestamp": ""}
    assert len(short["timestamp"]) == len("2026-11-26T09:30:00.123456Z")
    assert (short["note"], short["request_id"], short["umlaut"]) == ("[redacted]", "sk_test_[redacted]", "ä")
    assert text().isascii()


def test_who_listens_beside_the_stream_hears_every_line(log: Any) -> None:
    """A handler that was added, or put back as it was before: nothing goes past it."""
    begin, read, _ = log
    begin()
    heard = list[logging.LogRecord]()
    root, listener = logging.getLogger("payonce"), logging.Handler()
    listener.emit = heard.append  # type: ignore[method-assign]
    root.addHandler(listener)
    try:
        telemetry.canonical("request", logging.INFO, {"status": 1})
    finally:
        root.removeHandler(listener)
    assert [record.msg["status"] for record in heard] == [line["status"] for line in read("request")] == [1]  # type: ignore[index]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")])
def test_a_line_that_cannot_be_written_harms_nobody(log: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A full disk, a reader that went: the next line is tried again."""
    begin, read, _ = log
    begin()

    def refuses(_: str) -> int:
        raise error

    with monkeypatch.context() as full:
        full.setattr(telemetry._straight[0].stream, "write", refuses)
        telemetry.canonical("request", logging.INFO, {"status": 1})
    telemetry.canonical("request", logging.INFO, {"status": 2})
    assert [line["status"] for line in read("request")] == [2]


def test_what_machines_ask_all_the_time_is_quiet(log: Any) -> None:
    """Health checks and scrapes have their line at debug only."""
    begin, read, _ = log

    async def check(s: Service, _watcher: Watcher) -> None:
        begin()
        for path in ("/livez", "/readyz", "/metrics"):
            await s.get(path)
        assert read("request") == []
        begin("debug")
        await s.get("/livez")
        assert [(line["route"], line["level"]) for line in read("request")] == [("/livez", "debug")]

    watched(check)


def test_what_a_page_asks_for_is_no_request_of_its_own(log: Any) -> None:
    """A page of ours that asks in this process has its lines at debug, and is counted once, by itself."""
    begin, read, _ = log

    async def check(s: Service, watcher: Watcher) -> None:
        async def page(scope: Any, receive: Any, send: Any) -> None:
            scope[INSIDE] = Caller(scope=TEST, scopes=frozenset(SCOPES))
            await s.app(scope, receive, send)

        begin()
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=page), base_url="http://payonce.test") as client:
            assert (await client.get("/payments")).status_code == 200
            assert (read("request"), watcher.meter.total(n.REQUESTS)) == ([], 0)
            begin("debug")
            await client.get("/payments")
        assert [line["level"] for line in read("request")] == ["debug"]

    watched(check)


def test_a_person_at_a_terminal_is_not_flooded(log: Any) -> None:
    """As text, at the default level, there is no line for requests and calls; what changed is there, at debug all."""
    begin, _, text = log

    async def check(s: Service, _watcher: Watcher) -> None:
        begin(as_json=False)
        await s.settled("one")
        assert "status" in text()
        assert "attempt" not in text()
        assert "/payments" not in text()
        begin("debug", as_json=False)
        await s.settled("two")
        assert "outcome=Succeeded" in text()
        assert "route=/payments" in text()

    watched(check)


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (PARENT, TRACE),
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-the-future-will-be-like", TRACE),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", ""),
        ("nonsense", ""),
    ],
)
def test_a_trace_is_taken_only_when_it_is_well_formed(log: Any, sent: str, taken: str) -> None:
    """W3C Trace Context; anything else is no trace, and is not repeated."""
    begin, read, _ = log

    async def check(s: Service, _watcher: Watcher) -> None:
        begin()
        await s.client.get("/docs", headers={"traceparent": sent})
        (line,) = read("request")
        assert line.get("trace_id", "") == taken

    watched(check)
