"""payonce listen: events as they happen, forwarded to a real receiver as signed webhooks."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.cli import listen
from payonce.cli.listen import AGAIN_S, REST_S, Source, Told
from payonce.cli.options import Exit
from payonce.testing.torture.processes import OTHER_NAMES
from tests.receiver import Receiver

from .conftest import Payonce
from .test_processes import Start, cli, post, start, until

__all__ = ["start"]

standardwebhooks = pytest.importorskip("standardwebhooks", reason="the oracle is a dependency of development")
DEADLINE_S = 30.0


class Listener:
    """A `payonce listen` of its own process, in a folder; ready when this returns."""

    def __init__(self, cwd: Path, *args: str, key: str = "") -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k not in OTHER_NAMES}
        name = f"listen-{time.monotonic_ns()}"
        self.out, self.err = cwd / f"{name}.out", cwd / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "payonce", "listen", "--data-dir", "data", *args],
                cwd=cwd,
                stdout=out,
                stderr=err,
                env={**env, "PAYONCE_API_KEY": key, "PYTHONUNBUFFERED": "1"},
            )
        until(lambda: "Ready" in self.err.read_text() or self.popen.poll() is not None, "listen is ready")
        assert self.popen.poll() is None, self.err.read_text()

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines()

    def end(self) -> int:
        """Ctrl-C; the exit code."""
        self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(timeout=DEADLINE_S)


Listen = Callable[..., Listener]


@pytest.fixture
def hear(tmp_path: Path) -> Iterator[Listen]:
    """Start listeners in the test's folder; what is still running at the end is killed."""
    started: list[Listener] = []

    def begin(*args: str, **more: str) -> Listener:
        started.append(Listener(tmp_path, *args, **more))
        return started[-1]

    yield begin
    for each in started:
        if each.popen.poll() is None:
            each.popen.kill()
            each.popen.wait(timeout=DEADLINE_S)


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def secret_of(cwd: Path) -> str:
    ran = cli(cwd, "listen", "--print-secret", "--data-dir", "data")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.usefixtures("one_account")
def test_events_are_forwarded_signed_and_shown(start: Start, hear: Listen, shop: Receiver, tmp_path: Path) -> None:
    """From now on, those of the types that are asked for: verified by the specification's own library, with the very bytes of
    the event; a line each; Ctrl-C ends it with 0."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    post(server.url, "before", "tok_stolen")
    until(lambda: httpx2.get(f"{server.url}/events", timeout=10).json()["data"], "an event before")
    secret = secret_of(tmp_path)
    here = hear("--url", server.url, "--forward-to", f"{shop.url}/hook", "--events", "payment.succeeded,refund.*")
    assert here.err.read_text().count(secret) == 1
    post(server.url, "declined", "tok_stolen")
    paid = post(server.url, "paid", "tok_ok")
    until(lambda: shop.got, "it was forwarded")
    told = standardwebhooks.Webhook(secret).verify(shop.got[0].body, dict(shop.got[0].headers))
    assert (told["type"], told["data"]["payment"]["transactionId"], shop.got[0].path) == ("payment.succeeded", paid, "/hook")
    assert httpx2.get(f"{server.url}/events/{told['id']}", timeout=10).content == shop.got[0].body
    (line,) = until(here.lines, "its line")
    assert all(word in line for word in ("payment.succeeded", paid, told["id"], "-> 204"))
    assert here.end() == 0
    assert secret_of(tmp_path) == secret


@pytest.mark.usefixtures("one_account")
def test_both_ends_may_restart(start: Start, hear: Listen, shop: Receiver) -> None:
    """A server that was killed and comes back, and a receiver that was down for a while: no event is missed."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    port = server.url.rpartition(":")[2]
    here = hear("--url", server.url, "--forward-to", shop.url)
    paid = [post(server.url, "k1", "tok_ok")]
    until(lambda: len(shop.got) == 1, "the first one")
    server.end(signal.SIGKILL)
    until(lambda: "asking again" in here.err.read_text(), "it noticed")
    server = start("serve", "--port", port, "--data-dir", "data")
    shop.down()
    paid.append(post(server.url, "k2", "tok_ok"))
    until(lambda: "answers again" in here.err.read_text(), "it is back")
    shop.up()
    paid.append(post(server.url, "k3", "tok_ok"))
    until(lambda: len(here.lines()) == 3, "all of them")
    got = [json.loads(message.body)["data"]["payment"]["transactionId"] for message in shop.got]
    assert got == paid
    assert here.end() == 0


