"""The benchmark's provider charges as vendors do: payonce's mock adapter understands it, and a key charges once."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from benchmarks.provider import Booked, Ledger, Provider

from payonce.adapter import Absent, Declined, Found, HttpRequest, Intent, Refunded, Response, Succeeded, Unknown
from payonce.providers.mock import ADAPTER

REFERENCE = "06h1g79dkg204ff00qk10100"


def intent(kind: str, **more: Any) -> Intent:
    about = {"mode": "test", "amount_minor": 1050, "currency": "INR", "reference": REFERENCE, "key": "key-1"}
    return Intent(kind=kind, **about | more)  # type: ignore[arg-type]


async def ask(provider: Provider, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> Response:
    """One request, without a socket. Status 0: the answer was cut off."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    at, _, query = path.partition("?")
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await provider(
        {"type": "http", "method": method, "path": at, "query_string": query.encode(), "headers": pairs}, receive, send
    )
    whole = len(sent) == 2
    return Response(status=sent[0]["status"] if whole else 0, headers={}, body=sent[1]["body"] if whole else b"")


async def asked(provider: Provider, request: HttpRequest) -> Response:
    return await ask(provider, request.method, request.path, request.body, dict(request.headers))


async def ledger(provider: Provider) -> Ledger:
    return msgspec.json.decode((await ask(provider, "GET", "/ledger")).body, type=Ledger)


def test_the_mock_adapter_understands_it() -> None:
    """A charge, a read before and after, a refund and a decline come out as the adapter's outcomes."""

    async def check() -> None:
        provider = Provider()
        read, fire = intent("read"), intent("fire", payment_method="tok_ok")
        assert ADAPTER.parse_read(read, await asked(provider, ADAPTER.build(read))) == Absent()
        charged = ADAPTER.parse(fire, await asked(provider, ADAPTER.build(fire)))
        assert isinstance(charged, Succeeded)
        assert (charged.amount_minor, charged.currency, charged.reference, charged.mode) == (1050, "INR", REFERENCE, "test")
        found = ADAPTER.parse_read(read, await asked(provider, ADAPTER.build(read)))
        assert found == Found(tries=(charged,), refunds=())
        back = intent("refund", key="key-2", provider_ref=charged.ref, refund_reference="refund-1", refund_minor=50)
        refunded = ADAPTER.parse(back, await asked(provider, ADAPTER.build(back)))
        assert isinstance(refunded, Refunded)
        assert refunded.amount_minor == 50
        declined = intent("fire", key="key-3", payment_method="tok_decline")
        assert isinstance(ADAPTER.parse(declined, await asked(provider, ADAPTER.build(declined))), Declined)

    asyncio.run(check())


def test_a_key_charges_once() -> None:
    """The same request again, later or at the same time, gets the same bytes; another body under the key is refused."""

    async def check() -> None:
        provider = Provider(latency_s=0.02)
        request = ADAPTER.build(intent("fire", payment_method="tok_ok"))
        answers = await asyncio.gather(*(asked(provider, request) for _ in range(3)))
        answers.append(await asked(provider, request))
        assert len({answer.body for answer in answers}) == 1
        other = ADAPTER.build(intent("fire", amount_minor=2))
        assert (await asked(provider, other)).status == 400
        sums = await ledger(provider)
        assert (sums.charges, sums.references, sums.requests, sums.replays, sums.twice) == (1, 1, 5, 3, {})
        (line,) = (await ask(provider, "GET", "/ledger/charges")).body.splitlines()
        booked = msgspec.json.decode(line, type=Booked)
        assert (booked.reference, booked.amount) == (REFERENCE, 1050)
        assert booked.took_us >= 20_000

    asyncio.run(check())


def test_two_keys_charge_twice_and_it_is_told() -> None:
    """The ledger names a reference that was charged more than once."""

    async def check() -> None:
        provider = Provider()
        for key in ("key-1", "key-2"):
            await asked(provider, ADAPTER.build(intent("fire", key=key)))
        assert (await ledger(provider)).twice == {REFERENCE: 2}
        assert (await ask(provider, "GET", "/count")).body == b"2"

    asyncio.run(check())


@pytest.mark.parametrize(("token", "status", "charges"), [("tok_drop", 0, 1), ("tok_error", 500, 1), ("tok_refused", 500, 0)])
def test_what_tokens_do(token: str, status: int, charges: int) -> None:
    """The first answer is lost or wrong, whether it was charged is in the ledger, and the adapter calls it unknown; the second
    one under the key is good, and one charge is all."""

    async def check() -> None:
        provider = Provider()
        fire = intent("fire", payment_method=token)
        answer = await asked(provider, ADAPTER.build(fire))
        assert answer.status == status
        assert (await ledger(provider)).charges == charges
        if status:
            assert isinstance(ADAPTER.parse(fire, answer), Unknown)
        again = await asked(provider, ADAPTER.build(fire))
        assert again.status == 200
        assert (await ledger(provider)).charges == 1

    asyncio.run(check())


def test_an_outage_charges_nothing() -> None:
    """While it is down all but the ledger is answered 503; afterwards all is as before."""

    async def check() -> None:
        provider = Provider()
        request = ADAPTER.build(intent("fire"))
        await ask(provider, "PUT", "/latency?ms=down")
        assert (await asked(provider, request)).status == 503
        assert (await ledger(provider)).charges == 0
        await ask(provider, "PUT", "/latency?ms=0")
        assert (await asked(provider, request)).status == 200

    asyncio.run(check())
