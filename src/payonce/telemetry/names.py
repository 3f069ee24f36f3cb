"""Every metric: one table, from which come what Prometheus reads at /metrics, what CloudWatch reads in the functions' logs, and
what the alert rules may name.

Names and units after Prometheus' own advice (prometheus.io/docs/practices/naming, read 2026-11): base units, ``_total`` for
what only grows. A label never carries an id: each has few values, and what is not among them is ``other``.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from payonce.core.errors import DECLINES

Kind = Literal["counter", "histogram", "gauge"]

OTHER: Final = "other"
NOBODY: Final = "none"  # the provider of a payment that was never sent to one
UNMATCHED: Final = "unmatched"  # the route of a path that is not there
DECLINE_CODES: Final = frozenset(DECLINES)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CALL_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)
SETTLE_BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)


class Metric(Struct, frozen=True, kw_only=True):
    """``bounds`` are those of a histogram, in seconds."""

    name: str
    says: str
    labels: tuple[str, ...] = ()
    kind: Kind = "counter"
    bounds: tuple[float, ...] = ()


ACCEPTED: Final = Metric(
    name="payonce_payments_accepted_total",
    says="Payments that were durably accepted.",
    labels=("currency", "mode"),
)
SETTLED: Final = Metric(
    name="payonce_payments_settled_total",
    says="Payments that reached an end for the first time, and those that became IN_DOUBT.",
    labels=("status", "provider", "currency"),
)
SETTLE_S: Final = Metric(
    name="payonce_settle_duration_seconds",
    says="From the acceptance of a payment to its first end.",
    kind="histogram",
    bounds=SETTLE_BOUNDS,
)
CALLS: Final = Metric(
    name="payonce_provider_calls_total",
    says="Answered calls to providers by what the answer means; Unknown, Unreadable, NotSent and Rejected are the errors.",
    labels=("provider", "kind", "outcome"),
)
CALL_S: Final = Metric(
    name="payonce_provider_call_duration_seconds",
    says="One HTTP exchange with a provider.",
    labels=("provider", "kind"),
    kind="histogram",
    bounds=CALL_BOUNDS,
)
EXCHANGES: Final = Metric(
    name="payonce_provider_http_total",
    says="HTTP exchanges with providers: their status class, or lost (sent) and not sent (unsent).",
    labels=("provider", "host", "answer"),
)
DECLINED: Final = Metric(
    name="payonce_declines_total",
    says="Attempts that a provider declined, by normalised code.",
    labels=("provider", "code"),
)
REQUESTS: Final = Metric(
    name="payonce_http_requests_total",
    says="Requests to the API, by the template of their path.",
    labels=("route", "method", "status"),
)
REQUEST_S: Final = Metric(
    name="payonce_http_request_duration_seconds",
    says="From a request's head to the end of its answer.",
    labels=("route", "method"),
    kind="histogram",
    bounds=REQUEST_BOUNDS,
)
HEARD: Final = Metric(
    name="payonce_webhooks_received_total",
    says="Webhooks of providers: stored, repeated, refused; and matched, parked or unmatched once they were looked up.",
    labels=("provider", "result"),
)
DELIVERIES: Final = Metric(
    name="payonce_webhook_deliveries_total",
    says="Tries to deliver a webhook to a merchant: delivered, again (tried later), exhausted or gone (given up).",
    labels=("result",),
)
FAILURES: Final = Metric(
    name="payonce_telemetry_failures_total",
    says="Times that watching itself failed: some figures here are too low, and nothing else is wrong.",
)

# What is asked at a scrape. Those with a name for CloudWatch are the sweeper's there.
OVERDUE: Final = Metric(
    name="payonce_payments_due_overdue",
    says="Payments that have waited for a worker for more than two seconds, counted up to 1000.",
    kind="gauge",
)
OLDEST: Final = Metric(
    name="payonce_oldest_overdue_seconds",
    says="How long that payment waits for a worker which waits longest; 0 when none does.",
    kind="gauge",
)
IN_DOUBT: Final = Metric(name="payonce_payments_in_doubt", says="Payments that are IN_DOUBT.", kind="gauge")
ATTENTION: Final = Metric(name="payonce_payments_attention", says="Payments that need a person's eyes.", kind="gauge")
BREAKER: Final = Metric(
    name="payonce_breaker_open",
    says="1 while the circuit breaker of the account is open.",
    labels=("provider",),
    kind="gauge",
)
DRAINED: Final = Metric(
    name="payonce_provider_drained", says="1 while the account is drained.", labels=("provider",), kind="gauge"
)
FLYING: Final = Metric(
    name="payonce_calls_in_flight", says="Calls of this process under way.", labels=("provider",), kind="gauge"
)
HELD: Final = Metric(name="payonce_hold", says="1 while nothing is fired because of a hold after a restore.", kind="gauge")
TROUBLE: Final = Metric(
    name="payonce_store_trouble", says="1 while the store cannot be read, or does not take writes.", kind="gauge"
)
BUILD: Final = Metric(name="payonce_build_info", says="Always 1: which version runs.", labels=("version",), kind="gauge")
STARTED: Final = Metric(name="payonce_start_time_seconds", says="When this process began, in seconds since 1970.", kind="gauge")

COUNTED: Final = (
    *(ACCEPTED, SETTLED, SETTLE_S, CALLS, CALL_S, EXCHANGES, DECLINED),
    *(REQUESTS, REQUEST_S, HEARD, DELIVERIES, FAILURES),
)
ASKED: Final = (OVERDUE, OLDEST, IN_DOUBT, ATTENTION, BREAKER, DRAINED, FLYING, HELD, TROUBLE, BUILD, STARTED)
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in (*COUNTED, *ASKED)}

ERRORS: Final = frozenset({"Unknown", "Unreadable", "NotSent", "Rejected"})  # outcomes of calls that say nothing of the money


class Cloud(Struct, frozen=True, kw_only=True):
    """A metric of the namespace ``payonce`` in CloudWatch: the sum of the series whose ``label`` has one of ``values``, of all
    where no label is named; of a histogram the durations."""

    name: str
    metric: Metric
    label: str = ""
    values: frozenset[str] = frozenset()


# What the functions tell after each invocation that counted something. Each costs money there, so there are few.
CLOUD: Final = (
    Cloud(name="PaymentsAccepted", metric=ACCEPTED),
    Cloud(name="PaymentsSettled", metric=SETTLED),
    Cloud(name="PaymentsFailed", metric=SETTLED, label="status", values=frozenset({"FAILED"})),
    Cloud(name="PaymentsInDoubt", metric=SETTLED, label="status", values=frozenset({"IN_DOUBT"})),
    Cloud(name="SettleDuration", metric=SETTLE_S),
    Cloud(name="ProviderCalls", metric=CALLS),
    Cloud(name="ProviderErrors", metric=CALLS, label="outcome", values=ERRORS),
    Cloud(name="ProviderCallDuration", metric=CALL_S),
    Cloud(name="Declines", metric=DECLINED),
    Cloud(name="Requests", metric=REQUESTS),
    Cloud(name="ServerErrors", metric=REQUESTS, label="status", values=frozenset({"500", "502", "503", "504", "none"})),
    Cloud(name="RequestDuration", metric=REQUEST_S),
    Cloud(name="WebhooksReceived", metric=HEARD, label="result", values=frozenset({"stored", "repeated", "refused"})),
    Cloud(name="WebhooksUnmatched", metric=HEARD, label="result", values=frozenset({"unmatched"})),
    Cloud(name="WebhookDeliveries", metric=DELIVERIES),
    Cloud(name="WebhookDeliveriesFailed", metric=DELIVERIES, label="result", values=frozenset({"exhausted", "gone"})),
)
# What the sweeper tells each minute, and what says the same at /metrics; None: there is no such thing without queues.
SWEPT: Final[Mapping[str, Metric | None]] = {
    "OldestDueSeconds": OLDEST,
    "Due": OVERDUE,
    "NeedEyes": ATTENTION,
    "BreakersOpen": BREAKER,
    "OldestUntoldSeconds": None,
    "Sent": None,
    "Queued": None,
    "DeadLetters": None,
}


def exported(metric: Metric) -> tuple[str, ...]:
    """The names of its series, as rules and charts may use them."""
    if metric.kind != "histogram":
        return (metric.name,)
    return tuple(f"{metric.name}{end}" for end in ("_bucket", "_sum", "_count"))
