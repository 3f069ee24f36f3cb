"""Spans, where somebody collects them: with the extra ``payonce[otel]`` and an address in the environment. Else nothing of
OpenTelemetry is imported, and every span here costs nothing."""

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Final, Literal, Protocol

from payonce.telemetry import get_logger

Kind = Literal["server", "client", "consumer"]
Facts = Mapping[str, str | int]

# opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables, read 2026-11
ADDRESSES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTER: Final = "OTEL_TRACES_EXPORTER"
DISABLED: Final = "OTEL_SDK_DISABLED"
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

log = get_logger("tracing")


class Span(Protocol):
    """A span that is open."""

    def set(self, name: str, value: str | int) -> None: ...
    def rename(self, name: str) -> None: ...
    def fail(self, kind: str) -> None:
        """It ended badly: as what, in a word or a status."""


class _Nothing:
    def set(self, name: str, value: str | int) -> None: ...
    def rename(self, name: str) -> None: ...
    def fail(self, kind: str) -> None: ...


NOTHING: Final[Span] = _Nothing()
_NO_SPAN: Final = nullcontext(NOTHING)


class Tracing:
    """As it is where nobody collects: ``otel.Tracer`` is the other one. No method raises."""

    on = False

    def span(
        self,
        kind: Kind,
        name: str,
        facts: Facts,
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        link: object = None,
    ) -> AbstractContextManager[Span]:
        """While the block lasts, below the span that is open. ``headers``: of a request that may name its caller's.
        ``link``: what ``here`` gave."""
        del kind, name, facts, headers, link
        return _NO_SPAN

    def here(self) -> object:
        """The span that is open, to link another one to it; None when none is."""
        return None

    def trace_id(self) -> str:
        """Of the span that is open, in hexadecimal; "" when none is."""
        return ""

    def close(self) -> None:
        """Send what was collected. It may take some seconds."""


NO_TRACING: Final = Tracing()


def wanted(env: Mapping[str, str]) -> bool:
    """The environment names somebody who collects."""
    if env.get(DISABLED, "").strip().lower() == "true":
        return False
    exporter = env.get(EXPORTER, "").strip().lower()
    if exporter:
        return exporter != "none"
    return any(env.get(name, "").strip() for name in ADDRESSES)


def open_tracing(env: Mapping[str, str]) -> Tracing:
    """As the environment says. Who wants spans without the extra is told so in the log, and gets none."""
    if not wanted(env):
        return NO_TRACING
    try:
        there = find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        log.warning("the environment asks for traces, and OpenTelemetry is not installed: pip install 'payonce[otel]'")
        return NO_TRACING
    from .otel import exporting

    return exporting(env.get(EXPORTER, "").strip().lower() or "otlp")


def trace_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The trace that a request says it belongs to (W3C Trace Context, ``traceparent``); "" when it says none."""
    for name, value in headers:
        if name == b"traceparent":
            found = _TRACEPARENT.fullmatch(value.decode("latin-1").strip())
            return found.group(1) if found else ""
    return ""
