"""What is around the engine sees all of it, and takes no part."""

from collections.abc import Mapping
from typing import Any

import pytest

from payonce.core.payment import StoredRequest
from payonce.ports import Lost, Response
from payonce.stores.memory import MemoryStore
from payonce.telemetry import names as n
from payonce.telemetry.meter import KEPT_MAX, SERIES_MAX, Meter
from payonce.telemetry.watching import ORIGINS_MAX, Watcher, key_hash
from tests.api.service import Echo, Service, TickingClock
from tests.telemetry.watched import BrokenMeter, BrokenTracing, KeptStore, watched


class Away(Echo):
    """A provider from which no answer comes."""

    def __init__(self, *, sent: bool) -> None:
        self.sent = sent

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        return Lost(sent=self.sent, reason="nobody there")


def test_what_happens_is_counted() -> None:
    """Accepted, called, answered, settled and declined, each under its labels and once."""

    async def check(s: Service, watcher: Watcher) -> None:
        await s.settled("good")
        await s.settled("bad", paymentMethod="tok_stolen")
        meter = watcher.meter
        assert meter.total(n.ACCEPTED, "INR", "test") == 2
        assert meter.total(n.SETTLED, "SUCCESS", "tiny", "INR") == 1
        assert meter.total(n.SETTLED, "FAILED", "tiny", "INR") == 1
        assert meter.total(n.SETTLE_S) == 2
        assert meter.total(n.CALLS, "tiny", "fire", "Succeeded") == 1
        assert meter.total(n.CALLS, "tiny", "fire", "Declined") == 1
        assert meter.total(n.DECLINED, "tiny", "stolen_card") == 1
        assert meter.total(n.CALL_S, "tiny", "fire") == 2
        assert meter.total(n.EXCHANGES, "tiny", "sandbox", "2xx") == 2
        assert meter.total(n.FAILURES) == 0

    watched(check)


@pytest.mark.parametrize(("sent", "word", "outcome"), [(True, "lost", "Unknown"), (False, "unsent", "NotSent")])
def test_a_call_without_an_answer_is_told_apart(sent: bool, word: str, outcome: str) -> None:
    """Lost after it was sent, or never sent."""

    async def check(s: Service, watcher: Watcher) -> None:
        await s.settled()
        assert watcher.meter.total(n.EXCHANGES, "tiny", "sandbox", word) >= 1
        assert watcher.meter.total(n.CALLS, "tiny", "fire", outcome) >= 1

    watched(check, transport=Away(sent=sent))


def test_a_repeat_is_counted_once() -> None:
    """The same key again accepts nothing, so it counts nothing."""

    async def check(s: Service, watcher: Watcher) -> None:
        await s.accepted("same")
        await s.accepted("same")
        assert watcher.meter.total(n.ACCEPTED) == 1

    watched(check)


def test_a_watched_store_is_the_store() -> None:
    """Its class, its own methods and its parts are those of the real one."""
    watcher, real = Watcher(TickingClock()), KeptStore()
    store: Any = watcher.store(real)
    assert isinstance(store, MemoryStore)
    assert isinstance(store, KeptStore)
    assert store.registry is real.registry
    assert store.figures is real.figures
    assert not hasattr(store, "known_due")
    real.known_due = lambda _id: 7  # type: ignore[attr-defined]
    assert store.known_due("pay_x") == 7


def test_a_broken_meter_stops_nothing() -> None:
    """Payments are accepted and settled, and requests answered, while every count fails."""

    async def check(s: Service, watcher: Watcher) -> None:
        id = await s.settled()
        assert (await s.get(f"/payments/{id}")).json()["status"] == "SUCCESS"

    watched(check, meter=BrokenMeter())