@pytest.mark.usefixtures("one_account")
def test_a_key_hears_its_own_merchant(start: Start, hear: Listen, shop: Receiver, tmp_path: Path) -> None:
    """With keys: the other merchant's payments are not told; without a key, or with a wrong one, it says so and ends."""
    mine = cli(tmp_path, "key", "create", "--data-dir", "data").stdout.strip()
    made = json.loads(cli(tmp_path, "merchant", "create", "Another", "--data-dir", "data", "--json").stdout)
    server = start("serve", "--port", "0", "--data-dir", "data")
    here = hear("--url", server.url, "--print-json", key=mine)
    ids = []
    for key, name in ((made["secret"], "theirs"), (mine, "mine")):
        headers = {"authorization": f"Bearer {key}", "idempotency-key": name}
        body = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok"}
        ids.append(httpx2.post(f"{server.url}/payments", json=body, headers=headers, timeout=10).json()["transactionId"])
    headers = {"authorization": f"Bearer {made['secret']}"}
    until(lambda: httpx2.get(f"{server.url}/events", headers=headers, timeout=10).json()["data"], "theirs happened")
    (line,) = until(here.lines, "mine")
    assert json.loads(line)["data"]["payment"]["transactionId"] == ids[1]
    assert "payment.succeeded" in here.err.read_text()
    assert here.end() == 0
    for wrong, said in (("", "key_missing"), ("sk_test_" + "0" * 52, "key_invalid")):
        ran = cli(tmp_path, "listen", "--url", server.url, "--data-dir", "data", *(["--key", wrong] if wrong else []))
        assert (ran.returncode, said in ran.stderr, ran.stdout) == (5, True, "")


def test_the_secret_is_kept(payonce: Payonce, data: Path) -> None:
    """The same each time, for its owner's eyes; one that is damaged is not replaced in silence."""
    first = payonce("listen", "--print-secret")
    assert (first.code, first.out[:6]) == (0, "whsec_")
    file = data / "listen.secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert payonce("listen", "--print-secret").out == first.out
    for damage in (b"", b"whsec_x", b"\xff\xfe"):
        file.write_bytes(damage)
        ran = payonce("listen", "--print-secret")
        assert (ran.code, ran.out) == (2, "")
        assert "listen.secret" in ran.err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--events", "payment.lost"), 2, "no event type"),
        (("--forward-to", "localhost:3000"), 2, "--forward-to"),
        (("--forward-to", "http://"), 2, "--forward-to"),
        (("--url", "ftp://127.0.0.1"), 2, "--url"),
        (("--url", "http://127.0.0.1:99999"), 2, "--url"),
        (("--since", "soon"), 2, "--since"),
        (("--key", "sk_test_\u20ac"), 2, "no API key"),
        (("--url", "http://127.0.0.1:9"), 6, "payonce serve"),
    ],
)
def test_what_is_wrong_is_said(payonce: Payonce, args: tuple[str, ...], code: int, said: str) -> None:
    """One message, nothing on standard output; a server that is not there ends it at the start."""
    ran = payonce("listen", *args)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


# --- without processes ------------------------------------------------------------------------------------------------

EVENT = (
    b'{"id":"evt_1","type":"payment.succeeded","timestamp":"x","data":{"payment":{"transactionId":"pay_1"},"operation":null}}'
)


def page(next: str, *events: bytes, more: bool = False) -> httpx2.Response:
    said = (b",".join(events), next.encode(), b"true" if more else b"false")
    return httpx2.Response(200, content=b'{"data":[%s],"nextCursor":"%s","more":%s}' % said)


