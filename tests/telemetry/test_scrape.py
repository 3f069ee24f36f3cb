"""GET /metrics: what Prometheus reads, who may read it, and what is said while the store is away."""

import asyncio
import sys
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from payonce.core.errors import StoreUnavailable
from payonce.engine import Engine
from payonce.ports import Due
from payonce.telemetry import names as n
from payonce.telemetry.watching import Watcher
from tests.api.service import OTHER, TEST, Service, new_key, open_door, problem_of, ring
from tests.telemetry.watched import KeptStore, watched


class GoneStore(KeptStore):
    """A store that answers, and from some time on does not: as a whole, or never at all."""

    def __init__(self) -> None:
        super().__init__()
        self.gone, self.hangs = False, False

    async def due(self, before_us: int, limit: int) -> tuple[Due, ...]:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.gone:
            raise StoreUnavailable("The disk is gone.")
        return await super().due(before_us, limit)


def families(text: str) -> dict[str, Family]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families(text).values()
        for sample in family.samples
    }


async def scraped(s: Service) -> str:
    answer = await s.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return answer.text


def test_prometheus_can_read_it() -> None:
    """The text parses; every series is in the table of names, and each counted thing is there with its help."""

    async def check(s: Service, _watcher: Watcher) -> None:
        await s.settled()
        text = await scraped(s)
        found = families(text)
        ours = {name for name in found if name.startswith("payonce_")}
        assert ours == {metric.removesuffix("_total") for metric in n.METRICS}
        for metric in n.METRICS.values():
            family = found[metric.name.removesuffix("_total")]
            assert family.documentation == metric.says
            assert family.type == metric.kind
            assert all(set(sample.labels) - {"le"} == set(metric.labels) for sample in family.samples)
        assert "process_start_time_seconds" in found
        seen = values(text)
        assert seen["payonce_payments_accepted_total", ("INR", "test")] == 1
        assert seen["payonce_payments_settled_total", ("INR", "tiny", "SUCCESS")] == 1
        assert seen["payonce_store_trouble", ()] == 0

    watched(check)


def test_no_label_carries_an_id() -> None:
    """After payments, keys, strange paths and methods no label holds one: routes are templates, the rest has few values."""

    async def check(s: Service, _watcher: Watcher) -> None:
        id = await s.settled("a-secret-key")
        await s.get(f"/payments/{id}")
        await s.get("/payments/pay_nobody/history")
        await s.get("/nowhere/4242424242424242")
        await s.client.request("BREW", f"/payments/{id}")
        text = await scraped(s)
        labels = {value for family in families(text).values() for sample in family.samples for value in sample.labels.values()}
        assert not [value for value in labels if "pay_" in value or "secret" in value or "4242" in value or value == "BREW"]
        assert {"/payments/{id}", "/payments/{id}/history", "unmatched", "other"} <= labels

    watched(check)


def test_buckets_add_up() -> None:
    """The last bucket of a histogram is its count, and none is smaller than the one before."""

    async def check(s: Service, _watcher: Watcher) -> None:
        await s.settled()
        family = families(await scraped(s))["payonce_settle_duration_seconds"]
        counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
        assert counts == sorted(counts)
        assert counts[-1] == next(sample.value for sample in family.samples if sample.name.endswith("_count")) == 1
        assert family.samples[len(counts) - 1].labels["le"] == "+Inf"

    watched(check)


def test_it_is_the_houses() -> None:
    """A key of the house may read it; to another merchant nothing is there, and without reading there is no scope for it."""
    keys = ring()

    def shut(engine: Engine) -> Any:
        return open_door(engine, keys=keys)

    async def check(s: Service, _watcher: Watcher) -> None:
        house, other = await new_key(keys, TEST, "payments:read"), await new_key(keys, OTHER, "admin")
        refunds = await new_key(keys, TEST, "refunds:write")
        assert (await s.client.get("/metrics", headers=house)).status_code == 200
        nothing = await s.client.get("/metrics", headers=other)
        assert problem_of(nothing)["detail"] == problem_of(await s.client.get("/nowhere", headers=other))["detail"]
        assert problem_of(await s.client.get("/metrics", headers=refunds))["code"] == "scope_missing"
        assert problem_of(await s.client.get("/metrics"))["code"] == "key_missing"
        assert problem_of(await s.client.get("/metrics?name=x", headers=house))["code"] == "validation_failed"

    watched(check, door=shut)


