"""The courier: what is announced arrives, signed, in order, again until it is taken; and what goes wrong on demand."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.providers.mock import ADAPTER
from payonce.sandbox import courier as courier_module
from payonce.sandbox.courier import BACKOFF_S, CLAIM_US, Courier, beside, delivering
from payonce.sandbox.faults import set_profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.mock import MockVendor
from payonce.sandbox.outbox import HELD_US, announce, put_endpoints
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.testing.provider_live import FakeClock, over_socket

S = 1_000_000
DAY_US = 24 * 3600 * S
MINE = {"mock": MockVendor()}


class Receiver:
    """Somebody's webhook endpoint: it keeps what it got, and answers with the next of ``answers``, then 200."""

    def __init__(self, *answers: int) -> None:
        self.answers, self.url = list(answers), ""
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.gate: asyncio.Event | None = None  # while it is there and not set, nothing is answered
        self.at_once = self.most_at_once = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        self.got.append((scope["path"], headers, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.gate is not None:
            await self.gate.wait()
        self.at_once -= 1
        status = self.answers.pop(0) if self.answers else 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"location", b"/elsewhere")]})
        await send({"type": "http.response.body", "body": b"ok"})

    @property
    def bodies(self) -> list[str]:
        return [body.decode() for _, _, body in self.got]

    async def until(self, count: int, within_s: float = 5) -> None:
        async with asyncio.timeout(within_s):
            while len(self.got) < count:
                await asyncio.sleep(0.001)


class At:
    """A sandbox with a courier, a receiver, and a clock that is set by hand."""

    def __init__(self, sandbox: Sandbox, clock: FakeClock, courier: Courier, receiver: Receiver) -> None:
        self.sandbox, self.clock, self.courier, self.receiver = sandbox, clock, courier, receiver

    def put(self, *urls: str, **faults: Any) -> None:
        with self.sandbox.ledger.transaction():
            put_endpoints(self.sandbox.ledger, json.dumps({"mock": urls}).encode(), self.sandbox.vendors)
        if faults:
            self.faults(**faults)

    def faults(self, **faults: Any) -> None:
        with self.sandbox.ledger.transaction():
            set_profile(self.sandbox.ledger, json.dumps(faults).encode())

    def tell(self, *bodies: str) -> None:
        with self.sandbox.ledger.transaction():
            for body in bodies:
                announce(self.sandbox.ledger, "mock", f"evt_{body}", body.encode(), self.clock.at_us)

    async def later(self, us: int) -> None:
        self.clock.at_us += us
        await self.courier.send_due()

    def outcome(self) -> list[tuple[str, str, int, str]]:
        events = self.sandbox.ledger.deliveries.events(0, 1000)
        of = [(e, d) for e in events for d in self.sandbox.ledger.deliveries.of(e.seq)]
        return [(e.event_id.removeprefix("evt_"), d.state, d.sends, d.said) for e, d in of]


@asynccontextmanager
async def set_up(receiver: Receiver, path: str | Path = ":memory:", **courier: Any) -> AsyncIterator[At]:
    clock = FakeClock()
    sandbox = sandbox_app(path, clock, MINE)
    async with over_socket(receiver) as url:
        at = At(sandbox, clock, Courier(sandbox, clock, **courier), receiver)
        receiver.url = url
        at.put(f"{url}/webhooks/mock")
        try:
            yield at
        finally:
            if receiver.gate:
                receiver.gate.set()
            await at.courier.close()
            sandbox.close()


def run(use: Callable[[At], Awaitable[None]], *answers: int, path: str | Path = ":memory:", **courier: Any) -> None:
    async def main() -> None:
        async with set_up(Receiver(*answers), path, **courier) as at:
            await use(at)

    asyncio.run(main())


