"""POST /webhooks/{account} on a real port: what is taken, what is refused and how, and that it is stored before the answer."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import apsw
import httpx2
import pytest

from payonce.api.app import create_app
from payonce.bootstrap import SystemClock
from payonce.core.errors import StoreUnavailable
from payonce.httpd import bind, http_server
from payonce.inbox import Receiver
from payonce.mail import WEBHOOK_BYTES_MAX, Inbox, Webhook
from payonce.stores.memory import MemoryInbox, MemoryStore
from payonce.stores.sqlite import open_store
from tests.hearing import OLD_SECRET, TOLERANCE_US, event, headers, hearing_account
from tests.stores.test_sqlite_trouble import small_disk

from .service import CARD, Woken, account, all_ok, engine_over, problem_of
from .service import open_door as door_without_keys

QUICK_S = 20


class Door:
    """A listening server with an inbox behind; ``send`` is what a provider does."""

    def __init__(self, client: httpx2.AsyncClient, inbox: Inbox) -> None:
        self.client, self.inbox = client, inbox

    async def send(self, body: bytes, given: Mapping[str, str] | None = None, account: str = "hearing") -> httpx2.Response:
        signed = headers(body, SystemClock().now_us()) if given is None else given
        return await self.client.post(f"/webhooks/{quote(account, safe='')}", content=body, headers=dict(signed))

    async def rows(self) -> list[Webhook]:
        return [w for each in (await self.inbox.list(100)).webhooks if (w := await self.inbox.get(each.id))]


@contextlib.asynccontextmanager
async def open_door(inbox: Inbox | None = None, *, body_s: float = 10) -> AsyncIterator[Door]:
    store, kept = MemoryStore(), inbox or MemoryInbox()
    engine = engine_over(store, hearing_account(), account("tiny"))
    receiver = Receiver(kept, store, engine.accounts, engine.ingest, clock=SystemClock(), wake=Woken())
    app = create_app(engine, door=door_without_keys(engine), ready=all_ok, webhooks=receiver, body_s=body_s)
    sock = bind("127.0.0.1", 0)
    async with http_server(app, sock, drain_s=5) as url, httpx2.AsyncClient(base_url=url) as client:
        yield Door(client, kept)


def run(check: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(QUICK_S):
            await check()

    asyncio.run(bounded())


def test_it_is_answered_once_it_is_stored() -> None:
    """200 with its id; the row is there, with the raw bytes, before the answer; a second delivery says so."""

    async def check() -> None:
        async with open_door() as door:
            body = event(references=["a" * 24], refs=["ch_1"])
            answer = await door.send(body)
            (row,) = await door.rows()
            assert (answer.status_code, answer.json()) == (200, {"status": "stored", "id": row.id, "repeated": False})
            assert (row.body, row.state, row.deliveries) == (body, "new", 1)
            assert (await door.send(body)).json() == {"status": "stored", "id": row.id, "repeated": True}
            assert [w.deliveries for w in await door.rows()] == [2]

    run(check)


def test_a_crowd_of_deliveries_is_stored_once() -> None:
    """A provider that sends the same event fifty times at once, on as many connections: all are taken, one row."""

    async def check() -> None:
        async with open_door() as door:
            answers = await asyncio.gather(*(door.send(event()) for _ in range(50)))
            assert {a.status_code for a in answers} == {200}
            assert [a.json()["repeated"] for a in answers].count(False) == 1
            assert [w.deliveries for w in await door.rows()] == [50]

    run(check)


@pytest.mark.parametrize("media", ["application/x-www-form-urlencoded", "text/plain; charset=utf-7", "", "x"])
def test_the_media_type_does_not_matter(media: str) -> None:
    """The bytes count: providers send JSON, forms, and what they call text."""

    async def check() -> None:
        async with open_door() as door:
            body = event()
            assert (await door.send(body, {**headers(body, SystemClock().now_us()), "content-type": media})).status_code == 200

    run(check)


REFUSED: dict[str, Callable[[bytes, int], dict[str, str]]] = {
    "unsigned": lambda _body, _now: {},
    "forged": lambda body, now: headers(body, now, "whsec_guess"),
    "for another body": lambda body, now: headers(body + b" ", now),
    "stale": lambda body, now: headers(body, now - TOLERANCE_US - 5_000_000),
    "with its time moved": lambda body, now: {**headers(body, now - TOLERANCE_US), "x-timestamp": str(now)},
}


@pytest.mark.parametrize("forge", list(REFUSED.values()), ids=list(REFUSED))
def test_what_is_not_genuine_is_a_401(forge: Callable[[bytes, int], dict[str, str]], caplog: pytest.LogCaptureFixture) -> None:
    """Problem webhook_refused; nothing is stored, and nothing of the body stands in the answer or the log."""

    async def check() -> None:
        async with open_door() as door:
            body = event("evt_hidden", note=CARD, refs=["ch_hidden"])
            with caplog.at_level(logging.DEBUG, "payonce"):
                answer = await door.send(body, forge(body, SystemClock().now_us()))
            assert (answer.status_code, problem_of(answer)["code"]) == (401, "webhook_refused")
            assert await door.rows() == []
            assert not any(word in answer.text + caplog.text for word in (CARD, "evt_hidden", "ch_hidden", "whsec"))

    run(check)


def test_an_old_secret_counts_while_it_is_rotated() -> None:
    """Both live secrets are good, and the event is the same whichever signed it."""

    async def check() -> None:
        async with open_door() as door:
            now = SystemClock().now_us()
            assert (await door.send(event(), headers(event(), now, OLD_SECRET))).json()["repeated"] is False
            assert (await door.send(event(), headers(event(), now))).json()["repeated"] is True

    run(check)


@pytest.mark.parametrize("name", ["nobody", "tiny", "Hearing", "\N{CAT FACE}", CARD])
def test_who_takes_no_webhooks_is_told_apart_by_nobody(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """No such account, and an account whose provider sends none: the very answer of a wrong signature; the log says which."""

    async def check() -> None:
        async with open_door() as door:
            answer, forged = await door.send(event(), account=name), await door.send(event(), {"request-id": "r"})
            told, like = problem_of(answer), problem_of(forged)
            assert (answer.status_code, told["code"]) == (401, "webhook_refused")
            assert {k: v for k, v in told.items() if k not in ("requestId", "instance")} == {
                k: v for k, v in like.items() if k not in ("requestId", "instance")
            }
            assert CARD not in answer.text + caplog.text
            assert "webhook for no account" in caplog.text
            assert await door.rows() == []

    run(check)


def test_a_name_with_a_slash_is_no_path() -> None:
    """404: no account is called so."""

    async def check() -> None:
        async with open_door() as door:
            answer = await door.send(event(), account="hearing/x")
            assert (answer.status_code, problem_of(answer)["code"]) == (404, "not_found")

    run(check)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_only_post_is_known(method: str) -> None:
    """405, with what there is; a provider's check by GET learns nothing of accounts."""

    async def check() -> None:
        async with open_door() as door:
            for name in ("hearing", "nobody"):
                answer = await door.client.request(method, f"/webhooks/{name}")
                assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")

    run(check)


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 413), (2_000_000, 413)])
def test_the_largest_body_is_256_kib(more: int, status: int) -> None:
    """Exactly 262,144 bytes are taken, whether announced or in chunks; one more is webhook_too_large, without being stored."""

    async def check() -> None:
        async with open_door() as door:
            body = event(pad="")
            body = event(pad="x" * (WEBHOOK_BYTES_MAX - len(body) + more))
            signed = headers(body, SystemClock().now_us())

            async def chunks() -> AsyncIterator[bytes]:
                for at in range(0, len(body), 10_000):
                    yield body[at : at + 10_000]

            with contextlib.suppress(httpx2.WriteError):  # it may stop listening in the middle
                answer = await door.send(body)
                assert answer.status_code == status
                assert status == 200 or problem_of(answer)["code"] == "webhook_too_large"
                chunked = await door.client.post("/webhooks/hearing", content=chunks(), headers=signed)
                assert chunked.status_code == status
            assert [len(w.body) for w in await door.rows()] == ([WEBHOOK_BYTES_MAX] if status == 200 else [])

    run(check)


