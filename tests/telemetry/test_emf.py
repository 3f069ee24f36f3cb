"""What the functions on AWS counted, as CloudWatch reads it: one line an event, without ids, under names that agree with those
at /metrics."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.aws import runtime, sweeper
from payonce.aws.worker import work
from payonce.bootstrap import App
from payonce.telemetry import names as n
from payonce.telemetry.emf import line
from payonce.telemetry.meter import KEPT_MAX, Meter
from payonce.telemetry.watching import Watcher
from tests.aws.room import LONG_MS, SetClock, WatchedAws, in_room, pay, record


def observed(app: App, clock: SetClock) -> App:
    """The same app with a watcher, as ``open_app`` puts it around the engine of a function."""
    watcher = Watcher(clock, Meter(keep=True))
    app.engine.store = watcher.store(app.engine.store)
    app.engine.intake = replace(app.engine.intake, store=app.engine.store)
    app.engine.transport = watcher.transport(app.engine.transport)
    return replace(app, watcher=watcher)


def test_an_event_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two payments accepted and settled by one run: their numbers, durations one by one, and the parts by provider beside them;
    the next event begins at nothing, and one that counted nothing has no line."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        watched = observed(app, clock)
        ids = [await pay(watched, token, token) for token in ("tok_ok", "tok_decline_stolen_card")]
        runtime.tell(watched)
        accepted = json.loads(capsys.readouterr().out)
        assert accepted["PaymentsAccepted"] == 2
        assert "PaymentsSettled" not in accepted
        await work(watched, [record(id, number) for number, id in enumerate(ids)], LONG_MS)
        runtime.tell(watched)
        (said,) = map(json.loads, capsys.readouterr().out.splitlines())
        told: dict[str, Any] = said
        (sheet,) = told["_aws"]["CloudWatchMetrics"]
        assert (sheet["Namespace"], sheet["Dimensions"]) == ("payonce", [["FunctionName"]])
        assert told["_aws"]["Timestamp"] == clock.now_us() // 1000
        units = {each["Name"]: each["Unit"] for each in sheet["Metrics"]}
        assert all(name in told for name in units)
        assert (told["PaymentsSettled"], told["PaymentsFailed"], told["Declines"]) == (2, 1, 1)
        assert len(told["SettleDuration"]) == 2
        assert (units["SettleDuration"], units["ProviderCalls"]) == ("Seconds", "Count")
        assert told["series"]["payonce_declines_total"] == {"mock/stolen_card": 1}
        assert not [id for id in ids if id in json.dumps(told)]
        runtime.tell(watched)
        assert capsys.readouterr().out == ""

    in_room(tmp_path, story)


def test_both_worlds_have_the_same_names() -> None:
    """Every metric for CloudWatch names one of /metrics, by a label and values that it has; what the sweeper tells is all in
    the table too; no name stands twice."""
    for each in n.CLOUD:
        assert n.METRICS[each.metric.name] is each.metric
        assert not each.label or each.label in each.metric.labels
        assert bool(each.label) == bool(each.values)
    names = [*(each.name for each in n.CLOUD), *n.SWEPT]
    assert len(set(names)) == len(names)
    assert set(sweeper.METRICS) == set(n.SWEPT)
    assert sweeper.NAMESPACE == "payonce"
    for name, twin in n.SWEPT.items():
        assert twin is None or twin.kind == "gauge", name
    counted = {each.metric.name for each in n.CLOUD}
    assert {metric.name for metric in n.COUNTED} - counted == {n.EXCHANGES.name, n.FAILURES.name}


def test_a_line_holds_no_more_than_cloudwatch_takes() -> None:
    """At most a hundred durations of a metric, over all its series; the exact number stands beside them."""
    meter = Meter(keep=True)
    for number in range(3 * KEPT_MAX):
        meter.observe(n.REQUEST_S, 0.01, f"/{number % 3}", "GET")
        meter.add(n.REQUESTS, f"/{number % 3}", "GET", "200")
    said = json.loads(line(meter, 1_000, "f"))
    assert len(said["RequestDuration"]) == KEPT_MAX
    assert said["Requests"] == 3 * KEPT_MAX
    assert "ServerErrors" not in said


def test_telling_never_fails_an_event(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A meter that cannot be read costs its line."""

    class Unreadable(Meter):
        def sums(self, _metric: n.Metric) -> Any:
            raise RuntimeError("unreadable")

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        runtime.tell(replace(app, watcher=Watcher(clock, Unreadable())))
        assert capsys.readouterr().out == ""

    in_room(tmp_path, story)
