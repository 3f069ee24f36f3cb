"""Webhooks: what is taken, what is refused, and what is stored of it."""

import logging
import time
from collections.abc import Callable

import pytest

from payonce.core.errors import Refused
from payonce.inbox import deaf, id_of, storable
from payonce.mail import WEBHOOK_BYTES_MAX, WEBHOOK_NAMES_MAX, Waiting

from .api.service import CARD, account
from .hearing import OLD_SECRET, SECOND_US, SECRET, TOLERANCE_US, Room, event, headers, hearing_account, using


def test_a_genuine_one_is_kept_due_now_and_the_worker_told() -> None:
    """Body and names as they came, the few headers that matter, and its id in the worker's hands."""

    async def check(room: Room) -> None:
        body = event(references=["a" * 24], refs=["ch_1"])
        id = await room.hear(body)
        now = room.clock.at_us
        row = await room.row(id)
        assert (row.account, row.event, row.kind, row.state, row.body) == ("hearing", "evt_1", "paid", "new", body)
        assert (row.references, row.refs, row.deliveries) == (("a" * 24,), ("ch_1",), 1)
        assert dict(row.headers) == headers(body, now)
        assert await room.receiver.due(now, 10) == (Waiting(id, now),)
        assert room.wake.ids == [id]

    using(check)


def test_each_event_is_kept_once_per_account() -> None:
    """A delivery that comes again, with another time in its signature, is counted; another event or account is another row."""

    async def check(room: Room) -> None:
        first = await room.receiver.hear("hearing", headers(event(), room.clock.at_us), event())
        room.clock.at_us += 60 * SECOND_US
        again = await room.receiver.hear("hearing", headers(event(), room.clock.at_us, OLD_SECRET), event())
        assert (first.id, first.repeated, again.repeated) == (again.id, False, True)
        row = await room.row(first.id)
        assert (row.deliveries, row.last_us - row.received_us) == (2, 60 * SECOND_US)
        assert len({first.id, await room.hear(event("evt_2")), await room.hear(event(), "other")}) == 3
        assert id_of("a", "bc") != id_of("ab", "c")

    using(check)


def test_headers_that_may_be_secrets_are_not_kept() -> None:
    """What says what it is and who signed it stays; tokens, cookies and credentials do not, nor what nobody needs."""

    async def check(room: Room) -> None:
        body = event()
        secret = {
            name: f"hide-{name}" for name in ("authorization", "cookie", "x-webhook-token", "x-event-key", "x-forwarded-for")
        }
        more = {"user-agent": "Vendor/1", "x-vendor-event-id": "evt_1", "x-webhook-version": "2021"}
        id = (await room.receiver.hear("hearing", {**headers(body, room.clock.at_us), **secret, **more}, body)).id
        kept = dict((await room.row(id)).headers)
        assert kept == {**headers(body, room.clock.at_us), **more}

    using(check)


def later(us: int) -> Callable[[Room, bytes], dict[str, str]]:
    return lambda room, body: headers(body, room.clock.at_us + us)


FORGED: dict[str, Callable[[Room, bytes], dict[str, str]]] = {
    "unsigned": lambda _room, _body: {"content-type": "application/json"},
    "another secret": lambda room, body: headers(body, room.clock.at_us, "whsec_other"),
    "another body": lambda room, body: headers(body + b" ", room.clock.at_us),
    "another time": lambda room, body: {**headers(body, room.clock.at_us), "x-timestamp": str(room.clock.at_us - 1)},
    "stale": later(-TOLERANCE_US - 1),
    "from the future": later(TOLERANCE_US + 1),
}


