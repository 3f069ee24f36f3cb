"""Each function may do what its code calls, and nothing else: the rights of the template, against what the code asks for when
it is run through everything that it does. That the rights suffice on the deployed stack, test_deployed.py shows, where the
emulator enforces them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx2
import pytest

from payonce.aws import api, sweeper
from payonce.aws.deliver import tell
from payonce.aws.sweeper import Sent, sweep
from payonce.aws.worker import Record, work
from payonce.bootstrap import App
from payonce.core.breaker import unanswered
from payonce.inbox import KEEP_US
from payonce.outbound.endpoints import ACTIVE_AFTER_US, Recovery
from payonce.testing.outbox_contract import delivery

from .keys import bearer, issued
from .room import LONG_MS, SetClock, WatchedAws, heard, pay, room
from .test_template import rights

Story = Callable[[App, WatchedAws, SetClock], Awaitable[None]]
LARGE = b'{"a":"' + b"x" * 8_000 + b'"}'  # of a webhook: its body does not fit into its row
URL = "https://127.0.0.1:9/hooks"  # nobody listens there
BIG = {"metadata": {f"k{n}": "v" * 400 for n in range(20)}}

# Rights that the code needs, and that are not reached below, each with its reason.
ELSEWHERE: Final = {
    "ApiRole": {
        "dynamodb:DeleteItem TransactionsTable": "two deliveries of a webhook at once, each with a body too large for its row",
        "logs:CreateLogStream ApiLogs": "Lambda's runtime writes the logs in the name of the role",
        "logs:PutLogEvents ApiLogs": "the same",
    },
    "WorkerRole": {
        "logs:CreateLogStream WorkerLogs": "Lambda's runtime writes the logs in the name of the role",
        "logs:PutLogEvents WorkerLogs": "the same",
        "sqs:ReceiveMessage DueQueue": "Lambda's mapping receives in the name of the role",
        "sqs:DeleteMessage DueQueue": "the same",
        "sqs:GetQueueAttributes DueQueue": "the same",
    },
    "DeliverRole": {
        "logs:CreateLogStream DeliverLogs": "Lambda's runtime writes the logs in the name of the role",
        "logs:PutLogEvents DeliverLogs": "the same",
        "sqs:ReceiveMessage DeliveriesQueue": "Lambda's mapping receives in the name of the role",
        "sqs:DeleteMessage DeliveriesQueue": "the same",
        "sqs:GetQueueAttributes DeliveriesQueue": "the same",
    },
    "SweeperRole": {
        "logs:CreateLogStream SweeperLogs": "Lambda's runtime writes the logs in the name of the role",
        "logs:PutLogEvents SweeperLogs": "the same",
    },
}


async def the_api(app: App, aws: WatchedAws, clock: SetClock) -> None:
    """Every route, well and badly; one payment with everything, and each operation."""
    key = await issued(app.store.registry, clock, app.engine.entropy)
    aws.rights.clear()
    transport = httpx2.ASGITransport(api._Here().of(app))
    async with httpx2.AsyncClient(transport=transport, base_url="https://api.invalid", headers=bearer(key)) as client:

        async def post(path: str, key: str, **body: object) -> str:
            answer = await client.post(path, json=body, headers={"Idempotency-Key": key})
            return str(answer.json().get("transactionId", ""))

        plain = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok", "provider": "mock"}
        id = await post("/payments", "a", **plain, **BIG, clientId="c")
        assert await post("/payments", "a", **plain, **BIG, clientId="c") == id
        await client.get("/payments")
        await client.get("/payments", params={"status": "PENDING", "clientId": "c"})
        await client.get("/payments", params={"attention": "true"})
        for part in ("", "/history", "/refunds", "/operations"):
            assert (await client.get(f"/payments/{id}{part}")).status_code == 200
        held = await post("/payments", "h", **plain, captureMethod="manual")
        asked = aws.rights.copy()
        await work(app, [Record("m1", "r1", id), Record("m2", "r2", held)], LONG_MS)
        aws.rights = asked  # that was the worker
        await post(f"/payments/{held}/capture", "c")
        await post(f"/payments/{id}/refunds", "r", amount=50)
        await post(f"/payments/{held}/void", "v")
        assert app.webhooks is not None
        for n in (1, 2):
            await app.webhooks.inbox.put(heard(app, n, LARGE))
            clock.at_us += 1_000_000
            await app.webhooks.inbox.put(heard(app, n, LARGE))
        await client.post("/webhooks/mock", content=b"{}")
        p = await app.store.get(id)
        assert p is not None
        await client.get(f"/return/{p.attempts[0].reference}")
        made = (await client.post("/webhook-endpoints", json={"url": URL})).json()["id"]
        await client.patch(f"/webhook-endpoints/{made}", json={"description": "d"})
        clock.at_us += 10_000_000
        await client.get("/events")
        for what in ("test", "recover", "rotate-secret", "disable", "enable"):
            given = {"since": "2027-01-01T00:00:00Z"} if what == "recover" else {}
            assert (await client.post(f"/webhook-endpoints/{made}/{what}", json=given)).status_code < 300, what
        (d,) = (await client.get(f"/webhook-endpoints/{made}/deliveries", params={"limit": "1"})).json()["data"]
        assert (await client.get(f"/webhook-deliveries/{d['id']}")).status_code == 200
        assert (await client.post(f"/webhook-deliveries/{d['id']}/replay")).status_code < 300
        await post(f"/payments/{id}/refunds", "told", amount=50)
        for path in ("/readyz", "/livez", "/docs", "/openapi.json"):
            await client.get(path)
        await app.wake.flush()


async def the_worker(app: App, aws: WatchedAws, clock: SetClock) -> None:
    """Payments of every luck to their ends, an outage that opens a breaker, operations, webhooks known and unknown."""
    tokens = ("tok_ok", "tok_500_then_ok", "tok_decline_then_ok", "tok_lost_response", "tok_wrong_amount", "tok_late_success")
    ids = [await pay(app, token, token) for token in tokens]
    assert app.webhooks is not None
    await app.webhooks.inbox.put(heard(app, 1, LARGE))
    assert app.endpoints is not None
    await app.endpoints.create(app.scope, URL, actor="t")
    aws.rights.clear()
    records = [Record(f"m{n}", f"r{n}", id) for n, id in enumerate(ids)]
    for _ in range(30):
        await work(app, [*records, Record("w", "w", f"wh_{1:020d}"), Record("x", "x", "no id")], LONG_MS)
        clock.at_us += 20_000_000
    for n in range(8):  # a vendor that is down: its breaker opens
        leave = await app.health.admit("mock")
        await app.health.learn("mock", unanswered("down", ours=False), leave)
        clock.at_us += n


async def the_sweeper(app: App, aws: WatchedAws, clock: SetClock) -> None:
    """Something due, something that needs eyes, and webhooks that are old."""
    assert app.webhooks is not None
    id = await pay(app, "tok_wrong_amount", "k")
    await app.webhooks.inbox.put(heard(app, 1, LARGE))
    for _ in range(20):
        await work(app, [Record("m", "r", id), Record("w", "w", f"wh_{1:020d}")], LONG_MS)
        clock.at_us += 6 * 3_600_000_000
    await pay(app, "tok_ok", "due")
    clock.at_us += KEEP_US
    await app.store.outbox.add(delivery(1))
    await app.store.outbox.add(delivery(2, state="delivered", due_us=None))
    aws.rights.clear()
    sweeper._HERE.tidy_at_us = None
    await sweep(app, Sent(), LONG_MS)


async def the_deliverer(app: App, aws: WatchedAws, clock: SetClock) -> None:
    """News of several payments, endpoints that take them and such that do not, until one is given up; a recovery."""
    assert app.endpoints is not None
    assert app.courier is not None
    made = [await app.endpoints.create(app.scope, url, actor="t") for url in (URL, f"{URL}/other")]
    clock.at_us += ACTIVE_AFTER_US
    ids_ = [await pay(app, "tok_ok", f"k{n}") for n in range(2)]
    await work(app, [Record("m1", "r1", ids_[0]), Record("m2", "r2", ids_[1])], LONG_MS)
    clock.at_us += 60_000_000
    await app.endpoints.recovering(app.scope, made[0].id, recovery(clock), actor="t", request_id="")
    aws.rights.clear()
    await tell(app, [Record("x", "x", "no id")], LONG_MS)
    for _ in range(120):
        batch, aws.told = aws.told[:10], aws.told[10:]
        asked = aws.rights.copy()
        names = [id for id, _ in batch] + [made[0].id, *(w.id for w in await app.courier.due(clock.at_us, 10))]
        aws.rights = asked  # that was the sweeper
        await tell(app, [Record(f"m{n}", f"r{n}", id) for n, id in enumerate(dict.fromkeys(names))], LONG_MS)
        clock.at_us += 3_600_000_000


def recovery(clock: SetClock) -> Recovery:
    return Recovery(since_us=0, until_us=clock.at_us, due_us=clock.at_us)


STORIES: dict[str, Story] = {
    "ApiRole": the_api,
    "WorkerRole": the_worker,
    "DeliverRole": the_deliverer,
    "SweeperRole": the_sweeper,
}


@pytest.mark.parametrize("role", STORIES)
def test_the_rights_are_what_the_code_asks_for(role: str, tmp_path: Path) -> None:
    """Everything that the function asks of AWS is allowed, and everything that is allowed is asked for, but for the few rights
    that are listed with their reason."""

    async def told() -> set[str]:
        clock = SetClock()
        async with room(tmp_path, clock) as (app, aws):
            aws.rights.clear()
            await STORIES[role](app, aws, clock)
            return aws.rights

    asked = asyncio.run(told())
    allowed = {f"{each.action} {each.at}" for each in rights(role)}
    assert asked - allowed == set(), "the function would be refused"
    assert allowed - asked - set(ELSEWHERE[role]) == set(), "nothing asks for it"
    assert set(ELSEWHERE[role]) <= allowed
    assert asked & set(ELSEWHERE[role]) == set(), "it is reached: drop it from the list"
