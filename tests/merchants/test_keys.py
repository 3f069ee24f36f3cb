"""Keys at the door: who is let in, who is not, and what a registry that does not answer, or holds nonsense, does to that."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce.bootstrap import SystemEntropy
from payonce.core.errors import Refused, StoreUnavailable
from payonce.core.ids import ALPHABET
from payonce.merchants import keys as module
from payonce.merchants.issuing import Issued
from payonce.merchants.keys import CACHE_US, FORGOTTEN_US, KIND, SCOPES, STALE_US, ApiKey, Caller, Keyring, KeyScope
from payonce.ports import Record, Scope
from payonce.stores.memory import MemoryRegistry
from tests.two_processes import Clock, Flaky

S = 1_000_000
ALL: tuple[KeyScope, ...] = ("payments:read", "payments:write", "refunds:write")


class Ground:
    """One registry, and a keyring on it whose reads can be shut."""

    def __init__(self) -> None:
        self.clock, self.registry = Clock(), Flaky(MemoryRegistry())
        self.ring = Keyring(self.registry, self.clock, SystemEntropy())

    async def made(self, mode: str = "test", merchant: str = "mer_default", expires_us: int = 0) -> tuple[ApiKey, str]:
        key, token = self.ring.new(merchant, mode, ALL, expires_us=expires_us)  # type: ignore[arg-type]
        await self.ring.add(key)
        return key, token


class Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(str(record.msg))


@contextmanager
def logged() -> Iterator[list[str]]:
    """What the keyring logs meanwhile, whatever other tests did to logging."""
    logger, ear = logging.getLogger("payonce.keys"), Ear()
    level, propagate = logger.level, logger.propagate
    logger.setLevel("WARNING")
    logger.propagate = False
    logger.addHandler(ear)
    try:
        yield ear.said
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
        logger.propagate = propagate


def test_a_key_opens_for_its_merchant() -> None:
    """The text that was shown is the key; its record has neither it nor its secret."""

    async def main() -> None:
        ground = Ground()
        key, token = await ground.made()
        assert await ground.ring.check(token) == key
        (record,) = await ground.registry.inner.all(KIND)
        assert token[-32:].encode() not in record.value
        assert token.startswith(f"sk_test_{key.id[4:]}")

    asyncio.run(main())


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_other_token_opens(data: st.DataObject) -> None:
    """Every change of one character is refused, as are cut and lengthened tokens, the other mode, and one key's name with
    another one's secret."""

    async def main() -> None:
        ground = Ground()
        (_, one), (_, two) = await ground.made(), await ground.made()
        at = data.draw(st.integers(0, len(one) - 1))
        char = data.draw(st.sampled_from([c for c in ALPHABET + "AZil_- \n\x00é" if c != one[at]]))
        spoiled = [one[:at] + char + one[at + 1 :], one[:-1], one + "0", one + "\n", " " + one, one.upper(), ""]
        spoiled += [one.replace("test", "live"), one[:28] + two[28:], two[:28] + one[28:]]
        for token in spoiled:
            assert await ground.ring.check(token) is None, token
        assert await ground.ring.check(one) is not None

    asyncio.run(main())


def test_every_single_character_counts() -> None:
    """All changes of one character, at each of the 60 places, to each other character of the alphabet."""

    async def main() -> None:
        ground = Ground()
        _, token = await ground.made()
        for at in range(len(token)):
            for char in ALPHABET:
                if char != token[at]:
                    assert await ground.ring.check(token[:at] + char + token[at + 1 :]) is None, (at, char)

    asyncio.run(main())