@pytest.mark.parametrize("forge", list(FORGED.values()), ids=list(FORGED))
def test_what_is_not_genuine_and_fresh_is_refused(
    forge: Callable[[Room, bytes], dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is stored, nobody is woken, and nothing of the body is in the error or the log."""

    async def check(room: Room) -> None:
        body = event(refs=["ch_hidden"], note=CARD)
        with caplog.at_level(logging.DEBUG, "payonce"), pytest.raises(Refused) as refused:
            await room.receiver.hear("hearing", forge(room, body), body)
        assert refused.value.code == "webhook_refused"
        assert (await room.inbox.counts(), room.wake.ids) == ({}, [])
        assert "webhook refused" in caplog.text
        assert not any(word in f"{caplog.text}{refused.value}" for word in ("ch_hidden", CARD, "evt_1", SECRET))

    using(check)


@pytest.mark.parametrize("us", [-TOLERANCE_US, TOLERANCE_US])
def test_a_late_delivery_within_the_tolerance_is_taken(us: int) -> None:
    """The provider's own tolerance counts, to the microsecond."""

    async def check(room: Room) -> None:
        assert not (await room.receiver.hear("hearing", later(us)(room, event()), event())).repeated

    using(check)


def test_an_account_without_a_secret_refuses_all(caplog: pytest.LogCaptureFixture) -> None:
    """Not even what the empty secret signed; and doctor can say so."""

    async def check(room: Room) -> None:
        with caplog.at_level(logging.WARNING, "payonce"), pytest.raises(Refused, match="webhook_refused"):
            await room.hear(event(), secret="")
        assert "no webhook secret is configured" in caplog.text

    using(check, hearing_account(secrets=()))
    assert [deaf(a) for a in (hearing_account(secrets=()), hearing_account(), account("tiny"))] == [True, False, False]


def test_a_bug_of_an_adapter_does_not_open_the_door(caplog: pytest.LogCaptureFixture) -> None:
    """Verifying that fails as it should not is a refusal, and its text, which may quote the body, is not logged."""

    async def check(room: Room) -> None:
        with caplog.at_level(logging.DEBUG, "payonce"), pytest.raises(Refused, match="webhook_refused"):
            await room.hear(event("evt_hidden"))
        assert "RuntimeError" in caplog.text
        assert "evt_hidden" not in caplog.text

    using(check, hearing_account(bug=True))


@pytest.mark.parametrize("name", ["nobody", "tiny", ""])
def test_who_takes_no_webhooks_is_not_there(name: str) -> None:
    """An account that is not configured, and one whose provider sends none, look the same."""

    async def check(room: Room) -> None:
        with pytest.raises(Refused, match="not_found"):
            await room.hear(event(), name)

    using(check)


def test_what_it_names_is_bounded() -> None:
    """However many names a webhook holds, and whatever they are, a few of sensible length are kept."""

    async def check(room: Room) -> None:
        refs = ["", "x" * 600, CARD, "\ud800", *(f"ch_{n}" for n in range(1000))]
        row = await room.row(await room.hear(event("e" * 5000, kind="k" * 5000, refs=refs, references=refs)))
        assert row.refs == row.references == ("?", *(f"ch_{n}" for n in range(WEBHOOK_NAMES_MAX - 1)))
        assert len(row.event) == len(row.kind) == 512

    using(check)


@pytest.mark.parametrize(
    "body",
    [
        b'{"card": "4242424242424242"}',
        b'{"card": 4242424242424242, "id": 7}',
        b'{"4242 4242 4242 4242": 1}',
        b'{"a": "\\u0034242-4242-4242-4242"}',
        b'{"a": "4242424242424242", "a": "x"}',
        b'{"a": "4242%204242%204242%204242"}',
        b"status=success&cardnum=4242+4242+4242+4242&x=1",
        b"status=success&cardnum=4242%204242%204242%204242",
        b"\xff\xfe 4242424242424242",
    ],
)
def test_no_card_number_is_kept(body: bytes) -> None:
    """In whatever form it stands in a body: it is masked, or the body is not kept."""
    kept = storable(body)
    assert b"4242" not in kept


@pytest.mark.parametrize(
    "body",
    [b"4-" * 131_072, b"%34 " * 60_000, b"a1" * 131_072, b'"%s"' % (b"\\u0034 " * 37_000)],
    ids=["joined", "percent", "many", "escaped"],
)
def test_a_body_that_would_hold_up_the_server_is_not_kept(body: bytes) -> None:
    """Tens of thousands of digit groups, in whatever form: looking through them for card numbers would take seconds."""
    begin = time.process_time()
    assert storable(body) == b""
    assert time.process_time() - begin < 1


def test_other_bodies_are_kept_as_they_came() -> None:
    """Byte for byte: spaces, order, bytes that are no text, and the masked card numbers of a provider."""
    for body in (
        b"",
        b'{ "b": 1,\n "a": "\\u00e9" }',
        b"\x00\xff\xfe",
        b"cardnum=512345XXXXXX2346&mihpayid=403993715531077182",
    ):
        assert storable(body) == body
    deep = b"[" * 100_000 + b'"4242424242424242"' + b"]" * 100_000
    assert CARD.encode() not in storable(deep)
    assert len(storable(b'"%s4242424242424242"' % (b"x" * (WEBHOOK_BYTES_MAX - 18)))) <= WEBHOOK_BYTES_MAX


def test_an_event_that_is_none_is_refused() -> None:
    """Signed, but not what the provider documents: it is not stored."""

    async def check(room: Room) -> None:
        for body in (b"[]", b"{}", b"not json", b""):
            with pytest.raises(Refused, match="webhook_refused"):
                await room.hear(body)
        assert await room.inbox.counts() == {}

    using(check)


def test_a_bug_in_reading_a_genuine_one_lets_it_come_again() -> None:
    """The event would be lost if it were refused: the error goes up, so that the provider sends it again."""

    async def check(room: Room) -> None:
        with pytest.raises(TypeError):
            await room.hear(event(references=5))
        assert await room.inbox.counts() == {}

    using(check)