@pytest.mark.parametrize("at", ["span", "enter", "exit"])
def test_a_broken_tracer_stops_nothing(at: str) -> None:
    """The same with spans that cannot be made, opened or closed; that it failed is counted."""

    async def check(s: Service, watcher: Watcher) -> None:
        with watcher.working("pay_x"):
            id = await s.settled()
        assert (await s.get(f"/payments/{id}")).json()["status"] == "SUCCESS"
        assert watcher.meter.total(n.FAILURES) > 0

    watched(check, tracing=BrokenTracing(at))


def test_what_the_watched_code_raises_passes_through() -> None:
    """An error of the work itself is not taken for one of watching."""
    watcher = Watcher(TickingClock())
    with pytest.raises(KeyError), watcher.working("pay_x"):
        raise KeyError("of the work")
    assert watcher.meter.total(n.FAILURES) == 0


def test_an_unknown_decline_code_is_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code that is not in the table is no label."""
    monkeypatch.setattr(n, "DECLINE_CODES", frozenset({"insufficient_funds"}))

    async def check(s: Service, watcher: Watcher) -> None:
        await s.settled(paymentMethod="tok_stolen")
        assert watcher.meter.total(n.DECLINED, "tiny", "other") == 1
        assert watcher.meter.total(n.DECLINED) == 1

    watched(check)


def test_series_are_bounded() -> None:
    """However many values there are, a metric has so many series and one more; the sum is whole."""
    meter = Meter()
    for number in range(SERIES_MAX + 50):
        meter.add(n.HEARD, f"account-{number}", "stored")
    assert len(list(meter.sums(n.HEARD))) == SERIES_MAX + 1
    assert meter.total(n.HEARD) == SERIES_MAX + 50
    assert meter.total(n.HEARD, "other") == 50


def test_durations_fall_into_their_buckets() -> None:
    """A bound belongs to its bucket; a clock that was set back counts as 0; so many are kept one by one where asked for."""
    meter = Meter(keep=True)
    for took in (-1.0, 0.1, 0.100001, 1e9):
        meter.observe(n.SETTLE_S, took)
    ((_, spread),) = meter.spreads(n.SETTLE_S)
    assert spread.counts[:2] == [2, 1]
    assert spread.counts[-1] == 1
    assert (spread.count, spread.kept[0]) == (4, 0.0)
    for _ in range(2 * KEPT_MAX):
        meter.observe(n.SETTLE_S, 1.0)
    assert len(spread.kept) == KEPT_MAX
    meter.clear()
    assert meter.total(n.SETTLE_S) == 0


def test_labels_that_a_metric_has_not_got_are_refused() -> None:
    """A count under too few labels is a bug that shows at once."""
    with pytest.raises(ValueError, match="payonce_declines_total"):
        Meter().add(n.DECLINED, "tiny")


def test_what_is_remembered_of_payments_is_bounded() -> None:
    """Only so many acceptances are remembered, the oldest are forgotten first."""
    watcher = Watcher(TickingClock())
    for number in range(ORIGINS_MAX + 10):
        watcher._remember(f"pay_{number}", f"req_{number}")
    assert len(watcher._origins) == ORIGINS_MAX
    assert "pay_9" not in watcher._origins
    assert watcher._origins["pay_10"].request_id == "req_10"


def test_a_key_is_shown_as_a_hash() -> None:
    """The same key gives the same hash, and nothing of it is in there."""
    assert key_hash("order-1001") == key_hash("order-1001") != key_hash("order-1002")
    assert "order" not in key_hash("order-1001")
    assert key_hash("") == ""


def test_a_tally_of_nobody_has_a_name() -> None:
    """A payment that ends without ever having been sent is counted under no provider's name, not under an empty one."""

    async def check(s: Service, watcher: Watcher) -> None:
        body = await s.accepted()
        id = str(body["transactionId"])
        await s.ask(id, "void", "void-1")
        await s.engine.advance(id)
        assert watcher.meter.total(n.SETTLED, "CANCELED", n.NOBODY, "INR") == 1

    watched(check)