def test_a_body_that_does_not_come_is_a_408() -> None:
    """Half a body within the deadline: refused, nothing stored; the whole one is then taken."""

    async def check() -> None:
        async with open_door(body_s=0.1) as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.client.base_url.port)
            writer.write(b"POST /webhooks/hearing HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\nhalf")
            answer = await reader.read()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"body_timeout" in answer
            assert await door.rows() == []
            assert (await door.send(event())).status_code == 200

    run(check)


def test_a_card_number_in_a_genuine_one_is_not_stored() -> None:
    """A provider that sends one: the event counts, the number is masked."""

    async def check() -> None:
        async with open_door() as door:
            assert (await door.send(event(card={"number": CARD}, refs=["ch_1"]))).status_code == 200
            (row,) = await door.rows()
            assert CARD.encode() not in row.body
            assert (row.refs, b"[redacted]" in row.body) == (("ch_1",), True)

    run(check)


class AwayInbox(MemoryInbox):
    """A store that takes no write, and names files when it says so."""

    async def put(self, webhook: Webhook) -> bool:
        raise StoreUnavailable("The database did not answer: the disk is full (/srv/secret/pay.db).")


def test_a_store_that_takes_nothing_lets_it_come_again() -> None:
    """503 webhook_not_stored with Retry-After, so that the provider sends it again; files are not named."""

    async def check() -> None:
        async with open_door(AwayInbox()) as door:
            answer = await door.send(event())
            assert (answer.status_code, problem_of(answer)["code"]) == (503, "webhook_not_stored")
            assert int(answer.headers["retry-after"]) >= 1
            assert "secret" not in answer.text

    run(check)