def test_a_charge_is_told_with_a_signature_that_the_adapter_takes() -> None:
    """From the request at the vendor to the endpoint: the bytes that were announced, signed with the time of the send."""

    async def use(at: At) -> None:
        async with over_socket(at.sandbox) as url, httpx2.AsyncClient(trust_env=False) as client:
            body = {"amount": 500, "currency": "INR", "reference": "ours"}
            headers = {"authorization": "Bearer x", "idempotency-key": "k"}
            await client.post(f"{url}/mock/charges", json=body, headers=headers)
            await at.courier.send_due()
            shown = (await client.get(f"{url}/sandbox/outbox")).json()
        ((path, got, raw),) = at.receiver.got
        assert (path, got["content-type"]) == ("/webhooks/mock", "application/json")
        secrets = ADAPTER.webhook_secrets(ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS))
        ADAPTER.verify_webhook(got, raw, secrets, at.clock.at_us)
        event = ADAPTER.parse_webhook(got, raw)
        assert (event.kind, event.references, event.refs) == ("charge.succeeded", ("ours",), ("ch_000000000001",))
        (told,) = shown["events"]
        assert (told["eventId"], told["vendor"], told["body"]) == (event.id, "mock", raw.decode())
        at_text = told["at"]
        sent = {"endpoint": f"{at.receiver.url}/webhooks/mock", "state": "delivered", "sends": 1, "lastAt": at_text}
        assert told["deliveries"] == [{**sent, "said": "HTTP 200"}]

    run(use)


@pytest.mark.parametrize("bad", [500, 404, 302, 429])
def test_what_is_not_taken_is_sent_again(bad: int) -> None:
    """Anything but 2xx is repeated after 1 s, 5 s, 30 s, 2 min, 10 min, signed anew; a redirect is not followed."""

    async def use(at: At) -> None:
        at.tell("a")
        await at.courier.send_due()
        for n, wait_s in enumerate(BACKOFF_S[:5]):
            assert at.outcome() == [("a", "due", n + 1, f"HTTP {bad}")]
            await at.later(wait_s * S - 1)
            assert len(at.receiver.got) == n + 1
            await at.later(1)
            assert len(at.receiver.got) == n + 2
        assert at.outcome() == [("a", "delivered", 6, "HTTP 200")]
        assert len({headers["x-mock-signature"] for _, headers, _ in at.receiver.got}) == 6
        assert {path for path, _, _ in at.receiver.got} == {"/webhooks/mock"}
        await at.later(DAY_US)
        assert len(at.receiver.got) == 6

    run(use, *[bad] * 5)


def test_after_a_day_it_is_given_up() -> None:
    """An endpoint that refuses for 24 h gets no more of that webhook; younger ones go on."""

    async def use(at: At) -> None:
        at.tell("a")
        for _ in range(40):
            await at.later(3600 * S)
        assert at.outcome()[0][:3] == ("a", "given_up", len(at.receiver.got))
        assert 20 <= len(at.receiver.got) <= 25
        at.receiver.answers.clear()
        at.tell("b")
        await at.courier.send_due()
        assert at.receiver.bodies[-1] == "b"

    run(use, *[503] * 60)


