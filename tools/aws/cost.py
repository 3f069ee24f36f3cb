"""``make aws-cost``: what payments take of AWS, counted, and what that costs. The tables of docs/aws.md and docs/scale.md.

Usage: python -m tools.aws.cost [--write]    print the tables; --write: put them into the pages, too

Counted are calls, capacity units by the sizes of the items, requests of the queue, invocations and our own log lines. What no
model of AWS can tell is assumed: how long a call to AWS and to a provider takes, and what Lambda and API Gateway write into
logs by themselves. Each assumption is a constant here and stands in the page.
"""

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .apps import CALL_S
from .cases import Case, counted, idle
from .ground import Usage
from .layouts import BOUND, bound_rows, layout_rows
from .prices import (
    ALARM,
    COMPUTE,
    HTTP,
    INVOCATION,
    LOGS,
    METRIC,
    QUEUE,
    READ,
    RECOVERY,
    REGIONS,
    SECRET,
    SENT_OUT,
    STORED,
    WRITE,
    prices_table,
)
from .scale import scale_tables

ROOT: Final = Path(__file__).resolve().parents[2]
MARKED: Final = re.compile(r"(<!-- made by make aws-cost: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

API_GB, WORKER_GB = 1.0, 0.5  # MemorySize of the template
AWS_CALL_S: Final = 0.010  # assumed: a call to DynamoDB or SQS from Lambda
OWN_S: Final = 0.020  # assumed: what an invocation takes beside its calls
PLATFORM_LOG: Final = 1_600  # bytes, assumed: what Lambda logs of an invocation, and our lines of it
ACCESS_LOG: Final = 400  # bytes, assumed: a line of the access log
OUT_BYTES: Final = 2_000  # assumed: an answer to a merchant, and a request to a provider
GB: Final = 1e9

MONTH_S: Final = 730 * 3600
SWEEPS: Final = 730 * 60  # a month
POLLS: Final = 2 * 5 * MONTH_S / 20  # each of two mappings keeps five long polls of 20 s open on a queue that is empty
ALARM_METRICS, METRICS = 16, 24  # of the template; the sweeper's and the functions'
SECRETS: Final = 4  # of three providers, and the signing key
DAILY: Final = 1_000


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return [re.sub(r"\s+\|", " |", line) for line in lines]


def number(n: float) -> str:
    """Short, and "." for nothing, so that what is there is seen."""
    return "." if not n else f"{n:,.0f}" if n == int(n) else f"{n:,.1f}"


def count_table(cases: Sequence[Case]) -> list[str]:
    head = ["payment", "HTTP requests", "worker runs", "deliver runs", "provider calls", "DynamoDB calls"]
    head += ["write units", "read units", "SQS by us", "SQS by the mapping"]
    rows = []
    for case in cases:
        u = case.used
        calls = sum(n for name, n in u.calls.items() if name.startswith("dynamodb "))
        columns = (
            u.http,
            u.workers,
            u.delivers,
            u.provider,
            calls,
            sum(u.writes.values()),
            sum(u.reads.values()),
            u.sent,
            u.polled,
        )
        rows.append([case.name, *map(number, columns)])
    return table(head, rows)


def calls_table(cases: Sequence[Case]) -> list[str]:
    names = sorted({name for case in cases for name in case.used.calls})
    return table(
        ["payment", *names], [[case.name, *(number(case.used.calls.get(name, 0)) for name in names)] for case in cases]
    )


def places_table(cases: Sequence[Case]) -> list[str]:
    writes = ("Transactions", "Transactions/due", "Transactions/list", "Transactions/notices", "Idempotency")
    reads = ("Transactions", "Transactions/list", "Idempotency", "Registry")
    head = ["payment", *(f"writes {name}" for name in writes), *(f"reads {name}" for name in reads)]
    rows = []
    for case in cases:
        u = case.used
        rows.append([case.name, *(number(u.writes.get(n, 0)) for n in writes), *(number(u.reads.get(n, 0)) for n in reads)])
    return table(head, rows)


# --- money --------------------------------------------------------------------------------------------------------------


def seconds(u: Usage) -> tuple[float, float]:
    """How long the API and the other functions run for it, by the assumptions; those have the same memory."""
    everything = sum(u.calls.values())
    api = u.http * OWN_S + u.in_api * AWS_CALL_S
    others = (u.workers + u.delivers) * OWN_S + (everything - u.in_api) * AWS_CALL_S
    return api, others + (u.provider + u.told) * CALL_S


def dollars(u: Usage, region: str, *, batch: int = 1) -> dict[str, float]:
    """For a million. ``batch``: how many payments one worker run advances at once; they wait for providers together."""
    api_s, worker_s = seconds(u)
    runs = (u.workers + u.delivers) / batch
    logged = (u.logged + u.http * (ACCESS_LOG + PLATFORM_LOG) + runs * PLATFORM_LOG) / GB * 1e6
    out = (u.http + u.provider + u.told) * OUT_BYTES / GB * 1e6
    return {
        "writes": sum(u.writes.values()) * WRITE.usd(region),
        "reads": sum(u.reads.values()) * READ.usd(region),
        "requests": u.http * (HTTP.usd(region) + INVOCATION.usd(region))
        + runs * INVOCATION.usd(region)
        + (u.sent + u.polled / batch) * QUEUE.usd(region),
        "compute": (api_s * API_GB + worker_s / batch * WORKER_GB) * COMPUTE.usd(region),
        "logs, data out": logged * LOGS.usd(region) + out * SENT_OUT.usd(region),
    }


def price_table(cases: Sequence[Case]) -> list[str]:
    parts = list(dollars(cases[0].used, REGIONS[0]))
    rows = []
    for case in cases:
        by_region = [dollars(case.used, region) for region in REGIONS]
        full = dollars(case.used, REGIONS[0], batch=10)
        cells = [f"{by_region[0][part]:.2f}" for part in parts]
        totals = [f"{sum(each.values()):.2f}" for each in (*by_region, full)]
        rows.append([case.name, *cells, *totals])
    return table(["payment", *parts, *(f"total {region}" for region in REGIONS), "in batches of ten"], rows)


def fixed_table(swept: Usage, plain: Case) -> list[str]:
    """US dollars a month: of a deployment at rest, and with ``DAILY`` payments a day."""
    sweep_s = OWN_S + sum(swept.calls.values()) * AWS_CALL_S
    rest = {
        "sweeps: reads": SWEEPS * sum(swept.reads.values()) / 1e6 * READ.east,
        "sweeps: invocations and compute": SWEEPS / 1e6 * (INVOCATION.east + sweep_s * WORKER_GB * COMPUTE.east),
        "sweeps: requests to SQS": SWEEPS * swept.sent / 1e6 * QUEUE.east,
        "polls of the empty queues": POLLS / 1e6 * QUEUE.east,
        "sweeps: logs": SWEEPS * (2 * swept.logged + PLATFORM_LOG) / GB * LOGS.east,
        f"{ALARM_METRICS} metrics with alarms": ALARM_METRICS * ALARM.east,
        f"{METRICS} custom metrics": METRICS * METRIC.east,
        "secrets: three providers, the signing key": SECRETS * SECRET.east,
    }
    monthly = DAILY * 365 / 12
    month = {
        f"{DAILY:,} payments a day": sum(dollars(plain.used, REGIONS[0]).values()) * monthly / 1e6,
        "their storage and recovery, each further month": monthly * plain.stored / GB * (STORED.east + RECOVERY.east),
    }
    free = ("sweeps: invocations and compute", "polls of the empty queues", "sweeps: requests to SQS", "sweeps: logs")
    covered = {name: "the free tier" if name in free else "ten are free" if "metrics" in name else "" for name in rest}
    rows = [[name, f"{usd:.2f}", covered[name]] for name, usd in rest.items()]
    rows.append(["**at rest**", f"**{sum(rest.values()):.2f}**", ""])
    rows += [[name, f"{usd:.2f}", ""] for name, usd in month.items()]
    rows.append([f"**with {DAILY:,} payments a day**", f"**{sum(rest.values()) + sum(month.values()):.2f}**", ""])
    return table(["what", "US dollars a month, us-east-1", "covered by"], rows)


# --- pages --------------------------------------------------------------------------------------------------------------


def made(cases: Sequence[Case], swept: Usage) -> dict[str, list[str]]:
    """Every table by its name; ``swept``: what a sweep takes when nothing is due."""
    plain = {case.name: case for case in cases}
    return {
        "counts": count_table(cases),
        "calls": calls_table(cases),
        "places": places_table(cases),
        "prices": prices_table(),
        "dollars": price_table(cases),
        "fixed": fixed_table(swept, cases[0]),
        "bound": table(["what", "why", "at least", "ours"], bound_rows(plain)),
        "layouts": table(["payment", "events", *BOUND], layout_rows(cases)),
        **{name: table(head, rows) for name, (head, rows) in scale_tables(plain, swept).items()},
    }


def pages() -> tuple[Path, ...]:
    return (ROOT / "docs" / "aws.md", ROOT / "docs" / "scale.md")


def filled(text: str, tables: dict[str, list[str]]) -> str:
    """A page with its tables. Raises KeyError for a mark that names none."""
    return MARKED.sub(lambda m: m[1] + "\n" + "\n".join(tables[m[2]]) + "\n\n" + m[3], text)


async def played() -> tuple[list[Case], Usage]:
    return await counted(), await idle()


def main(arguments: Sequence[str]) -> int:
    tables = made(*asyncio.run(played()))
    for name, lines in tables.items():
        sys.stdout.write(f"\n{name}\n\n" + "\n".join(lines) + "\n")
    if "--write" in arguments:
        for page in pages():
            page.write_text(filled(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
