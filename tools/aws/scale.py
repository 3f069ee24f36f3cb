"""From one payment to many a second: what the counted figures ask of partitions, shards, functions and quotas."""

from collections.abc import Mapping
from typing import Final

from .apps import CALL_S
from .cases import Case
from .ground import Usage

RATES: Final = (10, 1_000, 50_000)  # payments a second
TYPICAL, HEAVY = "plain success: stripe", "plain success: razorpay, captured by us"
SHARD_WRITES: Final = 1_000  # write units a second of one partition key
PARTITION_READS: Final = 3_000
TABLE_UNITS: Final = 40_000  # default quota of a table, and of an index
SHARDS: Final = 16  # IndexShards of the template
BATCH, CONCURRENCY = 10, 20  # WorkerBatch and WorkerConcurrency of the template
SLOW_S: Final = 5.0
OWN_S, AWS_CALL_S = 0.020, 0.010  # as in cost.py

Table = tuple[list[str], list[list[str]]]


def _n(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.1f}"


def scale_tables(cases: Mapping[str, Case], swept: Usage) -> dict[str, Table]:
    """By name: head and rows."""
    return {
        "scale-units": _units(cases),
        "scale-shards": _shards(cases),
        "scale-functions": _functions(cases),
        "scale-requests": _requests(cases, swept),
    }


def _units(cases: Mapping[str, Case]) -> Table:
    rows = []
    for name in (TYPICAL, HEAVY):
        u = cases[name].used
        for rate in RATES:
            writes, reads = rate * u.writes["Transactions"], rate * u.reads["Transactions"]
            keys = rate * u.writes["Idempotency"]
            least = max(writes / SHARD_WRITES, reads / PARTITION_READS)
            quota = "raise" if max(writes, reads, keys) > TABLE_UNITS else "enough"
            rows.append([name, f"{rate:,}", _n(writes), _n(reads), _n(keys), _n(max(1, -(-least // 1))), quota])
    head = ["payment", "a second", "Transactions, writes", "Transactions, reads", "Idempotency, writes"]
    return [*head, "partitions of Transactions at least", "quota of 40,000"], rows


def _shards(cases: Mapping[str, Case]) -> Table:
    rows = []
    for name in (TYPICAL, HEAVY):
        u = cases[name].used
        for index in ("due", "list"):
            each = u.writes[f"Transactions/{index}"]
            carried = SHARD_WRITES / each
            needed = [str(-(-int(rate * each) // SHARD_WRITES)) for rate in RATES]
            rows.append([name, index, _n(each), _n(carried), _n(SHARDS * carried), *needed])
    head = ["payment", "index", "writes of a payment", "payments/s that one shard carries", f"that {SHARDS} carry"]
    return [*head, *(f"shards for {rate:,}/s" for rate in RATES)], rows


def busy_s(u: Usage, provider_s: float) -> tuple[float, float]:
    """Seconds in which a payment is in hand: of the API function, of a worker."""
    others = sum(u.calls.values()) - u.in_api
    return OWN_S + u.in_api * AWS_CALL_S, u.workers * OWN_S + others * AWS_CALL_S + u.provider * provider_s


def _functions(cases: Mapping[str, Case]) -> Table:
    u = cases[TYPICAL].used
    rows = []
    for rate in RATES:
        for provider_s in (CALL_S, SLOW_S):
            api_s, worker_s = busy_s(u, provider_s)
            rows.append(
                [f"{rate:,}", f"{provider_s:g} s", _n(rate * api_s), _n(rate * worker_s), _n(-(-rate * worker_s // BATCH))]
            )
    head = ["payments a second", "a provider answers in", "API executions at once"]
    return [*head, "payments in hand at once", f"worker executions at once, {BATCH} payments each"], rows


def _requests(cases: Mapping[str, Case], swept: Usage) -> Table:
    del swept
    rows = []
    for rate in RATES:
        u = cases[TYPICAL].used
        sqs = rate * (u.sent + u.polled / BATCH)
        rows.append([f"{rate:,}", _n(rate * u.http), _n(2 * rate), _n(sqs), _n(rate * u.provider)])
    head = ["payments a second", "requests/s, one POST each", "with a webhook each", "requests/s to SQS"]
    return [*head, "calls/s to providers"], rows