def test_nobody_there_and_no_answer_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection and an answer that does not come in time are repeated as a 500 is."""
    monkeypatch.setattr(courier_module, "TIMEOUT_S", 0.05)

    async def use(at: At) -> None:
        at.put("http://127.0.0.1:9/nobody")
        at.tell("a")
        at.put(f"{at.receiver.url}/slow")
        at.receiver.gate = asyncio.Event()
        at.tell("b")
        await at.courier.send_due()
        assert at.outcome() == [("a", "due", 1, "ConnectError"), ("b", "due", 1, "no answer in time")]

    run(use)


def test_each_endpoint_gets_everything_in_order() -> None:
    """Two endpoints, one after the other each, in the order in which it was announced."""

    async def use(at: At) -> None:
        at.put(f"{at.receiver.url}/one", f"{at.receiver.url}/two")
        at.tell(*[f"{n:02}" for n in range(20)])
        await at.courier.send_due()
        for name in ("/one", "/two"):
            assert [b.decode() for path, _, b in at.receiver.got if path == name] == [f"{n:02}" for n in range(20)]

    run(use)


def test_a_hanging_endpoint_holds_up_itself_only_and_few_are_in_flight() -> None:
    """At most so many sends at once as were allowed; the others wait, and nothing is lost."""

    async def use(at: At) -> None:
        at.receiver.gate = asyncio.Event()
        at.put(*[f"{at.receiver.url}/{n}" for n in range(5)])
        at.tell("a")
        assert at.courier.start_due() == 0
        sending = asyncio.create_task(at.courier.send_due())
        await at.receiver.until(2)
        assert at.receiver.at_once == 2
        at.receiver.gate.set()
        await sending
        assert (at.receiver.most_at_once, len(at.receiver.got)) == (2, 5)
        assert {state for _, state, _, _ in at.outcome()} == {"delivered"}

    run(use, in_flight_max=2)


def fates(**faults: Any) -> list[tuple[str, str]]:
    """(event, its state) of every delivery of 100 webhooks, in the order in which they arrived; the lost ones last."""
    seen: list[tuple[str, str]] = []

    async def use(at: At) -> None:
        at.put(f"{at.receiver.url}/hook", **faults)
        for n in range(100):
            at.tell(f"{n:02}")
        for _ in range(8):
            await at.later(S)
        lost = [(event, state) for event, state, _, _ in at.outcome() if state != "delivered"]
        seen.extend([*((body, "delivered") for body in at.receiver.bodies), *lost])

    run(use)
    return seen


@pytest.mark.parametrize(
    "fault", [{"webhookLoseRate": 0.3}, {"webhookDoubleRate": 0.3}, {"webhookReorderRate": 0.3}], ids=lambda f: next(iter(f))
)
def test_what_goes_wrong_on_demand_goes_wrong_the_same_way_each_time(fault: Mapping[str, Any]) -> None:
    """About the stated fraction is lost, doubled or overtaken; the same sequence meets the same fate."""
    first = fates(**fault)
    assert first == fates(**fault)
    assert {event for event, _ in first} == {f"{n:02}" for n in range(100)}
    arrived = [event for event, state in first if state == "delivered"]
    if "webhookLoseRate" in fault:
        assert 15 <= sum(state == "lost" for _, state in first) <= 45
        assert (arrived, len(first)) == (sorted(arrived), 100)
    elif "webhookDoubleRate" in fault:
        assert 15 <= len(first) - 100 <= 45
    else:
        late = arrived[next(n for n in range(99) if arrived[n] > arrived[n + 1]) + 1 :]
        assert (15 <= len(late) <= 45, len(arrived), late) == (True, 100, sorted(late))


def test_a_delay_passes_before_the_first_send() -> None:
    """Nothing arrives before it is over; one that is held back comes three seconds later still."""

    async def use(at: At) -> None:
        at.faults(webhookDelayMs=2500)
        at.tell("a")
        at.faults(webhookDelayMs=2500, webhookReorderRate=1)
        at.tell("b")
        await at.later(2_499_999)
        assert at.receiver.bodies == []
        await at.later(1)
        assert at.receiver.bodies == ["a"]
        await at.later(HELD_US)
        assert at.receiver.bodies == ["a", "b"]

    run(use)


def test_what_is_owed_survives_a_restart(tmp_path: Path) -> None:
    """A sandbox that was stopped in the middle sends the rest when it runs again, from the file."""

    async def main() -> None:
        path, receiver = tmp_path / "l.db", Receiver(500)
        async with set_up(receiver, path) as at:
            at.tell("a", "b")
            await at.courier.send_due()
            at.tell("c")
            assert receiver.bodies == ["a", "b"]
            again = sandbox_app(path, FakeClock(), MINE)
            again.clock.at_us += S  # type: ignore[attr-defined]
            courier = Courier(again, again.clock)
            await courier.send_due()
            assert sorted(receiver.bodies) == ["a", "a", "b", "c"]
            await courier.close()
            again.close()

    asyncio.run(main())


def test_couriers_share_a_file_without_doubles(tmp_path: Path) -> None:
    """Three of them at once: each webhook is sent once, and each endpoint still gets its own in order."""

    async def main() -> None:
        path, receiver = tmp_path / "l.db", Receiver()
        async with set_up(receiver, path) as at:
            others = [sandbox_app(path, at.clock, MINE) for _ in range(2)]
            couriers = [at.courier, *(Courier(each, at.clock) for each in others)]
            at.put(f"{receiver.url}/one", f"{receiver.url}/two")
            at.tell(*[f"{n:02}" for n in range(30)])
            async with asyncio.timeout(20):
                while len(receiver.got) < 60:
                    for each in couriers:
                        each.start_due()
                    await asyncio.sleep(0.001)
            for name in ("/one", "/two"):
                assert [b.decode() for p, _, b in receiver.got if p == name] == [f"{n:02}" for n in range(30)]
            for each in couriers[1:]:
                await each.close()
            for sandbox in others:
                sandbox.close()

    asyncio.run(main())


def test_a_claim_of_a_dead_courier_runs_out() -> None:
    """Until then nobody else sends to that endpoint; then it is sent, and what the dead one would write counts no more."""

    async def use(at: At) -> None:
        at.tell("a")
        with at.sandbox.ledger.transaction():
            endpoint, now_us = f"{at.receiver.url}/webhooks/mock", at.clock.at_us
            held = at.sandbox.ledger.deliveries.claim(endpoint, now_us, now_us + CLAIM_US)
        assert held is not None
        await at.later(CLAIM_US - 1)
        assert at.receiver.bodies == []
        await at.later(1)
        assert (at.receiver.bodies, at.outcome()) == (["a"], [("a", "delivered", 2, "HTTP 200")])
        with at.sandbox.ledger.transaction():
            assert not at.sandbox.ledger.deliveries.end(held[0], "due", due_us=0, now_us=0, said="late")
        assert at.outcome()[0][1] == "delivered"

    run(use)


def test_what_is_cut_at_the_end_is_owed_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A send in flight gets a moment; then it is cut and stays due at once, for whoever comes next."""
    monkeypatch.setattr(courier_module, "DRAIN_S", 0.01)

    async def use(at: At) -> None:
        at.receiver.gate = asyncio.Event()
        at.tell("a", "b")
        at.courier.start_due()
        await at.receiver.until(1)
        await at.courier.close()
        assert [state for _, state, _, _ in at.outcome()] == ["due", "due"]
        at.receiver.gate.set()
        at.courier = Courier(at.sandbox, at.clock)
        await at.courier.send_due()
        assert at.receiver.bodies == ["a", "a", "b"]

    run(use)


