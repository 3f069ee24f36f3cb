"""dlq list and redrive: on real queues of the emulator, with and without a store."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from payonce.awsapi import Aws
from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock
from payonce.core import ids
from payonce.stores.dynamodb import Tables, create_tables
from payonce.stores.dynamodb import open_store as on_tables
from payonce.stores.sqlite import open_store
from payonce.testing.inbox_contract import webhook
from payonce.testing.store_changes import accept, payment_id
from payonce.wake import sqs
from tests.aws.emulator import emulator, environment
from tests.aws.queues import Queues, two_queues

from .conftest import Payonce

T = TypeVar("T")
CARD = "4242424242424242"
NOWHERE = "pay_" + ids.encode(7)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The emulator, for all tests of this file."""
    with emulator(tmp_path_factory.mktemp("aws")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqs, "POLL_S", 0)  # the emulator is one server: nothing is to be waited for
        yield url


class Reached:
    """The queues of a test, asked from outside of the command line."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.main, self.dead = self.ask(self._made)

    async def _made(self, aws: Aws) -> tuple[str, str]:
        made = await two_queues(aws)
        return made.main, made.dead

    def ask(self, work: Callable[[Aws], Awaitable[T]]) -> T:
        async def run() -> T:
            aws = AwsClient(SystemClock(), environ=environment(self.url))
            try:
                return await work(aws)
            finally:
                await aws.close()

        return asyncio.run(run())

    def die(self, *bodies: str) -> None:
        self.ask(lambda aws: Queues(aws, self.main, self.dead).die(*bodies))

    def bodies(self, queue_url: str) -> list[str]:
        return self.ask(lambda aws: Queues(aws, self.main, self.dead).bodies(queue_url))


@pytest.fixture
def queues(url: str, payonce: Payonce, monkeypatch: pytest.MonkeyPatch) -> Reached:
    """Two queues of the test's own, named in its environment."""
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    made = Reached(url)
    monkeypatch.setenv("PAYONCE_QUEUE_URL", made.main)
    monkeypatch.setenv("PAYONCE_DEAD_LETTER_URL", made.dead)
    return made


@pytest.mark.usefixtures("one_account")
def test_list_tells_what_each_payment_is_now(
    payonce: Payonce, queues: Reached, paid: Callable[..., dict[str, Any]], data: Path
) -> None:
    """A settled payment, a webhook that is due, an id that this store does not know, and poison; all stay receivable."""
    payment = str(paid("tok_ok")["transactionId"])

    async def hear() -> str:
        store = await open_store(data / "payments.db")
        w = webhook(1, id="wh_" + ids.encode(9))
        await store.inbox.put(w)
        await store.close()
        return w.id

    heard = asyncio.run(hear())
    wanted = sorted([payment, heard, NOWHERE, f"card {CARD}"])
    queues.die(*wanted)
    for seen in (3, 4):
        ran = payonce("dlq", "list", "--json")
        assert ran.code == 0, ran.err
        rows = {row["id"]: row for row in ran.json["messages"]}
        assert rows[payment]["status"] == "SUCCESS"
        assert (rows[payment]["about"], rows[payment]["why"]) == ("payment", None)
        assert (rows[heard]["status"], rows[heard]["about"]) == ("new", "webhook")
        assert rows[heard]["dueAt"].startswith("2025-")
        assert (rows[NOWHERE]["status"], rows[NOWHERE]["why"]) == (None, "not in this store")
        (poison,) = [row for row in rows.values() if row["about"] is None]
        assert poison["why"].startswith("poison")
        assert CARD not in ran.out + ran.err
        assert {row["receiveCount"] for row in rows.values()} == {seen}
        assert ran.json["approximately"] == {"visible": 4, "hidden": 0, "delayed": 0}
    lines = [line.split("\t") for line in payonce("dlq", "list").out.splitlines()]
    assert lines[0] == ["ID", "FIRST SEEN", "AGE", "RECEIVED", "STATUS", "DUE", "NOTE", "MESSAGE"]
    assert sorted(line[4] for line in lines[1:]) == ["", "", "SUCCESS", "new"]
    assert queues.bodies(queues.dead) == wanted
    assert queues.bodies(queues.main) == []


