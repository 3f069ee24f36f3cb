"""``payonce torture``: a small run is clean, every fault of its proxy is what it says, its judge bites, and nothing of it
outlives it."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from payonce.testing.judge import ENDS_AS
from payonce.testing.torture import FAULTS, WRONGS, TortureOptions, judging, torture
from payonce.testing.torture.clients import Posted, orders
from payonce.testing.torture.proxy import PER_EXCHANGE, STALL_S, FaultProxy, whole
from payonce.testing.torture.scene import CALL_TIMEOUT_MS
from payonce.testing.torture.storm import Pace
from tests.machine.story import KEYED, MANUAL, PID, T0, Story, found, no, yes

from .running import free_port, until

COMMAND = [sys.executable, "-m", "payonce", "torture"]


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_small_torture_is_clean(tmp_path: Path) -> None:
    """60 payments, 6 kills, every kind of fault of one exchange: nothing is lost, doubled or wrong, and the files go."""
    report = asyncio.run(torture(TortureOptions(seed=7, payments=60, kills=6, horizon_s=15, fault_share=0.3)))
    assert report.violations == []
    assert report.clean
    assert report.payments == 60
    assert sum(report.kills.values()) == 6
    assert [kind for kind in PER_EXCHANGE if not report.faults[kind]] == []
    assert set(report.statuses) == {"SUCCESS", "FAILED", "IN_DOUBT"}
    assert report.posts > report.payments
    assert report.answers["202"] + report.answers["202 again"] >= report.payments
    assert report.answers["422"] > 0
    assert report.folder == ""


@pytest.mark.slow
def test_the_command_prints_its_seed_and_one_document(tmp_path: Path) -> None:
    """Exit code 0 when all was right; the seed comes first, the report is JSON, and --keep keeps the files."""
    kept = tmp_path / "kept"
    done = subprocess.run(
        [*COMMAND, "--payments", "1", "--kills", "0", "--seed", "42", "--json", "--keep", str(kept)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 42: 1 payments, 0 kills" in done.stderr.splitlines()[0]
    report = json.loads(done.stdout)
    assert (report["seed"], report["payments"], report["violations"]) == (42, 1, [])
    assert report["folder"] == str(kept.resolve())
    assert json.loads((kept / "posted.ndjson").read_text())["key"] == "torture-42-0"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--payments", "0"], "--payments is 1 to 1000000"),
        (["--kills", "200000"], "--kills is 0 to 100000"),
        (["--keep", "."], "is not empty: name another folder"),
    ],
)
def test_what_cannot_be_run_is_refused(args: list[str], says: str, tmp_path: Path) -> None:
    """Exit code 2 with what to do, and nothing was started."""
    (tmp_path / "mine").touch()
    done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def alive(pid: int) -> bool:
    """The process runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(how: signal.Signals, tmp_path: Path) -> None:
    """However it is stopped, Ctrl-C or kill -9, its processes end with it."""
    kept = tmp_path / "kept"
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([*COMMAND, "--kills", "0", "--keep", str(kept)], stdout=log, stderr=log)
    try:
        names = ("api", "worker-1", "worker-2")
        said = [kept / f"{name}.out" for name in names]
        until(lambda: all(f.exists() and b"\n" in f.read_bytes() for f in said), "its processes run", 60)
        pids = [json.loads(f.read_text())["pid"] for f in said]
        assert all(alive(pid) for pid in pids)
        running.send_signal(how)
        code = running.wait(timeout=60)
        until(lambda: not any(alive(pid) for pid in pids), "its processes are gone", 30)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    assert code == {signal.SIGINT: 130}.get(how, -how)


# --- what the seed decides --------------------------------------------------------------------------------------------


