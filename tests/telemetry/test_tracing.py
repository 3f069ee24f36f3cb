"""Spans: by OpenTelemetry's conventions where somebody collects them, and nothing at all where nobody does."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import db_attributes, error_attributes, http_attributes, server_attributes, url_attributes
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode

from payonce.telemetry import conventions as c
from payonce.telemetry.otel import Tracer, over
from payonce.telemetry.tracing import NO_TRACING, open_tracing, wanted
from payonce.telemetry.watching import Watcher
from tests.api.service import GOOD, BrokenStore, Service
from tests.telemetry.watched import watched

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CHILD = """
import asyncio, json, sys
from payonce.config import load
from payonce.bootstrap import open_app

async def main():
    async with open_app(load({"store.data_dir": sys.argv[1]}, {}), env=json.loads(sys.argv[2])) as app:
        return app.watcher.tracing.on

print(json.dumps([asyncio.run(main()), sorted(name for name in sys.modules if name.startswith("opentelemetry"))]))
"""


def collected() -> tuple[Tracer, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return over(SimpleSpanProcessor(exporter)), exporter


def kind_of(spans: tuple[ReadableSpan, ...], kind: SpanKind, name: str = "") -> list[ReadableSpan]:
    return [span for span in spans if span.kind == kind and span.name.startswith(name)]


def facts(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def test_one_payment_from_request_to_provider() -> None:
    """The request's span continues the caller's trace and holds its write; what the worker does is a span of its own, linked to
    it, which holds the call and the writes around it."""
    tracer, exporter = collected()

    async def check(s: Service, watcher: Watcher) -> None:
        answer = await s.post(GOOD, headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "request-id": "checkout-1"})
        id = answer.json()["transactionId"]
        with watcher.working(id):
            await s.engine.advance(id)
        spans = exporter.get_finished_spans()
        (server,) = kind_of(spans, SpanKind.SERVER)
        assert server.context is not None
        assert server.parent is not None
        assert (server.name, server.context.trace_id, server.parent.span_id) == (
            "POST /payments",
            int(TRACE, 16),
            int(PARENT, 16),
        )
        assert facts(server) == {
            "http.request.method": "POST",
            "http.route": "/payments",
            "http.response.status_code": 202,
            "url.scheme": "http",
            "server.address": "payonce.test",
            "payonce.request.id": "checkout-1",
            **({"server.port": facts(server)["server.port"]} if "server.port" in facts(server) else {}),
        }
        (process,) = kind_of(spans, SpanKind.CONSUMER)
        assert process.context is not None
        assert (process.name, process.parent) == ("process payments", None)
        assert [link.context for link in process.links] == [server.context]
        assert facts(process)["messaging.message.id"] == facts(process)["payonce.payment.id"] == id
        (call,) = kind_of(spans, SpanKind.CLIENT, "POST")
        assert call.parent is not None
        assert call.parent.span_id == process.context.span_id
        said = facts(call)
        assert (said["payonce.payment.id"], said["payonce.provider"], said["payonce.step"]) == (id, "tiny", "fire")
        assert (said["http.request.method"], said["http.response.status_code"]) == ("POST", 200)
        assert (said["server.address"], said["server.port"]) == ("tiny.invalid", 443)
        writes = kind_of(spans, SpanKind.CLIENT, "commit payments")
        assert [w.parent.span_id for w in writes if w.parent] == [server.context.span_id, *[process.context.span_id] * 2]
        for write in writes:
            assert facts(write) == {
                "db.system.name": "sqlite",
                "db.operation.name": "commit",
                "db.collection.name": "payments",
                "db.query.summary": "commit payments",
                "payonce.payment.id": id,
            }

    watched(check, tracing=tracer)


def test_what_fails_is_marked() -> None:
    """A 5xx is an error of the server's span, under its status; a 4xx is the caller's. The write that raised is one, by its
    kind, and no text of it is anywhere."""
    tracer, exporter = collected()

    async def check(s: Service, _watcher: Watcher) -> None:
        await s.post()
        await s.get("/nowhere/pay_1")
        spans = exporter.get_finished_spans()
        broken, lost = kind_of(spans, SpanKind.SERVER)
        assert (broken.status.status_code, facts(broken)["error.type"]) == (StatusCode.ERROR, "500")
        assert (lost.status.status_code, lost.name) == (StatusCode.UNSET, "GET")
        assert "http.route" not in facts(lost)
        assert "4242" not in json.dumps([json.loads(span.to_json()) for span in spans])

    watched(check, tracing=tracer, store=BrokenStore())


def test_a_lost_call_is_marked() -> None:
    """No answer: the span says so in a word."""
    from tests.telemetry.test_watching import Away

    tracer, exporter = collected()

    async def check(s: Service, _watcher: Watcher) -> None:
        await s.settled()
        calls = kind_of(exporter.get_finished_spans(), SpanKind.CLIENT, "POST")
        assert [facts(call)["error.type"] for call in calls] == ["lost"] * len(calls)
        assert calls

    watched(check, tracing=tracer, transport=Away(sent=True))


def test_a_trace_that_is_no_trace_begins_a_new_one() -> None:
    """A malformed traceparent is no parent."""
    tracer, exporter = collected()

    async def check(s: Service, _watcher: Watcher) -> None:
        await s.client.get("/livez", headers={"traceparent": "00-nonsense"})
        (server,) = exporter.get_finished_spans()
        assert server.parent is None

    watched(check, tracing=tracer)


def test_our_names_are_those_of_the_conventions() -> None:
    """Each name in our one module equals that of the package of the conventions, in the version that is named."""
    assert Schemas.V1_44_0.value == c.SCHEMA_URL
    assert {
        name: name
        for key, name in vars(c).items()
        if key.isupper() and key != "SCHEMA_URL" and not str(name).startswith("payonce.")
    } == {
        c.METHOD: http_attributes.HTTP_REQUEST_METHOD,
        c.STATUS: http_attributes.HTTP_RESPONSE_STATUS_CODE,
        c.ROUTE: http_attributes.HTTP_ROUTE,
        c.SCHEME: url_attributes.URL_SCHEME,
        c.URL: url_attributes.URL_FULL,
        c.SERVER: server_attributes.SERVER_ADDRESS,
        c.PORT: server_attributes.SERVER_PORT,
        c.ERROR: error_attributes.ERROR_TYPE,
        c.DB_SYSTEM: db_attributes.DB_SYSTEM_NAME,
        c.DB_OPERATION: db_attributes.DB_OPERATION_NAME,
        c.DB_COLLECTION: db_attributes.DB_COLLECTION_NAME,
        c.DB_SUMMARY: db_attributes.DB_QUERY_SUMMARY,
        c.QUEUE_SYSTEM: messaging_attributes.MESSAGING_SYSTEM,
        c.QUEUE_DESTINATION: messaging_attributes.MESSAGING_DESTINATION_NAME,
        c.QUEUE_OPERATION: messaging_attributes.MESSAGING_OPERATION_NAME,
        c.QUEUE_OPERATION_TYPE: messaging_attributes.MESSAGING_OPERATION_TYPE,
        c.QUEUE_MESSAGE: messaging_attributes.MESSAGING_MESSAGE_ID,
    }


@pytest.mark.parametrize(
    ("env", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        ({"OTEL_SERVICE_NAME": "shop"}, False),
    ],
)
def test_the_environment_decides(env: dict[str, str], on: bool) -> None:
    """An address or an exporter turns it on, none or disabled turns it off."""
    assert wanted(env) is on


def test_an_exporter_that_is_not_here_is_no_reason_to_stop() -> None:
    """Whoever names one gets no spans, and payments as ever."""
    assert open_tracing({"OTEL_TRACES_EXPORTER": "zipkin"}) is NO_TRACING


@pytest.mark.parametrize("on", [False, True])
def test_nothing_is_imported_where_nobody_collects(on: bool, tmp_path: Path) -> None:
    """An open app has no module of OpenTelemetry unless the environment names who collects."""
    env = {"OTEL_TRACES_EXPORTER": "console"} if on else {}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), json.dumps(env)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    traced, modules = json.loads(done.stdout.splitlines()[-1])
    assert (traced, bool(modules)) == (on, on)


def test_asked_for_and_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the extra; payments go on without spans."""
    monkeypatch.setattr("payonce.telemetry.tracing.find_spec", lambda _name: None)
    assert open_tracing({"OTEL_TRACES_EXPORTER": "otlp"}) is NO_TRACING
    assert "payonce[otel]" in caplog.text
