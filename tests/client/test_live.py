"""The client against a real server on a port, and a network that loses answers."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.client import AsyncClient, Client, Problem, SavedKeys, StillPending, Unanswered
from payonce.client.problems import IdempotencyKeyReused, KeyInvalid, NotFound, ScopeMissing, ValidationFailed
from payonce.config import load
from payonce.serving import Served, serving

ORDER = {"amount": 1050, "currency": "INR", "payment_method": "tok_ok"}


def with_server(test: Callable[[Served, Path], Any], folder: Path, **settings: str | int) -> None:
    """Run ``test`` beside a whole server."""

    async def run() -> None:
        given: dict[str, Any] = {"store.data_dir": str(folder), "server.port": 0, **settings}
        async with serving(load(given)) as served:
            await test(served, folder)

    asyncio.run(run())


class Lossy:
    """A proxy: the server gets every request, and of the first ``lost`` ones nobody gets the answer."""

    def __init__(self, url: str, lost: int) -> None:
        self.host, port = url.removeprefix("http://").split(":")
        self.port, self.lost, self.passed = int(port), lost, 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(x[15:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")), 0)
            body = await reader.readexactly(length) if length else b""
            theirs, ours = await asyncio.open_connection(self.host, self.port)
            ours.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
            answer = await theirs.read()
            ours.close()
            if self.lost:
                self.lost -= 1
                writer.transport.abort()
                return
            self.passed += 1
            writer.write(answer)
            await writer.drain()
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()


async def keyed(served: Served, *scopes: Any) -> str:
    """A key of the default merchant."""
    key, token = served.app.keys.new("mer_default", "test", scopes)
    await served.app.keys.add(key)
    return token


def test_a_payment_and_its_refund(tmp_path: Path) -> None:
    """With a key: paid, waited for, given back, listed; the same through the blocking client."""

    async def test(served: Served, _: Path) -> None:
        token = await keyed(served, "payments:write", "refunds:write")
        async with AsyncClient(served.url, token) as client:
            paid = await client.pay(**ORDER, idempotency_key="order-1", metadata={"n": 1})
            again = await client.pay(**ORDER, idempotency_key="order-1", metadata={"n": 1})
            assert again.transaction_id == paid.transaction_id
            assert (await client.wait(paid.transaction_id)).status == "SUCCESS"
            refund = await client.refund(paid.transaction_id, 50, idempotency_key="back-1")
            assert (refund.kind, refund.amount) == ("refund", 50)
            rested = await client.wait(paid.transaction_id)
            assert (rested.refunded, [o.status for o in (await client.refunds(paid.transaction_id)).data]) == (
                50,
                ["SUCCEEDED"],
            )

        def blocking() -> None:
            with Client(served.url, token) as client:
                now = client.get(paid.transaction_id)  # a webhook about the refund may have come meanwhile
                assert replace(now, updated_at=rested.updated_at) == rested
                assert [p.transaction_id for p in client.list(status="SUCCESS", attention=False).data] == [paid.transaction_id]
                held = client.pay(**ORDER, capture_method="manual", idempotency_key="order-2")
                assert client.wait(held.transaction_id).status == "AUTHORIZED"
                assert client.capture(held.transaction_id).kind == "capture"
                assert client.wait(held.transaction_id).captured == 1050
                other = client.pay(**ORDER, capture_method="manual", provider="stripe_mock")
                client.wait(other.transaction_id)
                client.void(other.transaction_id)
                assert client.wait(other.transaction_id).status == "CANCELED"

        await asyncio.to_thread(blocking)

    with_server(test, tmp_path)


def test_a_lost_answer_is_one_payment(tmp_path: Path) -> None:
    """The server accepted, the answer was lost twice: the client asks again by itself, under the key it made once."""

    async def test(served: Served, _: Path) -> None:
        lossy = Lossy(served.url, lost=2)
        async with lossy.open() as url, AsyncClient(url) as client:
            paid = await client.pay(**ORDER)
            everything = await client.list()
        assert [p.transaction_id for p in everything.data] == [paid.transaction_id]
        assert lossy.lost == 0

    with_server(test, tmp_path)


def test_a_client_that_gave_up_comes_back_with_its_purpose(tmp_path: Path) -> None:
    """Unanswered to the end, in another client later the same purpose is the same payment."""

    async def test(served: Served, folder: Path) -> None:
        keys = SavedKeys(folder / "keys.db")
        lossy = Lossy(served.url, lost=1000)
        async with lossy.open() as url, AsyncClient(url, patience_s=0, keys=keys) as client:
            with pytest.raises(Unanswered) as raised:
                await client.pay(**ORDER, purpose="order 1")
        assert raised.value.maybe_done
        async with AsyncClient(served.url, keys=keys) as client:
            paid = await client.pay(**ORDER, purpose="order 1")
            assert paid.idempotency_key == raised.value.idempotency_key
            assert len((await client.list()).data) == 1

    with_server(test, tmp_path)


def test_problems_come_as_exceptions(tmp_path: Path) -> None:
    """Each by its own class, with the request id of the answer."""

    async def test(served: Served, _: Path) -> None:
        token = await keyed(served, "payments:write")
        async with AsyncClient(served.url, token) as client:
            await client.pay(**ORDER, idempotency_key="order-1")
            with pytest.raises(IdempotencyKeyReused) as reused:
                await client.pay(**(ORDER | {"amount": 1}), idempotency_key="order-1")
            assert [e.field for e in reused.value.errors] == ["amount"]
            assert reused.value.request_id.startswith("req_")
            with pytest.raises(NotFound):
                await client.get("pay_" + "0" * 20)
            with pytest.raises(ValidationFailed):
                await client.pay(amount=0, currency="INR")
            with pytest.raises(ScopeMissing):
                await client.refund("pay_" + "0" * 20)
        async with AsyncClient(served.url, token[:-1] + ("0" if token[-1] != "0" else "1")) as client:
            with pytest.raises(KeyInvalid):
                await client.list()

    with_server(test, tmp_path)


def test_waiting_has_an_end(tmp_path: Path) -> None:
    """StillPending carries the payment; nothing is lost by it."""

    async def test(served: Served, _: Path) -> None:
        async with AsyncClient(served.url) as client:
            paid = await client.pay(**ORDER)
            with pytest.raises(StillPending) as raised:
                await client.wait(paid.transaction_id, 0.05, until=lambda _: False)
            assert raised.value.payment.transaction_id == paid.transaction_id

    with_server(test, tmp_path)


def test_events_go_on_from_their_cursor(tmp_path: Path) -> None:
    """Each event once, and the cursor goes on at the end of what there is."""

    async def test(served: Served, _: Path) -> None:
        async with AsyncClient(served.url) as client:
            paid = await client.pay(**ORDER)
            await client.wait(paid.transaction_id)
            page = await client.events()
            assert [e.type for e in page.data] == ["payment.succeeded"]
            assert page.data[0].data.payment.transaction_id == paid.transaction_id
            assert (await client.events(cursor=page.next_cursor)).data == []
            back = await client.refund(paid.transaction_id, 1)
            await client.wait(back.transaction_id)
            later = await client.events(cursor=page.next_cursor)
            assert [e.type for e in later.data] == ["refund.created", "refund.succeeded"]

    with_server(test, tmp_path)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("ftp://x", ""),
        ("http://", ""),
        ("http://user:pw@host", ""),
        ("http://pay.example.com", "sk_live_x"),
        ("", ""),
    ],
)
def test_an_address_that_would_leak_or_lead_nowhere_is_refused(url: str, key: str) -> None:
    """A key never goes over plain HTTP to another machine, and is in no repr."""
    with pytest.raises(ValueError, match="https"):
        Client(url, key)
    with Client("https://pay.example.com", "sk_live_secret") as client:
        assert "sk_live" not in repr(client)


def test_the_client_stands_alone() -> None:
    """Importing it loads nothing else of payonce: no server, no store, no provider."""
    code = "import sys, payonce.client; print(*sorted(m for m in sys.modules if m.startswith('payonce')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [m for m in said if m != "payonce" and not m.startswith("payonce.client")] == []


def test_problem_is_the_common_class() -> None:
    """One except clause catches all refusals."""
    assert issubclass(NotFound, Problem)