def test_one_seed_decides_what_is_posted() -> None:
    """The same seed posts the same; another one posts something else; every token is there."""
    first, again, other = (list(orders(TortureOptions(seed=seed, payments=200))) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert {o.body["paymentMethod"] for o in first} == set(ENDS_AS)
    assert {o.manner for o in first} == {"plain", "again", "together", "changed", "race", "hasty"}


def test_kills_and_posts_keep_step() -> None:
    """Posts wait for kills and kills for posts, and when no kill comes any more every post may begin."""

    async def run() -> None:
        pace = Pace(TortureOptions(payments=10, kills=10))
        assert await asyncio.wait_for(pace.kill(), 1)
        pace.move(kills=4)
        early = asyncio.create_task(pace.kill())
        await asyncio.sleep(0)
        assert not early.done()
        pace.move(posts=5)
        assert await asyncio.wait_for(early, 1)
        pace.move(posts=3)
        late = asyncio.create_task(pace.post())
        await asyncio.sleep(0)
        assert not late.done()
        pace.move(over=True)
        assert await asyncio.wait_for(late, 1)
        pace.move(posts=100, ended=True)
        assert not await asyncio.wait_for(pace.post(), 1)
        assert not await asyncio.wait_for(pace.kill(), 1)

    asyncio.run(run())


# --- the proxy --------------------------------------------------------------------------------------------------------

REQUEST = b'POST /mock/charges HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{"a": 12345'
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"ok": true }'


class Vendor:
    """A server that notes what it gets, whole or not, and answers whole requests."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.parts: list[bytes] = []
        self.changed = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = b""
        try:
            while len(got) < len(REQUEST) and (more := await reader.read(1)):
                got += more
        except ConnectionError:
            pass
        (self.whole if got == REQUEST else self.parts).append(got)
        self.changed.set()
        if got == REQUEST:
            writer.write(ANSWER)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


class OneFault(random.Random):
    """Dice that spoil every exchange, wait the shortest time, and cut after the first third."""

    def random(self) -> float:
        return 0.0

    def uniform(self, a: float, b: float) -> float:
        return 0.02

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return (stop or start) // 3

    def choice(self, seq: Any) -> Any:
        return seq[-1]


@contextlib.asynccontextmanager
async def spoiling(kind: str) -> AsyncIterator[tuple[FaultProxy, Vendor, int]]:
    """A proxy that does this to the next exchange, before a vendor; its port."""
    vendor, port = Vendor(), free_port()
    server = await asyncio.start_server(vendor.talk, "127.0.0.1", 0)
    proxy = FaultProxy(server.sockets[0].getsockname()[:2], OneFault(), 1.0 if kind else 0.0)
    proxy._deck = [kind]
    await proxy.start(port)
    try:
        yield proxy, vendor, port
    finally:
        await proxy.stop()
        server.close()


async def exchanged(port: int) -> tuple[bytes, bool]:
    """What a client that posts gets back, and whether its connection was reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got, reset = b"", False
    try:
        writer.write(REQUEST)
        async with asyncio.timeout(10):
            while len(got) < len(ANSWER) and (more := await reader.read(4)):
                got += more
    except ConnectionError:
        reset = True
    finally:
        writer.close()
    return got, reset


