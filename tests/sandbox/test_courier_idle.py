"""The courier costs next to nothing while nothing happens, and misses nothing for it."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.bootstrap import SystemClock
from payonce.sandbox import courier as courier_module
from payonce.sandbox.courier import beside, delivering
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.outbox import announce
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.testing.provider_live import over_socket

from .test_courier import MINE, At, Receiver, S, run


def test_while_nothing_happens_nothing_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle ledger is not locked; a change by this process or another one, what is due, and time are looked at."""
    looks, books = [0], Sandbox.books

    def counted(sandbox: Sandbox) -> Any:
        looks[0] += 1
        return books(sandbox)

    monkeypatch.setattr(Sandbox, "books", counted)

    def looked(at: At) -> int:
        before = looks[0]
        for _ in range(5):
            at.courier.start_due()
        return looks[0] - before

    async def use(at: At) -> None:
        charge = at.sandbox.ledger.add("mock", "charge", "r", {}, at_us=0)
        assert (looked(at), looked(at)) == (1, 0)
        at.clock.at_us += courier_module.UNLOOKED_US
        assert (looked(at), looked(at)) == (1, 0)
        other = Ledger(tmp_path / "ledger.db")
        with other.transaction():
            other.later(charge, at.clock.at_us + 3 * S)  # nobody's: its vendor is not here
            other._db.execute("UPDATE objects SET provider = 'gone'")
        assert (looked(at), looked(at)) == (1, 0)
        at.clock.at_us += 2 * S
        assert (looked(at), at.courier.start_due()) == (0, 1.0)
        at.clock.at_us += S
        assert (looked(at), looked(at)) == (1, 0)
        with other.transaction():
            announce(other, "mock", "evt_a", b"a", at.clock.at_us)
        await at.courier.send_due()
        looked(at)
        assert (at.receiver.bodies, looked(at)) == (["a"], 0)
        other.close()

    run(use, path=tmp_path / "ledger.db")


def test_what_its_own_sandbox_announces_goes_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is woken, and need not wait for its next look."""
    monkeypatch.setattr(courier_module, "POLL_S", 10**6)

    async def main() -> None:
        receiver, clock = Receiver(), SystemClock()
        sandbox = sandbox_app(":memory:", clock, MINE)
        async with over_socket(receiver) as url, delivering(sandbox, clock), over_socket(sandbox) as vendor:
            beside(sandbox.ledger, url, {"first": "mock"})
            async with httpx2.AsyncClient(trust_env=False) as client:
                for n in range(2):
                    headers = {"authorization": "Bearer x", "idempotency-key": f"k{n}"}
                    body = {"amount": 5, "currency": "INR", "reference": f"r{n}"}
                    await client.post(f"{vendor}/mock/charges", json=body, headers=headers)
                    await receiver.until(n + 1)
        sandbox.close()

    asyncio.run(main())
