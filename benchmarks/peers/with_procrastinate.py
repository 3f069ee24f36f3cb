"""FastAPI and procrastinate on PostgreSQL: payment and job are one transaction, which is what this library is good at.

Followed: procrastinate 3.10, "Using an external database connection" (the transactional outbox), "Execute multiple jobs at the
same time" (asynchronous tasks, ``concurrency``), "Define a retry strategy" (for ever, with growing pauses), "Retry stalled
jobs" (a periodic task; without it a worker that was killed keeps its jobs for ever), "Delete finished jobs" (the table stays
small); psycopg, "Connection pools" and ``ON CONFLICT`` for the key.

Durable: PostgreSQL with fsync and synchronous_commit. One commit to accept, three to settle (fetch, record, finish).

The page on stalled jobs looks every ten minutes for workers that were silent for 30 s; ``PEER_STALLED_S`` shortens both,
since a benchmark has an end.
"""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import httpx2
import psycopg
from fastapi import FastAPI, Header, HTTPException
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.jobs import Job
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.order import DATABASE, KEY_MAX, TIMEOUT_S, Order, Shown, charge_async

CONCURRENCY: Final = int(os.environ.get("PEER_CONCURRENCY", "30"))
STALLED_S: Final = int(os.environ.get("PEER_STALLED_S", "30"))
PAUSE_MAX_S: Final = 4.0
TABLE: Final = """
CREATE TABLE payments (
  id text PRIMARY KEY, key text NOT NULL UNIQUE, amount bigint NOT NULL, currency text NOT NULL, payment_method text NOT NULL,
  client_id text, metadata jsonb NOT NULL, status text NOT NULL, provider_ref text, last_error text,
  created_at double precision NOT NULL, updated_at double precision NOT NULL
)"""
INSERT: Final = """
INSERT INTO payments VALUES (%s, %s, %s, %s, %s, %s, %s, 'PENDING', NULL, NULL, %s, %s)
ON CONFLICT (key) DO NOTHING RETURNING *"""
END: Final = """
UPDATE payments SET status = %s, provider_ref = %s, last_error = %s, updated_at = %s WHERE id = %s AND status = 'PENDING'"""

queue = App(connector=PsycopgConnector(conninfo=DATABASE, min_size=4, max_size=20))
pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
    DATABASE, min_size=4, max_size=20, open=False, timeout=60, kwargs={"row_factory": dict_row, "autocommit": True}
)
http = httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False)


def prepare() -> None:
    """Once, before the processes start."""
    with psycopg.connect(DATABASE) as connection:
        connection.execute(TABLE)
    with queue.open():
        queue.schema_manager.apply_schema()


# --- worker ---------------------------------------------------------------------------------------------------------------


class ForEver(BaseRetryStrategy):
    """What is not known must not become FAILED."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        """After half a second, a second, two, four, four ..."""
        del exception
        pause_s = min(0.5 * 2**job.attempts, PAUSE_MAX_S)
        return RetryDecision(retry_in={"milliseconds": int(pause_s * 1000)})


@queue.task(name="settle", retry=ForEver(), pass_context=True)
async def settle(context: JobContext, payment_id: str) -> None:
    """Charge a payment and record how it ended. May run any number of times."""
    async with pool.connection() as connection:
        payment = await (await connection.execute("SELECT * FROM payments WHERE id = %s", [payment_id])).fetchone()
    if payment is None or payment["status"] != "PENDING":
        return
    what = payment["amount"], payment["currency"], payment["payment_method"]
    end = await charge_async(http, payment_id, *what, again=context.job.attempts > 0)
    async with pool.connection() as connection:
        await connection.execute(END, [end.status, end.ref, end.error, time.time(), payment_id])


@queue.periodic(cron=f"* * * * * */{max(STALLED_S // 2, 1)}")
@queue.task(name="retry_stalled_jobs", queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """What a worker that died had in hand goes back to the queue."""
    del context, timestamp
    for job in await queue.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_S):
        await queue.job_manager.retry_job(job)


async def work() -> None:
    """The worker: ``python -m benchmarks.peers.with_procrastinate``."""
    async with queue.open_async(), pool:
        print("ready", flush=True)
        await queue.run_worker_async(
            concurrency=CONCURRENCY,
            delete_jobs="successful",
            update_heartbeat_interval=STALLED_S / 3,
            stalled_worker_timeout=STALLED_S,
        )


# --- API ------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Connections are open for as long as the server runs."""
    async with queue.open_async(), pool:
        yield


app = FastAPI(lifespan=lifespan)


def order_of(row: dict[str, Any]) -> Order:
    """What was asked for."""
    return Order(
        amount=row["amount"],
        currency=row["currency"],
        paymentMethod=row["payment_method"],
        clientId=row["client_id"],
        metadata=row["metadata"],
    )


def shown(row: dict[str, Any]) -> Shown:
    """A row as answers show it."""
    return Shown(
        **order_of(row).model_dump(),
        transactionId=row["id"],
        status=row["status"],
        providerRef=row["provider_ref"],
        lastError=row["last_error"],
        createdAt=row["created_at"],
        updatedAt=row["updated_at"],
    )


@app.post("/payments", status_code=202)
async def create(order: Order, idempotency_key: Annotated[str, Header(min_length=1, max_length=KEY_MAX)]) -> Shown:
    """Accept a payment, or answer with the one that has this key."""
    payment_id, now = f"pay_{uuid.uuid4().hex}", time.time()
    what = order.amount, order.currency, order.paymentMethod, order.clientId, Jsonb(order.metadata)
    async with pool.connection() as connection, connection.transaction():
        row = await (await connection.execute(INSERT, [payment_id, idempotency_key, *what, now, now])).fetchone()
        if row is not None:
            await settle.configure(connection=connection).defer_async(payment_id=payment_id)
            new = True
        else:
            row = await (await connection.execute("SELECT * FROM payments WHERE key = %s", [idempotency_key])).fetchone()
            new = False
    if row is None or (not new and order_of(row) != order):
        raise HTTPException(422, "this key was used for another payment")
    return shown(row)


@app.get("/payments/{payment_id}")
async def read(payment_id: str) -> Shown:
    """A payment as it is now."""
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT * FROM payments WHERE id = %s", [payment_id])).fetchone()
    if row is None:
        raise HTTPException(404, "not found")
    return shown(row)


if __name__ == "__main__":
    asyncio.run(work())