def test_old_webhooks_are_forgotten_unless_they_are_owed() -> None:
    """After a day the outbox keeps only what is still to be sent."""

    async def use(at: At) -> None:
        at.tell("a")
        await at.courier.send_due()
        at.receiver.answers = [503] * 3
        await at.later(DAY_US - 10 * S)
        at.tell("b")
        await at.later(0)
        await at.later(700 * S)
        assert [event for event, *_ in at.outcome()] == ["b"]

    run(use)


class Broken(MockVendor):
    """Cannot sign."""

    def sign_webhook(self, body: bytes, now_us: int) -> Mapping[str, str]:
        raise RuntimeError


def test_a_vendor_that_cannot_sign_keeps_its_webhooks() -> None:
    """Nothing goes out unsigned; it is tried again later."""

    async def use(at: At) -> None:
        at.sandbox.vendors["mock"] = Broken()
        at.tell("a")
        await at.courier.send_due()
        assert (at.receiver.got, at.outcome()) == ([], [("a", "due", 1, "RuntimeError")])

    run(use)


def test_it_runs_beside_the_sandbox_and_what_is_late_happens_by_itself() -> None:
    """Nobody asks the vendor anything: a customer who acts after three seconds is told all the same, in order."""

    async def main() -> None:
        clock, receiver = FakeClock(), Receiver()
        sandbox = sandbox_app(":memory:", clock, MINE)
        async with over_socket(receiver) as url, delivering(sandbox, clock), over_socket(sandbox) as vendor:
            beside(sandbox.ledger, url, {"first": "mock"})
            async with httpx2.AsyncClient(trust_env=False) as client:
                body = {"amount": 5, "currency": "INR", "reference": "r", "source": "tok_action_ok"}
                headers = {"authorization": "Bearer x", "idempotency-key": "k"}
                asked = (await client.post(f"{vendor}/mock/charges", json=body, headers=headers)).json()
            assert asked["action"]["url"] == f"{url}/sandbox/pay/mock/1"
            await receiver.until(2)
            assert [path for path, _, _ in receiver.got] == ["/webhooks/first"] * 2
            kinds = [json.loads(body)["type"] for body in receiver.bodies]
            assert kinds == ["charge.requires_action", "charge.succeeded"]
        sandbox.close()

    asyncio.run(main())