@pytest.mark.parametrize("what", ["full", "busy", "closed"])
def test_a_real_store_without_room_or_lock_is_a_503(tmp_path: Path, what: str) -> None:
    """SQLITE_FULL, a lock held too long, a store that closes: 503, nothing of it in the file; afterwards it is taken, once."""

    async def check() -> None:
        store = await open_store(tmp_path / "pay.db", busy_timeout_ms=10)
        connection, other = store._writer._connection, apsw.Connection(str(tmp_path / "pay.db"))
        assert connection is not None
        async with open_door(store.inbox) as door:
            body = event(pad="x" * 100_000)
            if what == "full":
                connection.execute(f"PRAGMA max_page_count={connection.pragma('page_count') + 2}")
            elif what == "busy":
                other.execute("BEGIN IMMEDIATE")
            else:
                await store.close()
            answer = await door.send(body)
            assert (answer.status_code, problem_of(answer)["code"]) == (503, "webhook_not_stored")
            assert other.execute("SELECT count(*) FROM inbox").get == 0
            if what == "closed":
                other.close()
                return
            connection.execute("PRAGMA max_page_count=1000000")
            if what == "busy":
                other.execute("ROLLBACK")
            assert (await door.send(body)).json()["repeated"] is False
            assert len(await door.rows()) == 1
        other.close()
        await store.close()

    run(check)


def test_a_full_disk_keeps_what_was_answered_and_goes_on_by_itself() -> None:
    """A real disk without space: each webhook that got a 200 is there and whole, each that got a 503 is not; with space
    again the next delivery of it is taken."""

    async def check(disk: Path) -> None:
        store = await open_store(disk / "pay.db")
        (disk / "ballast").write_bytes(b"x" * 200_000)
        async with open_door(store.inbox) as door:
            answers = dict[str, int]()
            while 503 not in answers.values():
                name = f"evt_{len(answers)}"
                answers[name] = (await door.send(event(name, pad="x" * 20_000))).status_code
            assert set(answers.values()) == {200, 503}
            assert {w.event for w in await door.rows()} == {name for name, status in answers.items() if status == 200}
            (disk / "ballast").unlink()
            last = f"evt_{len(answers) - 1}"
            assert (await door.send(event(last, pad="x" * 20_000))).json()["repeated"] is False
            assert {w.event for w in await door.rows()} == set(answers)
            assert await store.check() == "ok"
        await store.close()

    with small_disk(1_200) as disk:
        run(lambda: check(disk))


def test_a_bug_is_a_500_without_a_word_of_the_body(caplog: pytest.LogCaptureFixture) -> None:
    """A genuine event that the adapter cannot read is not lost by refusing it: the provider sends it again."""

    async def check() -> None:
        async with open_door() as door:
            with caplog.at_level(logging.DEBUG, "payonce"):
                answer = await door.send(event("evt_hidden", references=5))
            assert (answer.status_code, problem_of(answer)["code"]) == (500, "internal_error")
            assert "request failed" in caplog.text
            assert "evt_hidden" not in answer.text + caplog.text

    run(check)


def test_names_that_stand_twice_are_joined() -> None:
    """Two signatures are no signature: nobody can pick the one that fits."""

    async def check() -> None:
        async with open_door() as door:
            good = headers(event(), SystemClock().now_us())
            twice = [*good.items(), ("x-signature", "0" * 64)]
            answer = await door.client.post("/webhooks/hearing", content=event(), headers=twice)
            assert answer.status_code == 401

    run(check)