class Script:
    """Answers in turn, and the rests in between; after the last answer it is Ctrl-C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: httpx2.Response | Exception) -> None:
        self.left, self.asked, self.rests = list(answers), list[httpx2.Request](), list[float]()
        monkeypatch.setattr(listen.time, "sleep", self.rests.append)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        if not self.left:
            raise KeyboardInterrupt
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def source(self, token: str = "") -> Source:
        return Source(httpx2.Client(transport=httpx2.MockTransport(self)), "http://there", token)


def told_by(script: Script) -> list[Told]:
    found: list[Told] = []
    try:
        for each in script.source().pages(1_795_000_000_000_000):
            found += each
    except KeyboardInterrupt:
        return found
    raise AssertionError("unreachable")


def test_it_backs_off_and_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """429, 5xx and broken lines: longer and longer rests, no shorter than Retry-After; the cursor stays."""
    broken = [
        httpx2.ConnectError("no"),
        httpx2.Response(503),
        httpx2.Response(500),
        httpx2.Response(429, headers={"retry-after": "7"}),
    ]
    more = [httpx2.Response(502)] * 3
    script = Script(monkeypatch, page("c1", EVENT, more=True), *broken, *more, page("c2"), page("c3", EVENT))
    assert [each.raw for each in told_by(script)] == [EVENT, EVENT]
    assert script.rests == [*REST_S[:3], 7.0, REST_S[4], REST_S[4], REST_S[4], listen.POLL_S, listen.POLL_S]
    queries = [dict(request.url.params) for request in script.asked]
    assert queries[0] == {"since": "2026-11-18T11:06:40Z", "limit": "100"}
    assert [query.get("cursor") for query in queries[1:]] == ["c1"] * 8 + ["c2", "c3"]


@pytest.mark.parametrize(
    ("status", "code", "exits"), [(401, "key_invalid", 5), (403, "scope_missing", 5), (422, "validation_failed", 2)]
)
def test_what_asking_again_does_not_help_ends_it(monkeypatch: pytest.MonkeyPatch, status: int, code: str, exits: int) -> None:
    """A key that was revoked meanwhile: the problem in its words, and its exit code."""
    problem = httpx2.Response(status, json={"code": code, "detail": "so it is"})
    script = Script(monkeypatch, page("c1"), problem)
    with pytest.raises(Exit, match="so it is") as ended:
        list(script.source().pages(0))
    assert ended.value.code == exits


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"nextCursor":"x"}', b'{"nextCursor":"x","more":false,"data":[{"id":1}]}']
)
def test_what_is_no_page_ends_it(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Whoever answers there is no payonce, or another version."""
    script = Script(monkeypatch, httpx2.Response(200, content=body))
    with pytest.raises(Exit):
        list(script.source().pages(0))


def test_the_key_goes_with_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bearer token; without one there is no such header."""
    for token, sent in (("sk_test_x", "Bearer sk_test_x"), ("", None)):
        script = Script(monkeypatch, page("c1"))
        assert script.source(token).begin() > 0
        assert script.asked[0].headers.get("authorization") == sent


def test_it_begins_by_the_servers_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server says its time; the question for it reads no event, so that none can stand in the way."""
    answer = page("c1")
    answer.headers["date"] = "Wed, 18 Nov 2026 11:06:40 GMT"
    script = Script(monkeypatch, httpx2.Response(503), answer)
    assert script.source().begin() == 1_795_000_000_000_000
    assert [request.url.params["since"] for request in script.asked] == [listen.FAR] * 2


def test_an_event_that_is_not_taken_is_left_after_some_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent again with rests in between, under the same id; redirects are not followed; then the next one's turn."""
    redirect = httpx2.Response(302, headers={"location": "http://elsewhere/"})
    script = Script(monkeypatch, httpx2.ConnectError("refused"), redirect, *[httpx2.Response(500)] * 4, httpx2.Response(200))
    client = httpx2.Client(transport=httpx2.MockTransport(script))
    receiver = listen.Receiver(client, "http://shop/hook", "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    told = Told(EVENT, "evt_1", "payment.succeeded", "pay_1")
    taken, said = receiver.take(told)
    assert (taken, said[:3]) == (False, "500")
    assert script.rests == list(AGAIN_S)
    assert {(request.headers["webhook-id"], str(request.url)) for request in script.asked} == {("evt_1", "http://shop/hook")}
    assert receiver.take(told)[0] is True


def test_a_key_is_not_sent_in_the_clear_without_a_word(monkeypatch: pytest.MonkeyPatch, payonce: Payonce) -> None:
    """Over http to another machine; this machine's own address is nobody else's business."""
    monkeypatch.setattr(listen.Source, "begin", _interrupted)
    assert "without encryption" in payonce("listen", "--url", "http://pay.example", "--key", "sk_test_x").err
    for url in ("http://127.0.0.1:1", "https://pay.example"):
        assert "without encryption" not in payonce("listen", "--url", url, "--key", "sk_test_x").err


def _interrupted(_: Any) -> int:
    raise KeyboardInterrupt