def test_list_looks_into_the_tables(payonce: Payonce, queues: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where payments are kept in DynamoDB, their state comes from there: a pending one, with when it is due."""
    tables = Tables(transactions="dlq-t", idempotency="dlq-i", registry="dlq-r")
    for role in ("transactions", "idempotency", "registry"):
        monkeypatch.setenv(f"PAYONCE_{role.upper()}_TABLE", tables.named(role))

    async def fill(aws: Aws) -> None:
        await create_tables(aws, SystemClock(), tables)
        store = on_tables(aws, SystemClock(), tables)
        await store.commit(accept(1), 0)
        await store.close()

    queues.ask(fill)
    queues.die(payment_id(1), NOWHERE)
    ran = payonce("dlq", "list", "--json")
    assert ran.code == 0, ran.err
    rows = {row["id"]: row for row in ran.json["messages"]}
    assert (rows[payment_id(1)]["status"], rows[NOWHERE]["why"]) == ("PENDING", "not in this store")
    assert rows[payment_id(1)]["dueAt"]


def test_list_works_without_a_store(payonce: Payonce, queues: Reached) -> None:
    """What is in the queue is shown all the same, and why nothing is said of its payments."""
    queues.die(NOWHERE)
    ran = payonce("dlq", "list", "--json")
    (row,) = ran.json["messages"]
    assert (ran.code, row["id"], row["status"]) == (0, NOWHERE, None)
    assert row["why"].startswith("the store cannot be read: there is no store at")


def test_list_is_limited(payonce: Payonce, queues: Reached) -> None:
    """--limit shows so many, and says of about how many; all stay receivable."""
    wanted = sorted("pay_" + ids.encode(n) for n in range(13))
    queues.die(*wanted)
    ran = payonce("dlq", "list", "--limit", "11")
    assert len(ran.out.splitlines()) == 12
    assert "11 of about 13." in ran.err
    assert queues.bodies(queues.dead) == wanted


def test_an_empty_queue_is_said_to_be(payonce: Payonce, queues: Reached) -> None:
    """Nothing there is no error."""
    ran = payonce("dlq", "list")
    assert (ran.code, ran.out.count("\n")) == (0, 1)
    assert "empty" in ran.err
    assert payonce("dlq", "redrive", "--all").code == 0
    assert queues.bodies(queues.main) == []


def test_redrive_moves_what_is_named(payonce: Payonce, queues: Reached) -> None:
    """By payment or by message id; a name that is not there ends with 3, and what is there is moved all the same."""
    a, b, c = ("pay_" + ids.encode(n) for n in (1, 2, 3))
    queues.die(a, b, c)
    listed = {row["id"]: row["messageId"] for row in payonce("dlq", "list", "--json").json["messages"]}
    ran = payonce("dlq", "redrive", a, listed[b], "--json")
    assert ran.code == 0, ran.err
    assert sorted(row["id"] for row in ran.json["moved"]) == [a, b]
    assert payonce("dlq", "redrive", c, NOWHERE).code == 3
    assert queues.bodies(queues.main) == [a, b, c]
    assert queues.bodies(queues.dead) == []


def test_redrive_all_leaves_poison(payonce: Payonce, queues: Reached) -> None:
    """All hints move; poison stays and is said to, until --drop-poison deletes it."""
    wanted = sorted("pay_" + ids.encode(n) for n in range(12))
    queues.die(*wanted, "poison")
    ran = payonce("dlq", "redrive", "--all")
    assert (ran.code, ran.out) == (0, "12 messages moved to the main queue.\n")
    assert "1 message left: poison" in ran.err
    assert queues.bodies(queues.main) == wanted
    again = payonce("dlq", "redrive", "--all", "--drop-poison", "--json")
    assert (len(again.json["moved"]), len(again.json["dropped"]), again.code) == (0, 1, 0)
    assert queues.bodies(queues.dead) == []


def test_redrive_is_limited(payonce: Payonce, queues: Reached) -> None:
    """--limit moves so many and leaves the rest receivable."""
    queues.die(*("pay_" + ids.encode(n) for n in range(5)))
    assert len(payonce("dlq", "redrive", "--all", "--limit", "2", "--json").json["moved"]) == 2
    assert (len(queues.bodies(queues.main)), len(queues.bodies(queues.dead))) == (2, 3)


def test_a_main_queue_that_is_gone_takes_nothing(payonce: Payonce, queues: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 6; the messages are where they were."""
    queues.die(NOWHERE)
    monkeypatch.setenv("PAYONCE_QUEUE_URL", queues.main + "-gone")
    ran = payonce("dlq", "redrive", "--all")
    assert (ran.code, "left here" in ran.err) == (6, True)
    assert queues.bodies(queues.dead) == [NOWHERE]


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        (("list",), "PAYONCE_DEAD_LETTER_URL"),
        (("redrive", "--all"), "PAYONCE_DEAD_LETTER_URL"),
        (("redrive", "--all"), "PAYONCE_QUEUE_URL"),
    ],
)
@pytest.mark.usefixtures("queues")
def test_a_queue_that_is_not_named_is_asked_for(
    payonce: Payonce, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], missing: str
) -> None:
    """Exit code 2, and which setting names it."""
    monkeypatch.delenv(missing)
    ran = payonce("dlq", *args)
    assert (ran.code, ran.out) == (2, "")
    assert f"Set {missing} " in ran.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("redrive",), "or --all"),
        (("redrive", NOWHERE, "--all"), "or --all"),
        (("redrive", "--all", "--limit", "0"), "--limit is 1 to"),
        (("list", "--limit", "1001"), "--limit is 1 to 1000"),
    ],
)
def test_what_makes_no_sense_is_refused(payonce: Payonce, args: tuple[str, ...], said: str) -> None:
    """Exit code 2 and what to type, before anything is asked of AWS."""
    ran = payonce("dlq", *args)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.usefixtures("queues")
def test_missing_credentials_are_said(payonce: Payonce, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 2 and what to set, at once; not "AWS does not answer"."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    ran = payonce("dlq", "list")
    assert (ran.code, ran.out) == (2, "")
    assert "there are no AWS credentials: set AWS_PROFILE" in ran.err


def test_a_wrong_queue_is_said_and_left_alone(payonce: Payonce, queues: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that redrives itself, one that is the main queue, one that does not exist: exit code 2, nothing is received."""
    monkeypatch.setenv("PAYONCE_DEAD_LETTER_URL", queues.main)
    assert "redrive policy of its own" in payonce("dlq", "list").err
    ran = payonce("dlq", "redrive", "--all")
    assert (ran.code, "the same queue" in ran.err) == (2, True)
    monkeypatch.setenv("PAYONCE_DEAD_LETTER_URL", queues.dead + "-gone")
    ran = payonce("dlq", "list")
    assert (ran.code, "Check the queue's URL" in ran.err) == (2, True)
