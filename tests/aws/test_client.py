"""The AWS client: what it makes of answers and of networks, and that tasks and threads end. Once against the emulator."""

import asyncio
import json
import socket
import ssl
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from payonce.awsapi import Answer, Busy, Denied, Done, Lost
from payonce.awsclient import client, lines
from payonce.awsclient.client import AwsClient
from payonce.awsclient.signing import Address

from .emulator import emulator, environment
from .loopback import END_S, GET, End, Hang, Seen, Server, SetClock, asked, get, refusal, reply, serving, use

# --- what answers mean ----------------------------------------------------------------------------------------------------

CLASSES = [
    (400, "ThrottlingException", Busy),
    (503, "ThrottlingException", Busy),
    (400, "ProvisionedThroughputExceededException", Busy),
    (400, "RequestLimitExceeded", Busy),
    (400, "TransactionConflictException", Busy),
    (403, "RequestThrottled", Busy),
    (400, "TransactionInProgressException", Lost),
    (500, "InternalServerError", Lost),
    (503, "ServiceUnavailable", Lost),
    (500, "SomethingNew", Lost),
    (302, "Found", Lost),
    (400, "ConditionalCheckFailedException", Denied),
    (400, "TransactionCanceledException", Denied),
    (400, "ValidationException", Denied),
    (400, "AccessDeniedException", Denied),
    (400, "UnrecognizedClientException", Denied),
    (400, "ExpiredTokenException", Denied),
    (400, "IdempotentParameterMismatchException", Denied),
    (400, "QueueDoesNotExist", Denied),
    (403, "SomethingNew", Denied),
]


@pytest.mark.parametrize(("status", "code", "kind"), CLASSES, ids=[f"{s}-{c}" for s, c, _ in CLASSES])
def test_every_error_is_what_it_says(status: int, code: str, kind: type) -> None:
    """Busy and Denied only by AWS's own word that it did nothing; all else is Lost."""
    answer = asked(refusal(code, status, "why"))
    assert type(answer) is kind
    assert answer.reason == code if isinstance(answer, Lost) else answer.code == code  # type: ignore[union-attr]


def test_a_code_may_come_in_a_header() -> None:
    """Some services name the error there, with more behind a colon."""
    answer = asked(reply(400, b"{}", x_amzn_errortype="ThrottlingException:http://internal.amazon.com/"))
    assert answer == Busy("ThrottlingException")


def _ends(after: bytes) -> Callable[[Seen], bytes]:
    def answer(_seen: Seen) -> bytes:
        raise End(after)

    return answer