def test_wrong_and_unknown_do_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known or not, malformed or not: one hash and one comparison of as many characters."""
    compared: list[tuple[int, int]] = []
    real = module.hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return bool(real(a, b))

    monkeypatch.setattr(module.hmac, "compare_digest", compare)

    async def main() -> None:
        ground = Ground()
        _, token = await ground.made()
        wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
        for each in (token, wrong, "sk_test_" + "0" * 52, "nonsense", ""):
            await ground.ring.check(each)

    asyncio.run(main())
    assert compared == [(64, 64)] * 5


def test_an_end_shuts_the_door() -> None:
    """Expired, revoked and replaced: from that moment on, and what it is called."""

    async def main() -> None:
        ground = Ground()
        now = ground.clock.now_us()
        key, expiring = await ground.made(expires_us=now + 10 * S)
        other, ending = await ground.made()
        await ground.ring.end(other.id, now + 5 * S, "key_next")
        states = []
        for _ in range(3):
            found = {k.id: k.state(ground.clock.now_us()) for k in await ground.ring.all()}
            opens = [await ground.ring.check(token) is not None for token in (expiring, ending)]
            states.append((found[key.id], found[other.id], *opens))
            ground.clock.pass_us(5 * S)
        assert states == [
            ("live", "ending", True, True),
            ("live", "revoked", True, False),
            ("expired", "revoked", False, False),
        ]
        ended = await ground.ring.end(other.id, now + 900 * S)
        assert ended is not None
        assert (ended.ends_us, ended.successor) == (now + 5 * S, "key_next"), "an end only moves closer"
        assert await ground.ring.end("key_unknown", now) is None

    asyncio.run(main())


def test_another_process_hears_of_it_within_the_cache() -> None:
    """A key made or revoked elsewhere counts here after CACHE_US, and not after each request a read."""

    async def main() -> None:
        ground = Ground()
        there = Keyring(ground.registry.inner, ground.clock, SystemEntropy())
        assert await ground.ring.check("sk_test_x") is None
        key, token = there.new("mer_default", "test", ALL)
        await there.add(key)
        assert await ground.ring.check(token) is None
        ground.clock.pass_us(CACHE_US)
        assert await ground.ring.check(token) is not None
        reads = ground.registry.reads
        for _ in range(50):
            await ground.ring.check(token)
        assert ground.registry.reads == reads
        await there.end(key.id, ground.clock.now_us())
        ground.clock.pass_us(CACHE_US)
        assert await ground.ring.check(token) is None

    asyncio.run(main())


def test_one_reads_for_all_that_wait() -> None:
    """A hundred requests at the end of the cache make one read, and one failing read."""

    class Slow(Flaky):
        async def all(self, kind: str) -> tuple[Record, ...]:
            await asyncio.sleep(0)
            return await super().all(kind)

    async def main() -> None:
        ground = Ground()
        _, token = await ground.made()
        ground.registry = Slow(ground.registry.inner)
        ground.ring = Keyring(ground.registry, ground.clock, SystemEntropy())
        assert all(await asyncio.gather(*(ground.ring.check(token) for _ in range(100))))
        assert ground.registry.reads == 1
        ground.registry.readable = False
        ground.clock.pass_us(CACHE_US)
        assert all(await asyncio.gather(*(ground.ring.check(token) for _ in range(100))))
        assert ground.registry.reads == 2

    asyncio.run(main())


def test_what_was_made_while_it_was_read_is_not_missed() -> None:
    """A read that began before this process made a key does not hide the key."""

    async def main() -> None:
        ground = Ground()
        await ground.made()
        made: list[str] = []

        async def make() -> None:
            made.append((await ground.made())[1])

        ground.registry.between = make
        await ground.ring.any("test")
        assert await ground.ring.check(made[0]) is not None

    asyncio.run(main())


def test_a_registry_that_does_not_answer_shuts_the_door_in_time() -> None:
    """What was known counts for STALE_US, then nobody gets in, also nobody without a key; the first answer opens it again.
    Before the first answer nobody gets in at all."""

    async def main() -> None:
        ground = Ground()
        _, token = await ground.made()
        ground.registry.readable = False
        with pytest.raises(StoreUnavailable, match="nobody is let in"):
            await ground.ring.check(token)
        ground.registry.readable = True
        ground.clock.pass_us(CACHE_US)
        assert await ground.ring.check(token) is not None
        ground.registry.readable = False
        ground.clock.pass_us(STALE_US - 1)
        assert await ground.ring.check(token) is not None
        ground.clock.pass_us(1)
        for ask in (ground.ring.check(token), ground.ring.any("test"), ground.ring.ever("test")):
            with pytest.raises(StoreUnavailable, match="nobody is let in"):
                await ask
        ground.registry.readable = True
        ground.clock.pass_us(CACHE_US)
        assert await ground.ring.check(token) is not None

    asyncio.run(main())


def test_a_clock_that_is_set_back_trusts_nothing_old() -> None:
    """With the registry away, what was read in the future is not known to be fresh."""

    async def main() -> None:
        ground = Ground()
        _, token = await ground.made()
        assert await ground.ring.check(token) is not None
        ground.registry.readable = False
        ground.clock.wall_us -= 3600 * S
        with pytest.raises(StoreUnavailable):
            await ground.ring.check(token)

    asyncio.run(main())


@pytest.mark.parametrize("spoil", ["{", "[]", "{}", '{"id": 5}', "\udce9", "newer", "renamed", "hash", "mode", "scopes"])
def test_a_spoiled_record_concerns_itself_alone(spoil: str) -> None:
    """Damaged, of a newer payonce, or under another name: it opens nothing, the others work, it is logged once, and it does
    not make the process believe that there are no keys."""

    async def main() -> None:
        ground = Ground()
        key, token = await ground.made()
        whole = msgspec.json.encode(key)
        changed = {
            "newer": replace(key, v=2),
            "renamed": replace(key, id="key_" + "0" * 20),
            "hash": whole.replace(key.hash.encode(), b'\\ud800"'[:6]),
            "mode": whole.replace(b'"mode":"test"', b'"mode":"both"'),
            "scopes": replace(key, scopes=()),
        }.get(spoil, spoil.encode(errors="surrogateescape"))
        value = changed if isinstance(changed, bytes) else msgspec.json.encode(changed)
        assert await ground.registry.inner.put(KIND, key.id, value, 1)
        assert await ground.ring.any("live"), "whose it is cannot be told"
        _, good = await ground.made()
        for _ in range(5):
            ground.clock.pass_us(CACHE_US)
            assert await ground.ring.check(token) is None
            assert await ground.ring.check(good) is not None
        assert await ground.ring.unreadable() == (key.id,)
        assert await ground.ring.end(key.id, ground.clock.now_us()) is None
        assert len(await ground.ring.all()) == 1

    with logged() as said:
        asyncio.run(main())
    assert len([text for text in said if "cannot be read here" in text]) == 1, said


def test_the_last_keys_end_is_remembered() -> None:
    """``any`` is about live keys, ``ever`` about all there were; each by mode."""

    async def main() -> None:
        ground = Ground()
        assert not await ground.ring.ever("test")
        key, _ = await ground.made()
        assert (await ground.ring.any("test"), await ground.ring.any("live")) == (True, False)
        await ground.ring.end(key.id, ground.clock.now_us())
        assert (await ground.ring.any("test"), await ground.ring.ever("test")) == (False, True)
        assert not await ground.ring.ever("live")

    asyncio.run(main())


def test_nothing_that_is_printed_or_logged_helps_anybody() -> None:
    """Neither the secret, the salt nor the hash stands in any text of a key, a caller or what was issued."""

    async def main() -> list[str]:
        ground = Ground()
        key, token = await ground.made()
        caller = Caller(scope=Scope("mer_default", "test"), scopes=frozenset(ALL), key=key)
        issued = Issued(key, token)
        things = (key, caller, issued, {"key": key}, [caller])
        texts = [form(each) for each in things for form in (repr, str)]
        texts += [f"{key} {caller}", str(key.__rich_repr__()), str(issued.__rich_repr__())]
        with logged() as said:
            module.log.error("nothing", key=key, caller=caller, issued=issued, token=token, text=f"with {token}")
        return [*(t for t in texts), *said, token[-32:], key.salt, key.hash]

    *texts, secret, salt, digest = asyncio.run(main())
    assert [text for text in texts if "nothing" in text] != [], "it was logged"
    assert [text for text in texts if secret in text or salt in text or digest in text] == []


@pytest.mark.parametrize(
    ("scopes", "name", "rate", "expires_us", "said"),
    [
        ((), "", 0, 0, "scopes are one or more"),
        (("everything",), "", 0, 0, "scopes are one or more"),
        (ALL, "x" * 101, 0, 0, "at most 100"),
        (ALL, "a\x1bb", 0, 0, "printable"),
        (ALL, "", -1, 0, "rate"),
        (ALL, "", 100_001, 0, "rate"),
        (ALL, "", 0, 1, "expired already"),
    ],
)
def test_an_unusable_key_is_refused(scopes: tuple[KeyScope, ...], name: str, rate: int, expires_us: int, said: str) -> None:
    """No scopes, unknown ones, a name or rate out of bounds, an end in the past."""
    with pytest.raises(Refused, match=said):
        Ground().ring.new("mer_default", "test", scopes, name=name, rate_per_s=rate, expires_us=expires_us)


def test_the_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound what ended long ago makes room; when nothing did, no more are taken."""
    monkeypatch.setattr(module, "KEYS_MAX", 2)

    async def main() -> None:
        ground = Ground()
        (old, _), (kept, token) = await ground.made(), await ground.made()
        with pytest.raises(Refused, match="2 keys on record"):
            await ground.ring.require_room()
        await ground.ring.end(old.id, ground.clock.now_us())
        with pytest.raises(Refused, match="2 keys on record"):
            await ground.ring.require_room()
        ground.clock.pass_us(FORGOTTEN_US)
        await ground.ring.require_room()
        assert [key.id for key in await ground.ring.all()] == [kept.id]
        assert await ground.ring.check(token) is not None

    asyncio.run(main())


def test_what_a_scope_includes() -> None:
    """admin includes all, writing payments includes reading them, and nothing else includes anything."""
    grid = {held: [w for w in SCOPES if Caller(scope=Scope("m", "test"), scopes=frozenset({held})).may(w)] for held in SCOPES}
    assert grid == {
        "payments:read": ["payments:read"],
        "payments:write": ["payments:read", "payments:write"],
        "refunds:write": ["refunds:write"],
        "admin": list(SCOPES),
    }
