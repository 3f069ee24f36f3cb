"""Spans over OpenTelemetry's SDK, with a provider of our own: who embeds payonce keeps theirs. Loaded by ``tracing`` only where
somebody collects."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from payonce import __version__
from payonce.telemetry import get_logger

from . import conventions as c
from .tracing import NO_TRACING, Facts, Kind, Span, Tracing

KINDS: Final = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT, "consumer": trace.SpanKind.CONSUMER}
CONTEXT: Final = (b"traceparent", b"tracestate")

log = get_logger("tracing")


class _Open:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: str | int) -> None:
        self._span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, kind: str) -> None:
        self._span.set_attribute(c.ERROR, kind)
        self._span.set_status(trace.StatusCode.ERROR)


class Tracer(Tracing):
    """See ``Tracing``. ``provider`` is the SDK's; ``close`` shuts it down."""

    on = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("payonce", __version__, schema_url=c.SCHEMA_URL)
        self._propagator = TraceContextTextMapPropagator()

    def span(
        self,
        kind: Kind,
        name: str,
        facts: Facts,
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        link: object = None,
    ) -> AbstractContextManager[Span]:
        """See ``Tracing.span``. An exception that passes through ends it as failed, by its kind: texts may quote a request."""
        given = {n.decode("latin-1"): v.decode("latin-1") for n, v in headers if n in CONTEXT}
        parent = self._propagator.extract(given) if given else None
        links = [trace.Link(link)] if isinstance(link, trace.SpanContext) and link.is_valid else []
        span = self._tracer.start_span(name, parent, KINDS[kind], dict(facts), links, record_exception=False)
        return _during(span)

    def here(self) -> object:
        context = trace.get_current_span().get_span_context()
        return context if context.is_valid else None

    def trace_id(self) -> str:
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""

    def close(self) -> None:
        self._provider.shutdown()


@contextmanager
def _during(span: trace.Span) -> Iterator[Span]:
    opened = _Open(span)
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield opened
        except BaseException as error:
            opened.fail(type(error).__qualname__)
            raise


def over(processor: SpanProcessor) -> Tracer:
    """A tracer whose spans go to this processor."""
    provider = TracerProvider(resource=Resource.create({"service.name": "payonce", "service.version": __version__}))
    provider.add_span_processor(processor)
    return Tracer(provider)


def exporting(exporter: str) -> Tracing:
    """A tracer that sends to where the environment says, from a thread of its own. Of the exporters that OTEL_TRACES_EXPORTER
    may name there are ``otlp`` (over HTTP) and ``console``."""
    chosen: SpanExporter
    try:
        if exporter == "console":
            chosen = ConsoleSpanExporter()
        elif exporter == "otlp":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            chosen = OTLPSpanExporter()
        else:
            log.warning("OTEL_TRACES_EXPORTER names an exporter that is not here: otlp and console are", named=exporter)
            return NO_TRACING
        return over(BatchSpanProcessor(chosen))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, payments are not to wait for a tracer
        log.warning("traces cannot be sent", error=type(error).__name__)
        return NO_TRACING