WHOLE = reply(200, b'{"Item": {"k": {"S": "a"}}}')
UNREADABLE: list[tuple[str, bytes | Callable[[Seen], bytes], str]] = [
    ("no answer", _ends(b""), "RemoteDisconnected"),
    ("cut in the head", _ends(WHOLE[:25]), ""),
    ("cut in the body", _ends(WHOLE[:-5]), "ended early"),
    ("cut in chunks", _ends(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}"), "IncompleteRead"),
    ("no length", _ends(b"HTTP/1.1 200 X\r\n\r\n{}"), "whole"),
    ("no JSON", reply(200, b"<html>"), "without an answer of AWS"),
    ("JSON, no object", reply(200, b"[1]"), "without an answer of AWS"),
    ("no UTF-8", reply(200, b'{"a": "\xff"}'), "without an answer of AWS"),
    ("a proxy's refusal", reply(403, b"<html>no</html>"), "without an answer of AWS"),
    ("a refusal without a word", reply(400, b""), "without an answer of AWS"),
    ("a refusal without a code", reply(400, b'{"message": "no"}'), "without an answer of AWS"),
    ("not HTTP", _ends(b"SSH-2.0-x\r\n\r\n"), "BadStatusLine"),
    ("damaged", reply(200, b"{}", x_amz_crc32="1"), "damaged"),
]


@pytest.mark.parametrize(("answer", "why"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
def test_what_is_no_whole_answer_of_aws_is_lost(answer: bytes | Callable[[Seen], bytes], why: str) -> None:
    """Cut, damaged, or somebody else's: it may be done, or not."""
    said = asked(answer)
    assert isinstance(said, Lost)
    assert why in said.reason


def test_bytes_are_bytes_on_both_sides() -> None:
    """Binary values go and come as bytes, wherever they stand in an item; an attribute that is called B is none."""
    item = {
        "B": {"S": "no"},
        "b": {"B": b"\x00\xff"},
        "set": {"BS": [b"1", b"2"]},
        "m": {"M": {"B": {"B": b"x"}, "BS": {"L": [{"B": b""}, {"NULL": True}]}}},
        "n": {"N": "1"},
    }
    body = json.dumps({"Item": item, "Empty": {}}, default=lambda raw: b64encode(raw).decode()).encode()
    with serving(reply(200, body, x_amz_crc32=str(zlib.crc32(body)))) as server:
        answer = use(server.url, lambda client: client.call("dynamodb", "PutItem", {"TableName": "t", "Item": item}))
        sent = json.loads(server.seen[0].body)
    assert answer == Done({"Item": item, "Empty": {}})
    assert sent["Item"]["b"] == {"B": "AP8="}
    assert sent["Item"]["set"] == {"BS": ["MQ==", "Mg=="]}


def test_a_refusal_brings_what_came_with_it() -> None:
    """The item of a failed condition, and the reasons of a transaction."""
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": {"b": {"B": "AA=="}}}]
    answer = asked(refusal("TransactionCanceledException", CancellationReasons=reasons))
    assert isinstance(answer, Denied)
    assert answer.body["CancellationReasons"][1]["Item"] == {"b": {"B": b"\x00"}}


# --- networks -------------------------------------------------------------------------------------------------------------


def test_a_refused_connection_is_lost_at_once() -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert use(url, get) == Lost("ConnectionRefusedError while connecting")


def test_a_host_that_does_not_take_us_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting has its own short limit."""
    monkeypatch.setattr(lines, "CONNECT_S", 0.1)
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (one, two):  # nobody accepts, so the next one is not even answered
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        assert use(f"http://127.0.0.1:{full.getsockname()[1]}", get) == Lost("timeout while connecting")


def test_tls_that_fails_is_lost() -> None:
    """A server that speaks no TLS gets no request, and one must show a certificate of its name that the system trusts."""
    heard = list[bytes]()

    def plain(listening: socket.socket) -> None:
        with listening.accept()[0] as sock, suppress(OSError):
            sock.sendall(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n")
            heard.extend(iter(lambda: sock.recv(4096), b""))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=plain, args=(listening,))
        thread.start()
        answer = use(f"https://127.0.0.1:{listening.getsockname()[1]}", get)
        thread.join(END_S)
    assert answer == Lost("SSLError while connecting")
    assert b"POST" not in b"".join(heard)
    context = lines.Lines(SetClock())._context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def _hang(_seen: Seen) -> bytes:
    raise Hang


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the request has left the wait is bounded; a long poll waits longer."""
    monkeypatch.setattr(lines, "READ_S", 0.1)
    assert asked(_hang) == Lost("timeout while waiting for the answer")
    with serving(_hang) as server:
        poll = use(server.url, lambda c: c.call("sqs", "ReceiveMessage", {"WaitTimeSeconds": 0}))
        assert poll == Lost("timeout while waiting for the answer")
    assert client._poll_s("ReceiveMessage", {"WaitTimeSeconds": 7}) == 7
    assert client._poll_s("ReceiveMessage", {}) == 20  # the queue may say so
    assert client._poll_s("SendMessage", {}) == 0


def test_a_call_has_an_end_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of the whole call holds where no single wait is too long; the thread ends with it."""
    monkeypatch.setattr(client, "CALL_S", 0.1)
    with serving(_hang) as server:
        assert use(server.url, get) == Lost("timeout after 0.1 s")
        assert server.ended.acquire(timeout=END_S)


def test_the_limits_are_as_stated() -> None:
    """Connecting 2 s, an answer 5 s, the whole call 10 s: less than any function's time."""
    assert (lines.CONNECT_S, lines.READ_S, client.CALL_S, lines.IDLE_S) == (2.0, 5.0, 10.0, 20.0)


# --- connections that rest ------------------------------------------------------------------------------------------------


def connections(
    between: Callable[[AwsClient, SetClock, Server], Awaitable[None]], answer: Callable[[Seen], bytes] | bytes = WHOLE
) -> tuple[list[int], list[Answer]]:
    """On which connections two calls go, and their answers; ``between`` happens between them."""
    clock = SetClock()

    with serving(answer) as server:

        async def two(client: AwsClient) -> list[Answer]:
            first = await get(client)
            await between(client, clock, server)
            return [first, await get(client)]

        answers = use(server.url, two, clock)
        return [seen.connection for seen in server.seen], answers


async def _nothing(_client: AwsClient, _clock: SetClock, _server: Server) -> None: ...


async def _drop(client: AwsClient, _clock: SetClock, server: Server) -> None:
    await client.drop_idle()
    assert server.ended.acquire(timeout=END_S)


async def _frozen(_client: AwsClient, clock: SetClock, _server: Server) -> None:
    clock.wall_us += 20_000_000


async def _rested(_client: AwsClient, clock: SetClock, _server: Server) -> None:
    clock.steady_us += 20_000_000


async def _set_back(_client: AwsClient, clock: SetClock, _server: Server) -> None:
    clock.wall_us -= 3_600_000_000


async def _hung_up(_client: AwsClient, _clock: SetClock, server: Server) -> None:
    server.close()


@pytest.mark.parametrize(
    ("between", "used"),
    [(_nothing, [1, 1]), (_drop, [1, 2]), (_frozen, [1, 2]), (_rested, [1, 2])],
    ids=["kept", "dropped", "frozen", "rested"],
)
def test_a_connection_is_used_again_while_it_is_fresh(
    between: Callable[[AwsClient, SetClock, Server], Awaitable[None]], used: list[int]
) -> None:
    """Not after ``drop_idle``, nor after a rest of 20 s by either clock: the monotonic one may have stood still."""
    assert connections(between) == ([used[0], used[1]], [Done({"Item": {"k": {"S": "a"}}})] * 2)


def test_a_connection_that_the_server_closed_costs_nothing() -> None:
    """It is seen before the next request, which goes over a new one."""
    closed = threading.Event()

    def once(seen: Seen) -> bytes:
        if seen.connection == 1:
            closed.set()
            raise End(WHOLE)
        return WHOLE

    async def wait(client: AwsClient, _clock: SetClock, _server: Server) -> None:
        assert closed.wait(END_S)
        [[line]] = client._lines._resting.values()
        deadline = time.monotonic() + END_S
        while not lines._spoke(line.http.sock) and time.monotonic() < deadline:
            await asyncio.sleep(0)

    used, answers = connections(wait, once)
    assert used == [1, 2]
    assert all(isinstance(answer, Done) for answer in answers)


def test_one_dead_connection_takes_the_resting_ones_along() -> None:
    """Sixteen connections died unseen: one call is lost, quickly, and the next goes over a new one."""
    together = threading.Barrier(16)
    dying = threading.Event()

    def answer(seen: Seen) -> bytes:
        if dying.is_set() and seen.connection <= 16:
            raise End  # as a router does that has forgotten it
        if not dying.is_set():
            together.wait(END_S)
        return WHOLE

    async def do(client: AwsClient) -> list[Answer]:
        await asyncio.gather(*(get(client) for _ in range(16)))
        dying.set()
        return [await get(client), await get(client)]

    with serving(answer) as server:
        first, second = use(server.url, do)
        assert isinstance(first, Lost)
        assert isinstance(second, Done)
        assert [seen.connection for seen in server.seen[16:]][1] == 17


# --- tasks and threads ----------------------------------------------------------------------------------------------------


def test_a_cancelled_task_leaves_nothing_behind() -> None:
    """The task ends at once, and its connection with it, though the server never answers."""
    asked_for = threading.Event()

    def answer(_seen: Seen) -> bytes:
        asked_for.set()
        raise Hang

    with serving(answer) as server:

        async def do(client: AwsClient) -> None:
            task = asyncio.create_task(get(client))
            assert await asyncio.to_thread(asked_for.wait, END_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.ended.acquire, timeout=END_S)
            assert client._under_way == set()

        use(server.url, do)


def test_what_was_cancelled_before_it_was_sent_never_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that still waits for a thread when its task is cancelled does not leave later."""
    monkeypatch.setattr(client, "THREADS", 1)
    go, busy = threading.Event(), threading.Event()

    def answer(_seen: Seen) -> bytes:
        busy.set()
        assert go.wait(END_S)
        return WHOLE

    with serving(answer) as server:

        async def do(client: AwsClient) -> None:
            first = asyncio.create_task(get(client))
            assert await asyncio.to_thread(busy.wait, END_S)
            second = asyncio.create_task(client.call("dynamodb", "PutItem", GET))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            go.set()
            assert isinstance(await first, Done)
            assert isinstance(await get(client), Done)

        use(server.url, do)
        assert [seen.headers["x-amz-target"].partition(".")[2] for seen in server.seen] == ["GetItem", "GetItem"]


def test_what_was_given_up_while_it_connected_is_not_sent() -> None:
    """Between connecting and the first byte it is looked at once more."""
    with serving(WHOLE) as server:
        exchange = lines.Exchange()
        exchange.give_up()
        host, port = server.url.removeprefix("http://").split(":")
        kept = lines.Lines(SetClock())
        broken = kept.post(Address(False, host, int(port), "/"), {}, b"{}", exchange, 0)
        assert broken == lines.Broken("given up before it was sent", sent=False)
        assert server.ended.acquire(timeout=END_S)
        assert server.seen == []


def test_close_ends_everything() -> None:
    """Calls under way are lost, threads are gone, and later calls are not sent."""
    asked_for = threading.Event()

    def answer(_seen: Seen) -> bytes:
        asked_for.set()
        raise Hang

    with serving(answer) as server:

        async def do(client: AwsClient) -> list[Answer]:
            task = asyncio.create_task(get(client))
            assert await asyncio.to_thread(asked_for.wait, END_S)
            await client.close()
            return [await task, await get(client)]

        first, later = use(server.url, do)
        assert isinstance(first, Lost)
        assert later == Lost("the client is closed")
        assert len(server.seen) == 1
    assert [each.name for each in threading.enumerate() if each.name.startswith("aws_")] == []


def test_without_threads() -> None:
    """For tests: the call is over when its task goes on, and no thread was started."""
    with serving(WHOLE) as server:
        before = set(threading.enumerate())

        async def do(client: AwsClient) -> Answer:
            answer = await get(client)
            assert [each.name for each in set(threading.enumerate()) - before if each.name.startswith("aws_")] == []
            return answer

        assert isinstance(use(server.url, do, inline=True), Done)


def test_against_the_emulator(tmp_path: Path) -> None:
    """A table, an item with bytes, a failed condition, and a message."""

    async def do(client: AwsClient) -> None:
        table = {
            "TableName": "Things",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        }
        assert isinstance(await client.call("dynamodb", "CreateTable", table), Done)
        put = {
            "TableName": "Things",
            "Item": {"k": {"S": "a"}, "b": {"B": b"\x01\xfe"}},
            "ConditionExpression": "attribute_not_exists(k)",
        }
        assert await client.call("dynamodb", "PutItem", put) == Done({})
        refused = await client.call("dynamodb", "PutItem", put | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"})
        assert isinstance(refused, Denied)
        assert (refused.code, refused.body["Item"]) == ("ConditionalCheckFailedException", put["Item"])
        queue = await client.call("sqs", "CreateQueue", {"QueueName": "q"})
        assert isinstance(queue, Done)
        url = {"QueueUrl": queue.body["QueueUrl"]}
        assert isinstance(await client.call("sqs", "SendMessage", {**url, "MessageBody": "é"}), Done)
        got = await client.call("sqs", "ReceiveMessage", {**url, "WaitTimeSeconds": 0})
        assert isinstance(got, Done)
        assert got.body["Messages"][0]["Body"] == "é"

    with emulator(tmp_path) as url:
        use(None, do, env=environment(url) | {"AWS_CONFIG_FILE": "/nowhere"})
