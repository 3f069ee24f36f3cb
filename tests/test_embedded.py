"""The Python API: payonce.open and payonce.asgi_app, and the surface that is promised."""

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import payonce
from payonce import embedded
from payonce.config import load


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine counts."""
    monkeypatch.chdir(tmp_path)


def parameters(function: object) -> list[str]:
    """Names, kinds and defaults, without annotations."""
    shown = []
    for p in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        default = "" if p.default is p.empty else f"={p.default!r}"
        shown.append(("*" if p.kind is p.KEYWORD_ONLY else "") + p.name + default)
    return shown


def test_the_surface_is_what_was_promised() -> None:
    """Names and signatures of the public API; a change here is a change for every user."""
    assert payonce.__all__ == [
        "ConfigError",
        "InvariantViolated",
        "NewerSchema",
        "Payments",
        "PayonceError",
        "Refused",
        "Settings",
        "StoreUnavailable",
        "__version__",
        "asgi_app",
        "load",
        "open",
    ]
    assert all(hasattr(payonce, name) for name in payonce.__all__)
    assert parameters(payonce.open) == ["path", "*worker=True", "*settings=None"]
    assert parameters(payonce.asgi_app) == ["settings=None", "*worker=True"]
    assert {name: parameters(f) for name, f in vars(payonce.Payments).items() if not name.startswith("_")} == {
        "pay": [
            "self",
            "*amount",
            "*currency",
            "*idempotency_key=None",
            "*payment_method=None",
            "*provider=None",
            "*client_id=None",
            "*description=None",
            "*metadata=None",
            "*capture_method=None",
            "*return_url=None",
            "*action_expires_in=None",
        ],
        "capture": ["self", "payment_id", "amount=None", "*idempotency_key=None", "*note=None"],
        "void": ["self", "payment_id", "*idempotency_key=None", "*note=None"],
        "refund": ["self", "payment_id", "amount=None", "*idempotency_key=None", "*note=None"],
        "refunds": ["self", "payment_id"],
        "operation": ["self", "payment_id", "operation_id"],
        "get": ["self", "payment_id"],
        "list": ["self", "*status=None", "*provider=None", "*currency=None", "*client_id=None", "*limit=20", "*cursor=None"],
        "history": ["self", "payment_id"],
        "wait": ["self", "payment_id", "timeout_s=30.0", "*until=None"],
    }
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        payonce.nothing  # noqa: B018  asking is the test


def test_import_payonce_loads_nothing() -> None:
    """`import payonce` costs nothing: no library of ours or others is loaded before a name is used."""
    code = "import sys; before = set(sys.modules); import payonce; print(sorted(set(sys.modules) - before - {'payonce'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("payonce.", "msgspec", "starlette", "apsw", "httpx2", "asyncio"):
        assert name not in done.stdout


def test_pay_and_wait(tmp_path: Path) -> None:
    """Accepted, settled by the worker in this process, read back with its history."""

    async def go() -> None:
        async with payonce.open(tmp_path / "pay.db") as p:
            accepted = await p.pay(amount=1050, currency="eur", payment_method="tok_lost_response", idempotency_key="k-1")
            assert (accepted.status, accepted.currency) == ("PENDING", "EUR")
            ended = await p.wait(accepted.transaction_id, timeout_s=20)
            assert (ended.status, ended.captured) == ("SUCCESS", 1050)
            assert await p.get(accepted.transaction_id) == ended
            history = await p.history(accepted.transaction_id)
            assert [e.kind for e in history] == ["Accepted", "Planned", "Observed", "Planned", "Observed"]
            assert history[0].actor == "python"
            again = await p.pay(amount=1050, currency="INR", payment_method={"type": "card"}, idempotency_key="k-2")
            page = await p.list(limit=1)
            assert [v.transaction_id for v in page.data] == [again.transaction_id]
            rest = await p.list(limit=5, cursor=page.next_cursor)
            assert [v.transaction_id for v in rest.data] == [accepted.transaction_id]

    asyncio.run(go())
    assert {f.name for f in tmp_path.iterdir()} >= {"pay.db", "sandbox-ledger.db"}


def test_what_it_raises(tmp_path: Path) -> None:
    """The errors of the one tree: a reused key, a bad amount, an unknown id; and TimeoutError, which is no verdict."""

    async def go() -> None:
        async with payonce.open(tmp_path / "pay.db", worker=False) as p:
            first = await p.pay(amount=5, currency="JPY", idempotency_key="same")
            with pytest.raises(payonce.Refused) as reused:
                await p.pay(amount=6, currency="JPY", idempotency_key="same")
            assert (reused.value.code, [e.field for e in reused.value.errors]) == ("idempotency_key_reused", ["amount"])
            with pytest.raises(payonce.Refused, match="validation_failed"):
                await p.pay(amount=1.5, currency="JPY")  # type: ignore[arg-type]
            with pytest.raises(payonce.Refused, match="not_found"):
                await p.get("pay_00000000000000000000")
            with pytest.raises(TimeoutError):
                await p.wait(first.transaction_id, timeout_s=0.1)
            assert (await p.get(first.transaction_id)).status == "PENDING", "nobody works on it here"

    asyncio.run(go())


def test_hold_capture_and_refund(tmp_path: Path) -> None:
    """A hold is waited for, captured in part, and refunded; ``wait`` returns when nothing is under way."""

    async def go() -> None:
        async with payonce.open(tmp_path / "pay.db") as p:
            id = (await p.pay(amount=1050, currency="EUR", payment_method="tok_ok", capture_method="manual")).transaction_id
            held = await p.wait(id, timeout_s=20)
            assert (held.status, held.authorized, held.captured) == ("AUTHORIZED", 1050, 0)
            asked = await p.capture(id, 600, idempotency_key="c-1")
            assert (asked.kind, asked.status, asked.amount, asked.payment.status) == ("capture", "PENDING", 600, "AUTHORIZED")
            assert (await p.wait(id, timeout_s=20)).captured == 600
            again = await p.capture(id, 600, idempotency_key="c-1")
            assert (again.operation_id, again.status) == (asked.operation_id, "SUCCEEDED")
            assert await p.operation(id, asked.operation_id) == again
            given = await asyncio.gather(*(p.refund(id, 400) for _ in range(5)), return_exceptions=True)
            assert sorted(getattr(g, "code", "accepted") for g in given) == ["accepted"] + ["amount_exceeds_available"] * 4
            await p.refund(id)
            ended = await p.wait(id, timeout_s=20)
            assert (ended.status, ended.refunded) == ("SUCCESS", 600)
            assert [(r.amount, r.status) for r in await p.refunds(id)] == [(400, "SUCCEEDED"), (200, "SUCCEEDED")]
            for nowhere in (p.void(id), p.capture(id)):
                with pytest.raises(payonce.Refused, match="operation_not_possible"):
                    await nowhere
            for bad in (0, -1, 1.5, "5", True):
                with pytest.raises(payonce.Refused, match="validation_failed"):
                    await p.refund(id, bad)  # type: ignore[arg-type]
            for unknown in (p.refund("pay_00000000000000000000"), p.refunds("x"), p.operation(id, "op_x")):
                with pytest.raises(payonce.Refused, match="not_found"):
                    await unknown

    asyncio.run(go())


def test_a_customer_who_has_to_act_can_be_waited_for(tmp_path: Path) -> None:
    """``until`` hears where to send the customer; plain ``wait`` goes on until the end."""

    async def go() -> None:
        async with payonce.open(tmp_path / "pay.db") as p:
            id = (await p.pay(amount=5, currency="EUR", payment_method="tok_action_ok", action_expires_in=60)).transaction_id
            acting = await p.wait(id, timeout_s=20, until=lambda v: v.next_action is not None)
            assert acting.next_action is not None
            assert (acting.status, acting.next_action.type) == ("REQUIRES_ACTION", "redirect")
            assert acting.next_action.expires_at == acting.action_expires_at
            ended = await p.wait(id, timeout_s=20)
            assert (ended.status, ended.next_action) == ("SUCCESS", None)

    asyncio.run(go())


def test_without_a_key_every_call_is_a_payment_of_its_own(tmp_path: Path) -> None:
    """A fresh key is made, and shown in the answer."""

    async def go() -> set[str]:
        async with payonce.open(tmp_path / "pay.db", worker=False) as p:
            return {(await p.pay(amount=5, currency="JPY")).idempotency_key for _ in range(3)}

    assert len(asyncio.run(go())) == 3


def test_the_asgi_app_by_itself(tmp_path: Path) -> None:
    """With lifespan it opens at start-up, works on payments, and closes at shut-down."""
    settings = load({"store.data_dir": str(tmp_path / "data")})

    async def go() -> None:
        app = payonce.asgi_app(settings)
        sent: list[str] = []
        inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        inbox.put_nowait({"type": "lifespan.startup"})

        async def send(message: dict[str, str]) -> None:
            sent.append(message["type"])

        running = asyncio.create_task(app({"type": "lifespan"}, inbox.get, send))  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            while not sent:
                await asyncio.sleep(0)
            await settle_over(app, "")
            inbox.put_nowait({"type": "lifespan.shutdown"})
            await running
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(go())


def test_the_asgi_app_mounted_without_lifespan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mounted under a prefix it opens at the first request, once however many come at the same time."""
    settings = load({"store.data_dir": str(tmp_path / "data")})

    async def go() -> None:
        opened = []
        really_open = embedded.open_app
        monkeypatch.setattr(embedded, "open_app", lambda s, **more: opened.append(s) or really_open(s, **more))
        mounted = payonce.asgi_app(settings)
        outer = Starlette(routes=[Mount("/money", app=mounted)])
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=outer), base_url="http://shop.invalid") as client:
            answers = await asyncio.gather(*(client.get("/money/readyz") for _ in range(10)))
        assert {a.status_code for a in answers} == {200}
        assert opened == [settings]
        await settle_over(outer, "/money")
        await mounted.close()

    asyncio.run(go())


async def settle_over(app: object, prefix: str) -> None:
    """Post over ASGI and wait for SUCCESS."""
    transport = httpx2.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="http://shop.invalid") as client, asyncio.timeout(10):
        body = {"amount": 700, "currency": "INR", "paymentMethod": "tok_ok"}
        posted = await client.post(f"{prefix}/payments", json=body, headers={"Idempotency-Key": "asgi-1"})
        assert posted.status_code == 202
        assert posted.headers["location"] == f"{prefix}/payments/{posted.json()['transactionId']}"
        while (await client.get(posted.headers["location"])).json()["status"] != "SUCCESS":
            await asyncio.sleep(0.01)