# fault -> (what of the answer comes back, reset, whole requests at the vendor, parts of one)
SEEN: dict[str, tuple[bytes, bool, int, int]] = {
    "": (ANSWER, False, 1, 0),
    "drop": (b"", False, 0, 0),
    "cut_request": (b"", True, 0, 1),
    "stall": (ANSWER, False, 1, 0),
    "reset": (b"", True, 1, 0),
    "cut_answer": (ANSWER[: len(ANSWER) // 3], False, 1, 0),
    "late_answer": (ANSWER, False, 1, 0),
    "trickle": (ANSWER, False, 1, 0),
    "duplicate": (ANSWER, False, 2, 0),
}


@pytest.mark.parametrize("kind", SEEN)
def test_each_fault_is_what_it_says(kind: str) -> None:
    """What client and vendor see of one exchange under each fault, and that it is counted."""

    async def run() -> None:
        async with spoiling(kind) as (proxy, vendor, port):
            got = await exchanged(port)
            async with asyncio.timeout(10):
                while (len(vendor.whole), len(vendor.parts)) != SEEN[kind][2:]:
                    vendor.changed.clear()
                    await vendor.changed.wait()
            assert got == SEEN[kind][:2]
            assert +proxy.faults == ({kind: 1} if kind else {})
            assert proxy.calls == 1

    asyncio.run(run())


def test_every_fault_is_tested() -> None:
    """The table above knows every fault of one exchange, and the rest is ``refuse``."""
    assert {*SEEN, "refuse"} - {""} == set(FAULTS)


def test_a_stalled_request_arrives_when_its_client_is_gone() -> None:
    """The client hangs up while its request is held: it goes on nevertheless."""

    async def run() -> None:
        async with spoiling("stall") as (proxy, vendor, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            await writer.drain()
            writer.close()
            async with asyncio.timeout(10):
                await vendor.changed.wait()
            assert vendor.whole == [REQUEST]
            await asyncio.wait_for(proxy.quiet(), 10)

    asyncio.run(run())


def test_a_proxy_that_refuses_listens_again() -> None:
    """New connections are refused for the time, then it is as before."""

    async def run() -> None:
        async with spoiling("") as (proxy, _, port):
            refusing = asyncio.create_task(proxy.refuse(0.05))
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await exchanged(port)
            await refusing
            assert await exchanged(port) == (ANSWER, False)
            assert proxy.faults == {"refuse": 1}

    asyncio.run(run())


def test_faults_come_from_a_shuffled_deck() -> None:
    """The same dice draw the same faults, each as often as the others; a read is never sent twice."""

    def drawn(seed: int, request: bytes) -> list[str]:
        proxy = FaultProxy(("127.0.0.1", 1), random.Random(seed), 0.5)
        return [proxy._draw(request) for _ in range(400)]

    assert drawn(3, REQUEST) == drawn(3, REQUEST) != drawn(4, REQUEST)
    counts = [drawn(3, REQUEST).count(kind) for kind in PER_EXCHANGE]
    assert max(counts) - min(counts) <= 1
    assert "duplicate" not in drawn(3, b"GET /mock/charges HTTP/1.1\r\n\r\n")
    assert STALL_S[1] * 1000 > CALL_TIMEOUT_MS, "a stall outlasts a call"


def test_a_message_that_ends_early_is_no_message() -> None:
    """Half a head or half a body is told from a connection that ended between two messages."""

    async def read(data: bytes) -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await whole(reader)

    assert asyncio.run(read(ANSWER + b"rest")) == ANSWER
    assert asyncio.run(read(b"")) == b""
    for part in (ANSWER[:20], ANSWER[:-1]):
        with pytest.raises(asyncio.IncompleteReadError):
            asyncio.run(read(part))


# --- the judge --------------------------------------------------------------------------------------------------------


CALM = judging.Calm(T0 + 100_000_000, look_s=80)


class Told:
    """One payment that went well, as everybody tells it: the client, the API, the vendors' books, the history."""

    def __init__(self) -> None:
        self.posted = [Posted("k", {"amount": 100, "currency": "INR", "paymentMethod": "tok_ok"}, {PID})]
        self.payments: dict[str, dict[str, Any]] = {
            PID: {
                "transactionId": PID,
                "idempotencyKey": "k",
                "status": "SUCCESS",
                "reason": None,
                "amount": 100,
                "currency": "INR",
                "provider": "mock",
                "captured": 100,
            }
        }
        paid = {"amount": 100, "currency": "INR", "providerRef": "ch_1"}
        self.charge = {"provider": "mock", "kind": "charge", "reference": PID[4:] + "0100", **paid}
        self.movements: list[dict[str, Any]] = [dict(self.charge)]
        self.entries = Story(KEYED).fire(0).saw(yes(), 1).entries

    def wrong(self) -> list[str]:
        """The kinds of all violations that are found, each once."""
        found = [*judging.wrong_overall(self.posted, self.payments, self.movements)]
        moved = judging.by_payment(self.movements)
        for id, payment in self.payments.items():
            found += judging.wrong_with_one(self.posted[0], payment, moved.get(id, []), self.entries, CALM)
        assert all(each.says for each in found)
        return [*dict.fromkeys(each.kind for each in found)]

    # what can be falsified

    def a_second_charge(self) -> None:
        self.movements.append({**self.charge, "providerRef": "ch_2", "reference": PID[4:] + "0101"})

    def a_charge_at_another_vendor(self) -> None:
        self.movements.append({**self.charge, "provider": "cashfree"})

    def a_capture_of_no_hold(self) -> None:
        self.movements[0]["kind"] = "capture"

    def a_second_capture_that_is_given_back(self) -> None:
        hold, taken = ({**self.charge, "kind": kind} for kind in ("authorize", "capture"))
        self.movements = [hold, taken, dict(taken), {**self.charge, "kind": "refund", "providerRef": "re_1"}]

    def no_charge(self) -> None:
        self.movements.clear()

    def a_wrong_amount(self) -> None:
        self.movements[0]["amount"] = 101

    def a_wrong_currency(self) -> None:
        self.movements[0]["currency"] = "USD"

    def a_charge_that_was_given_back(self) -> None:
        self.movements.append({**self.charge, "kind": "refund", "providerRef": "re_1"})

    def money_of_a_payment_that_was_forgotten(self) -> None:
        self.movements.append({**self.charge, "reference": "9" * 20 + "0100", "providerRef": "ch_2"})

    def a_lost_payment(self) -> None:
        self.payments.clear()
        self.movements.clear()

    def a_202_of_another_id(self) -> None:
        self.posted[0].ids = {"pay_" + "9" * 20}

    def two_answers_with_two_ids(self) -> None:
        self.posted[0].ids.add("pay_" + "9" * 20)

    def an_order_that_nobody_answered(self) -> None:
        self.posted.append(Posted("other", self.posted[0].body, set()))

    def a_payment_that_nobody_posted(self) -> None:
        self.payments[PID]["idempotencyKey"] = "whose"

    def two_payments_of_one_key(self) -> None:
        self.payments["pay_" + "9" * 20] = {**self.payments[PID], "transactionId": "pay_" + "9" * 20}

    def another_amount_than_posted(self) -> None:
        self.posted[0].body["amount"] = 99

    def failed_though_charged(self) -> None:
        self.payments[PID]["status"] = "FAILED"

    def a_status_that_went_back(self) -> None:
        self.posted[0].status = "FAILED"

    def pending_for_ever(self) -> None:
        self.payments[PID]["status"] = "PENDING"

    def another_end_than_its_token_has(self) -> None:
        self.posted[0].body["paymentMethod"] = "tok_decline_stolen_card"

    def money_at_another_account_than_it_named(self) -> None:
        self.posted[0].body["provider"] = "razorpay_mock"

    def too_little_captured(self) -> None:
        self.payments[PID]["captured"] = 99

    def a_history_of_something_else(self) -> None:
        self.entries = Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).entries

    def a_history_with_a_hole(self) -> None:
        del self.entries[1]

    def no_history(self) -> None:
        self.entries = []


FOUND: dict[Callable[[Told], None], set[str]] = {
    Told.a_second_charge: {"doubled", "wrong"},
    Told.a_charge_at_another_vendor: {"doubled", "wrong"},
    Told.a_capture_of_no_hold: {"doubled"},
    Told.a_second_capture_that_is_given_back: {"doubled"},
    Told.no_charge: {"wrong"},
    Told.a_wrong_amount: {"wrong"},
    Told.a_wrong_currency: {"wrong"},
    Told.a_charge_that_was_given_back: {"wrong"},
    Told.money_of_a_payment_that_was_forgotten: {"lost"},
    Told.a_lost_payment: {"lost"},
    Told.a_202_of_another_id: {"lost", "key"},
    Told.two_answers_with_two_ids: {"lost", "key"},
    Told.an_order_that_nobody_answered: {"lost"},
    Told.a_payment_that_nobody_posted: {"key"},
    Told.two_payments_of_one_key: {"key", "wrong", "rules"},
    Told.another_amount_than_posted: {"wrong"},
    Told.failed_though_charged: {"wrong", "rules"},
    Told.a_status_that_went_back: {"lost"},
    Told.pending_for_ever: {"unsettled", "rules"},
    Told.another_end_than_its_token_has: {"wrong"},
    Told.money_at_another_account_than_it_named: {"wrong"},
    Told.too_little_captured: {"wrong"},
    Told.a_history_of_something_else: {"rules"},
    Told.a_history_with_a_hole: {"rules"},
    Told.no_history: {"lost"},
}


def test_the_truth_is_clean() -> None:
    """A payment about which everybody says the same has no violation; nor has one that was declined and kept nothing."""
    told = Told()
    assert told.wrong() == []
    told.posted[0].body["paymentMethod"] = "tok_decline_stolen_card"
    told.payments[PID] |= {"status": "FAILED", "captured": 0}
    told.movements.clear()
    told.entries = Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).entries
    assert told.wrong() == []


@pytest.mark.parametrize("lie", FOUND, ids=lambda lie: lie.__name__)
def test_each_lie_is_found(lie: Callable[[Told], None]) -> None:
    """One falsehood in what was true is reported, as what it is."""
    told = Told()
    lie(told)
    assert set(told.wrong()) == FOUND[lie]
    assert FOUND[lie] <= set(WRONGS)


@pytest.mark.parametrize(
    ("status", "reason", "at_s", "excused"),
    [
        ("IN_DOUBT", "horizon", 129, True),
        ("IN_DOUBT", "horizon", 131, False),  # by then every claim has run out and every read was due
        ("IN_DOUBT", "amount_mismatch", 50, False),
        ("FAILED", "no_provider_available", 189, True),
        ("FAILED", "no_provider_available", 191, False),
        ("FAILED", "do_not_honor", 79, False),  # it could still look for another account
        ("FAILED", "do_not_honor", 80, True),
    ],
)
def test_giving_up_is_excused_only_while_faults_last(status: str, reason: str, at_s: int, excused: bool) -> None:
    """A payment whose token is good for SUCCESS may end otherwise because of faults: for a reason of time, and not much
    later than their end, here after 100 s."""
    told = Told()
    story = Story(KEYED).fire(0)
    told.entries = (story if status == "IN_DOUBT" else story.saw(no(), 1)).judge(status, at_s, reason=reason).entries
    told.payments[PID] |= {"status": status, "reason": reason, "captured": 0}
    told.movements.clear()
    assert told.wrong() == ([] if excused else ["wrong"])


def test_an_account_that_faults_cost_excuses_the_decline_of_the_last_one() -> None:
    """The first account never got the charge and was left, the second declined: the token would have gone through on the
    next account, and there is none."""
    spoilt = Story(MANUAL, KEYED).boxed(0).fire(1, opens=False).read(50, found(container="open", container_id="box"))
    spoilt.judge("left", 51, attempt=0).fire(52, opens=True).saw(no(1), 53).judge("FAILED", 54)
    assert judging.outlasted(spoilt.p, spoilt.entries, CALM)
    twice = Story(KEYED, KEYED).fire(0).saw(no(), 1).fire(2, opens=True).saw(no(1), 3).judge("FAILED", 4)
    assert not judging.outlasted(twice.p, twice.entries, CALM)