@pytest.mark.parametrize("how", ["gone", "hangs"])
def test_without_the_store_the_rest_is_told(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away, or does not answer in time: what the process knows, and that there is trouble."""
    monkeypatch.setattr("payonce.api.metrics.ASKED_S", 0.05)
    store = GoneStore()

    async def check(s: Service, _watcher: Watcher) -> None:
        await s.settled()
        setattr(store, how, True)
        seen = values(await scraped(s))
        assert seen["payonce_store_trouble", ()] == 1
        assert seen["payonce_payments_accepted_total", ("INR", "test")] == 1
        assert ("payonce_payments_due_overdue", ()) not in seen
        assert ("payonce_hold", ()) in seen

    watched(check, store=store)


def test_a_store_that_takes_no_writes_is_trouble() -> None:
    """Read-only is trouble too, though all questions are answered."""
    store = KeptStore()

    async def check(s: Service, _watcher: Watcher) -> None:
        store.trouble = "read-only"
        seen = values(await scraped(s))
        assert seen["payonce_store_trouble", ()] == 1
        assert ("payonce_payments_due_overdue", ()) in seen

    watched(check, store=store)


def test_without_the_library_nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a function on AWS, whose package has no Prometheus: a path that is not there, and no failure."""
    monkeypatch.delitem(sys.modules, "payonce.telemetry.exposition", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    async def check(s: Service, _watcher: Watcher) -> None:
        assert problem_of(await s.get("/metrics"))["code"] == "not_found"

    watched(check)


def test_the_store_is_not_asked_at_each_scrape() -> None:
    """Its answers are good for two seconds, then it is asked again."""
    store = KeptStore()

    async def check(s: Service, watcher: Watcher) -> None:
        for _ in range(3):
            await scraped(s)
        assert store.asked == 1
        await watcher.clock.sleep(2)
        await scraped(s)
        assert store.asked == 2

    watched(check, store=store)


def test_what_stands_is_told() -> None:
    """Overdue payments and how long, a drain, a breaker, a hold, calls in flight."""
    store = KeptStore()

    async def check(s: Service, watcher: Watcher) -> None:
        await s.accepted()
        await watcher.clock.sleep(30)
        assert s.engine.health is not None
        await s.engine.health.drain("tiny", "maintenance", "operator")
        s.engine.hold = True
        with s.engine.lanes.flight("tiny", watcher.clock):
            seen = values(await scraped(s))
        assert seen["payonce_payments_due_overdue", ()] == 1
        assert 29 < seen["payonce_oldest_overdue_seconds", ()] < 40
        assert seen["payonce_provider_drained", ("tiny",)] == 1
        assert seen["payonce_breaker_open", ("tiny",)] == 0
        assert seen["payonce_hold", ()] == 1
        assert seen["payonce_calls_in_flight", ("tiny",)] == 1

    watched(check, store=store)


def test_in_doubt_payments_of_every_merchant_count() -> None:
    """Those of the house and those of merchants on record, and all merchants' at once."""
    store = KeptStore()
    asked: list[str] = []

    class Counting:
        async def standing(self, scope: Any) -> dict[str, int]:
            asked.append(scope.merchant_id)
            return {"IN_DOUBT": 2, "attention": 3}

    store.figures = Counting()  # type: ignore[assignment]

    async def check(s: Service, _watcher: Watcher) -> None:
        await store.registry.put("merchant", OTHER.merchant_id, b"{}", 0)
        seen = values(await scraped(s))
        assert asked == [TEST.merchant_id, OTHER.merchant_id]
        assert seen["payonce_payments_in_doubt", ()] == 4
        assert seen["payonce_payments_attention", ()] == 6

    watched(check, store=store)


@pytest.mark.parametrize("known", [True, False])
def test_readiness_names_the_store_when_it_is_away(known: bool) -> None:
    """503 with the failing check's name, to a stranger as to a caller; of providers nothing is asked."""
    keys = ring()

    async def away(_scope: Any = None) -> dict[str, str]:
        raise StoreUnavailable("The disk is gone.")

    async def check(s: Service, _watcher: Watcher) -> None:
        headers = await new_key(keys, TEST, "payments:read")
        answer = await s.client.get("/readyz", headers=headers if known else {})
        assert answer.status_code == 503
        assert "store" in problem_of(answer)["detail"]

    watched(check, ready=away, door=lambda engine: open_door(engine, keys=keys))
