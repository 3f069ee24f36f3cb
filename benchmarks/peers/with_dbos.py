"""FastAPI and DBOS, on SQLite or PostgreSQL. API and executor are one process.

Followed: DBOS, "Workflows" (the idempotency key is the workflow's id; start it in the background; ``reject`` a used id, so that
a first post needs no read), "Steps" (retries with backoff, so many that an outcome that is not known does not become an
error), "Transactions & Datasources" (the record is a transaction, stored with its checkpoint), the example "Widget store";
recovery of what was running comes with ``launch``. Coroutines, which need two thirds of the CPU of plain functions in threads
(measured: 8.1 to 12.7 ms a settled payment on SQLite, 9.9 to 17.2 ms on PostgreSQL).

Durable: SQLite with synchronous=FULL, in WAL (DBOS leaves the file's journal mode alone, WAL is faster); or PostgreSQL with
fsync and synchronous_commit. Four commits for each payment: the workflow, the step's result, the record, the end.

``PEER_WORKER=0`` measures accepting alone: the same row is written by enqueueing to a queue that this process does not serve
("Queues & Concurrency").
"""

import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import httpx2
from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSConfig, SetWorkflowID
from dbos import error as dbos_error
from fastapi import FastAPI, Header, HTTPException
from sqlalchemy import Column, Float, MetaData, String, Table, create_engine, make_url

from benchmarks.peers.order import DATABASE, KEY_MAX, TIMEOUT_S, WORKER, Charged, Order, Shown, charge_async

QUEUE: Final = "payments"
ATTEMPTS_MAX: Final = 1000
THREADS: Final = int(os.environ.get("PEER_THREADS", "32"))
SQLITE: Final = DATABASE.startswith("sqlite")
ISOLATION: Final = "SERIALIZABLE" if SQLITE else "READ COMMITTED"  # SQLite knows no other
# Two files: in one, a record that holds its only write lock would wait for a connection of those who wait for the lock.
SYSTEM: Final = DATABASE.replace("payments.db", "dbos.db")

payments = Table(
    "payments",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("status", String, nullable=False),
    Column("provider_ref", String),
    Column("last_error", String),
    Column("updated_at", Float, nullable=False),
)


def prepare() -> None:
    """Once, before the process starts."""
    for url in (make_url(DATABASE), make_url(SYSTEM)):
        if SQLITE and url.database:
            with sqlite3.connect(url.database) as file:
                file.execute("PRAGMA journal_mode=WAL")  # stays with the file; synchronous is FULL by default
    payments.metadata.create_all(create_engine(DATABASE))


# --- workflow -------------------------------------------------------------------------------------------------------------

config: DBOSConfig = {
    "name": "payments",
    "system_database_url": SYSTEM,
    "log_level": "WARNING",
    "max_executor_threads": THREADS,
    "use_listen_notify": not SQLITE,
}
DBOS(config=config)
own: dict[str, AsyncSQLAlchemyDatasource] = {}  # "payments", once the server starts
http = httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=THREADS))


@DBOS.step(retries_allowed=True, max_attempts=ATTEMPTS_MAX, interval_seconds=0.5, backoff_rate=1.5)
async def charge_step(payment_id: str, order: dict[str, Any]) -> dict[str, Any]:
    """Charge it; tried again by DBOS until there is an answer."""
    # A step does not know whether it ran before a crash, so it always has to look where the vendor needs it.
    end = await charge_async(http, payment_id, order["amount"], order["currency"], order["paymentMethod"], again=True)
    return {"status": end.status, "ref": end.ref, "error": end.error}


async def record(payment_id: str, end: Charged) -> float:
    """Write down how it ended; when."""
    now = time.time()
    values = {"id": payment_id, "status": end.status, "provider_ref": end.ref, "last_error": end.error, "updated_at": now}
    await own["payments"].sql_session().execute(payments.insert().values(values))
    return now


@DBOS.workflow()
async def settle(order: dict[str, Any]) -> dict[str, Any]:
    """Takes a payment from its acceptance to its end; resumes where it was after a crash."""
    payment_id = str(DBOS.workflow_id)
    end = await charge_step(payment_id, order)
    at = await own["payments"].run_tx_step_async({"isolation_level": ISOLATION}, record, payment_id, Charged(**end))
    return {**end, "at": at}


# --- API ------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """DBOS works for as long as the server does."""
    if not WORKER:
        DBOS.listen_queues([])
    own["payments"] = await AsyncSQLAlchemyDatasource.create(DATABASE.replace("sqlite:", "sqlite+aiosqlite:"))
    DBOS.launch()
    if not WORKER:
        await DBOS.register_queue_async(QUEUE)
    yield
    DBOS.destroy()


app = FastAPI(lifespan=lifespan)


async def shown(payment_id: str) -> Shown | None:
    """The workflow as a payment; None: there is none of that id."""
    known = await DBOS.get_workflow_status_async(payment_id)
    if known is None or known.input is None or known.created_at is None:
        return None
    order, end = known.input["args"][0], known.output or {}
    return Shown(
        **order,
        transactionId=payment_id,
        status=end.get("status", "PENDING"),
        providerRef=end.get("ref"),
        lastError=end.get("error"),
        createdAt=known.created_at / 1000,
        updatedAt=end.get("at", known.created_at / 1000),
    )


@app.post("/payments", status_code=202)
async def create(order: Order, idempotency_key: Annotated[str, Header(min_length=1, max_length=KEY_MAX)]) -> Shown:
    """Accept a payment, or answer with the one that has this key."""
    asked, now = order.model_dump(), time.time()
    try:
        with SetWorkflowID(idempotency_key, workflow_id_reuse_policy="reject"):
            if WORKER:
                await DBOS.start_workflow_async(settle, asked)
            else:
                await DBOS.enqueue_workflow_async(QUEUE, settle, asked)
    except dbos_error.DBOSWorkflowIDInUseError:
        known = await shown(idempotency_key)
        if known is None or Order(**known.model_dump(include=set(Order.model_fields))) != order:
            raise HTTPException(422, "this key was used for another payment") from None
        return known
    return Shown(**asked, transactionId=idempotency_key, createdAt=now, updatedAt=now)


@app.get("/payments/{payment_id}")
async def read(payment_id: str) -> Shown:
    """A payment as it is now."""
    if (known := await shown(payment_id)) is None:
        raise HTTPException(404, "not found")
    return known
