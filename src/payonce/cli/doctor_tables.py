"""What ``payonce doctor`` looks at on AWS: the tables, what keeps them safe, the queues, and this machine's clock against
AWS's. What it may not look at it says; payonce itself needs no right to describe anything.

Facts: docs.aws.amazon.com, DynamoDB API reference (DescribeTable, DescribeContinuousBackups, DescribeTimeToLive), read 2026-11.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2

from payonce.awsapi import Aws, Denied, Done
from payonce.awsclient.surroundings import Ready, Surroundings
from payonce.core.errors import PayonceError
from payonce.storage import tables_of
from payonce.stores.dynamodb import CREATE
from payonce.wake.sqs import standing

from .doctor import CLOCK_OFF_S, Check
from .output import counted
from .reading import Books

TIMEOUT_S: Final = 5.0
REFUSED: Final = ("AccessDeniedException", "AccessDenied")
NO_TTL: Final = "Turn it off: no row of payonce may go by itself; a key that is forgotten could be charged again."


async def look_at_tables(book: Books) -> AsyncIterator[Check]:
    """See the module docstring."""
    if (aws := book.kept.aws) is None:
        return
    tables = tables_of(book.settings)
    for role in CREATE:
        async for each in _table(aws, role, tables.named(role)):
            yield each
    yield await asyncio.to_thread(_skew)
    yield await _queue(book, aws, "wake.queue_url", "queue")
    yield await _queue(book, aws, "wake.deliveries_url", "deliveries")
    yield await _queue(book, aws, "wake.dead_letter_url", "dead letters")


async def _table(aws: Aws, role: str, name: str) -> AsyncIterator[Check]:
    body, why = await _asked(aws, "DescribeTable", name)
    if body is None:
        yield Check(
            "table", "warn", f"{name} could not be looked at: {why}", "Allow dynamodb:DescribeTable on it, or look yourself."
        )
    else:
        yield _state(role, name, body["Table"])
    body, why = await _asked(aws, "DescribeContinuousBackups", name)
    says = (body or {}).get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
    if body is None:
        yield Check("backup", "warn", f"{name}: point-in-time recovery could not be looked at: {why}", "Look into the console.")
    elif says.get("PointInTimeRecoveryStatus") == "ENABLED":
        yield Check("backup", "ok", f"{name}: point-in-time recovery is on")
    else:
        yield Check("backup", "warn", f"{name}: point-in-time recovery is off", "Turn it on: deploy the template as it is.")
    body, why = await _asked(aws, "DescribeTimeToLive", name)
    ttl = (body or {}).get("TimeToLiveDescription", {})
    if body is None:
        yield Check("expiry", "warn", f"{name}: time to live could not be looked at: {why}", "Look into the console.")
    elif ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
        yield Check("expiry", "fail", f"{name}: rows go when their {ttl.get('AttributeName')} is over", NO_TTL)
    else:
        yield Check("expiry", "ok", f"{name}: no row goes by itself")


def _state(role: str, name: str, table: Mapping[str, Any]) -> Check:
    """The table and its indexes can be used, and are the ones that payonce needs."""
    wanted = {each["IndexName"] for each in CREATE[role].get("GlobalSecondaryIndexes", ())}  # type: ignore[index]
    there = {each["IndexName"]: each.get("IndexStatus", "ACTIVE") for each in table.get("GlobalSecondaryIndexes", ())}
    if table["TableStatus"] not in ("ACTIVE", "UPDATING"):
        return Check("table", "fail", f"{name} is {table['TableStatus']}", "Wait until it is ACTIVE, or deploy the template.")
    if missing := sorted(wanted - set(there)):
        return Check("table", "fail", f"{name} has no index {', '.join(missing)}", "Deploy the template of this version.")
    if idle := sorted(index for index in wanted if there[index] not in ("ACTIVE", "UPDATING")):
        return Check("table", "fail", f"{name}: the index {', '.join(idle)} is being made", "Wait until it is ACTIVE.")
    indexes = f" with its indexes {', '.join(sorted(wanted))}" if wanted else ""
    if table.get("DeletionProtectionEnabled"):
        return Check("table", "ok", f"{name} is active{indexes}, protected from deletion")
    return Check("table", "warn", f"{name} is active{indexes}, and may be deleted by mistake", "Turn deletion protection on.")


async def _asked(aws: Aws, operation: str, name: str) -> tuple[Mapping[str, Any] | None, str]:
    """The answer, or why there is none."""
    match await aws.call("dynamodb", operation, {"TableName": name}):
        case Done(body=body):
            return body, ""
        case Denied(code=code):
            return None, f"not allowed ({code})" if code in REFUSED else code
        case other:
            return None, getattr(other, "code", "") or getattr(other, "reason", "no answer")


def _skew() -> Check:
    """AWS refuses requests of a clock that is minutes wrong, and due times are shared by machines. Its date comes with any
    answer; nothing secret is sent for it."""
    ready = Surroundings(os.environ, None).ready("dynamodb")
    said = ""
    if isinstance(ready, Ready):
        at = ready.address
        with suppress(httpx2.HTTPError), httpx2.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            said = client.get(f"{'https' if at.https else 'http'}://{at.header}/").headers.get("date", "")
    try:
        off_s = time.time() - parsedate_to_datetime(said).timestamp()
    except ValueError:
        return Check("clock and AWS", "warn", "AWS did not say its time", "Compare the clock yourself.")
    if abs(off_s) > CLOCK_OFF_S:
        return Check("clock and AWS", "fail", f"off by {off_s:.0f} s from AWS", "Set the clock; run NTP.")
    return Check("clock and AWS", "ok", f"within {CLOCK_OFF_S:.0f} s of AWS")


async def _queue(book: Books, aws: Aws, key: str, name: str) -> Check:
    url = book.settings.text(key)
    if not url:
        says = "no dead-letter queue is named" if name == "dead letters" else "no queue: workers look into the store"
        return Check(name, "ok", says)
    try:
        there = await standing(aws, book.clock, url)
    except PayonceError as error:
        return Check(name, "fail", f"{url}: {error}", f"Correct {key}; meanwhile the sweeper finds what is due.")
    if name == "dead letters" and there.visible:
        says = f"{counted(there.visible, 'message')} that no worker could handle"
        return Check(name, "warn", says, "`payonce dlq list`; what they are about is done by the sweeper all the same.")
    return Check(name, "ok", f"{there.visible} waiting, {there.hidden} being handled, {there.delayed} delayed")