def test_a_ledger_that_cannot_be_used_for_a_while_does_not_end_it(tmp_path: Path) -> None:
    """While another connection holds the file nothing is sent; afterwards everything is."""

    async def main() -> None:
        async with set_up(Receiver(), tmp_path / "l.db") as at:
            at.tell("a")
            at.sandbox.ledger._db.set_busy_timeout(1)
            blocker = sandbox_app(tmp_path / "l.db", at.clock, MINE)
            blocker.ledger._db.execute("BEGIN IMMEDIATE")
            async with delivering(at.sandbox, at.clock):
                before = at.clock.at_us
                while at.clock.at_us < before + 5 * S:  # it tries, and waits, and tries
                    await asyncio.sleep(0)
                assert at.receiver.got == []
                blocker.ledger._db.execute("ROLLBACK")
                await at.receiver.until(1)
            blocker.close()

    asyncio.run(main())


@contextmanager
def sandbox_process(ledger: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``payonce sandbox`` on a free port, and its URL; killed at the end if it still runs."""
    command = [sys.executable, "-m", "payonce", "sandbox", "--port", "0", "--ledger", str(ledger), "--json"]
    with subprocess.Popen(command, cwd=ledger.parent, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


def test_a_sandbox_that_is_killed_sends_the_rest_when_it_runs_again(tmp_path: Path) -> None:
    """With real processes and real time: kill -9 while a webhook is refused; the next sandbox on the file delivers it."""

    async def main() -> None:
        receiver = Receiver(*[503] * 1000)
        async with over_socket(receiver) as url, httpx2.AsyncClient(trust_env=False, timeout=10) as client:
            with sandbox_process(tmp_path / "l.db") as (_, sandbox):
                await client.put(f"{sandbox}/sandbox/webhooks", json={"mock": [url]})
                body = {"amount": 500, "currency": "INR", "reference": "r"}
                headers = {"authorization": "Bearer x", "idempotency-key": "k"}
                await client.post(f"{sandbox}/mock/charges", json=body, headers=headers)
                await receiver.until(1)
            receiver.answers.clear()
            before = len(receiver.got)
            with sandbox_process(tmp_path / "l.db") as (process, _):
                await receiver.until(before + 1, within_s=15)  # a claim may have to run out
                process.terminate()
                assert await asyncio.to_thread(process.wait, 15) == 0
            assert len({body for _, _, body in receiver.got}) == 1
        ledger = Ledger(tmp_path / "l.db")
        assert [d.state for d in ledger.deliveries.of(1)] == ["delivered"]
        ledger.close()

    asyncio.run(main())
