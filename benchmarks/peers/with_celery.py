"""The plain way: FastAPI, SQLAlchemy and Celery with Redis.

Followed: FastAPI, "SQL databases" (``def`` endpoints, which run in threads); SQLAlchemy 2.1, "SQLite dialect" and "psycopg";
Celery 5.7, "Tasks" (an idempotent task is acknowledged late; ``reject_on_worker_lost``; send the id, not the object; *publish
after the commit*: "Database transactions"), "Optimizing" (prefetch), "Using Redis" (visibility timeout: longer than the longest
countdown, else as short as one can), "Retrying" (with growing pauses, for ever: what is not known must not become FAILED).

Durable: SQLite in WAL with synchronous=FULL, or PostgreSQL with fsync and synchronous_commit; Redis with appendonly.

What the plain way lacks is an outbox: the payment is committed, then its task is published. A process that dies in between, or
a Redis that does not answer, leaves a payment that nobody charges. ``PEER_SWEEP=1`` adds what teams add after they met this: a
periodic task ("Periodic tasks") that publishes again what is pending for long. This is what is compared, with a Redis that
syncs every second, since then nothing hangs on Redis; the plain way, with appendfsync=always, is only tortured.
"""

import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import httpx2
from celery import Celery, Task
from celery.signals import worker_ready
from fastapi import FastAPI, Header, HTTPException
from sqlalchemy import JSON, BigInteger, Index, String, create_engine, event, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from benchmarks.peers.order import DATABASE, KEY_MAX, TIMEOUT_S, Order, Shown, Unanswered, charge

BROKER: Final = os.environ.get("PEER_BROKER", "redis://127.0.0.1:6379/0")
VISIBILITY_S: Final = int(os.environ.get("PEER_VISIBILITY_S", "3600"))  # Celery's default: an hour
SWEEP: Final = os.environ.get("PEER_SWEEP", "0") == "1"
SWEEP_S, SWEEP_AFTER_S, SWEEP_MAX = 5.0, 5.0, 1000
POOL: Final = int(os.environ.get("PEER_POOL", "20"))
PAUSE_MAX_S: Final = 4.0

# --- storage --------------------------------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    """The tables."""


class Payment(Base):
    """One row for each accepted payment."""

    __tablename__ = "payments"
    __table_args__ = (Index("pending", "status", "created_at"),) if SWEEP else ()

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(KEY_MAX), unique=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    payment_method: Mapped[str]
    client_id: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(10), default="PENDING")
    provider_ref: Mapped[str | None]
    last_error: Mapped[str | None]
    created_at: Mapped[float]
    updated_at: Mapped[float]

    def order(self) -> Order:
        """What was asked for."""
        return Order(
            amount=self.amount,
            currency=self.currency,
            paymentMethod=self.payment_method,
            clientId=self.client_id,
            metadata=self.details,
        )

    def shown(self) -> Shown:
        """As answers show it."""
        return Shown(
            **self.order().model_dump(),
            transactionId=self.id,
            status=self.status,
            providerRef=self.provider_ref,
            lastError=self.last_error,
            createdAt=self.created_at,
            updatedAt=self.updated_at,
        )


engine = create_engine(DATABASE, pool_size=POOL, max_overflow=0, pool_timeout=60)
SessionMaker = sessionmaker(engine, expire_on_commit=False)

if engine.dialect.name == "sqlite":

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")


def prepare() -> None:
    """Once, before the processes start."""
    Base.metadata.create_all(engine)


# --- worker ---------------------------------------------------------------------------------------------------------------

tasks = Celery("payments", broker=BROKER)
tasks.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ.get("PEER_PREFETCH", "4")),
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_S,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": min(VISIBILITY_S, 300),  # its default: held by a dead worker for so long, nothing is restored
    },
    visibility_timeout=VISIBILITY_S,
    beat_schedule={"sweep": {"task": f"{__name__}.sweep", "schedule": SWEEP_S}} if SWEEP else {},
)
http = httpx2.Client(timeout=TIMEOUT_S, trust_env=False)


@worker_ready.connect
def _ready(**_: object) -> None:
    print("ready", flush=True)


@tasks.task(bind=True, max_retries=None)
def settle(self: Task, payment_id: str) -> None:
    """Charge a payment and record how it ended. May run any number of times."""
    with SessionMaker() as opened:
        payment = opened.get(Payment, payment_id)
    if payment is None or payment.status != "PENDING":
        return
    again = bool(self.request.retries or self.request.delivery_info.get("redelivered") or SWEEP)
    try:
        end = charge(http, payment.id, payment.amount, payment.currency, payment.payment_method, again=again)
    except Unanswered as error:
        raise self.retry(exc=error, countdown=min(0.5 * 2**self.request.retries, PAUSE_MAX_S)) from error
    with SessionMaker.begin() as opened:
        values = {"status": end.status, "provider_ref": end.ref, "last_error": end.error, "updated_at": time.time()}
        opened.execute(update(Payment).where(Payment.id == payment_id, Payment.status == "PENDING").values(values))


@tasks.task
def sweep() -> None:
    """Publish again what is pending for long: ``PEER_SWEEP=1`` only."""
    with SessionMaker() as opened:
        old = Payment.status == "PENDING", Payment.created_at < time.time() - SWEEP_AFTER_S
        for payment_id in opened.scalars(select(Payment.id).where(*old).limit(SWEEP_MAX)):
            settle.delay(payment_id)


# --- API ------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The broker is connected before the first request, which would wait for it half a second, or be killed meanwhile."""
    with tasks.producer_or_acquire() as producer:
        producer.connection.ensure_connection(max_retries=3)
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/payments", status_code=202)
def create(order: Order, idempotency_key: Annotated[str, Header(min_length=1, max_length=KEY_MAX)]) -> Shown:
    """Accept a payment, or answer with the one that has this key."""
    now = time.time()
    payment = Payment(
        id=f"pay_{uuid.uuid4().hex}",
        key=idempotency_key,
        amount=order.amount,
        currency=order.currency,
        payment_method=order.paymentMethod,
        client_id=order.clientId,
        details=order.metadata,
        status="PENDING",
        created_at=now,
        updated_at=now,
    )
    try:
        with SessionMaker.begin() as opened:
            opened.add(payment)
    except IntegrityError:
        return known(idempotency_key, order)
    settle.delay(payment.id)
    return payment.shown()


def known(key: str, order: Order) -> Shown:
    """The payment that has this key already."""
    with SessionMaker() as opened:
        payment = opened.scalars(select(Payment).where(Payment.key == key)).one()
    if payment.order() != order:
        raise HTTPException(422, "this key was used for another payment")
    return payment.shown()


@app.get("/payments/{payment_id}")
def read(payment_id: str) -> Shown:
    """A payment as it is now."""
    with SessionMaker() as opened:
        payment = opened.get(Payment, payment_id)
    if payment is None:
        raise HTTPException(404, "not found")
    return payment.shown()
