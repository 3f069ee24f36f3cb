"""Making merchants and keys: each act is on the journal before it is done."""

import asyncio

import pytest

from payonce.bootstrap import SystemEntropy
from payonce.core.errors import PayonceError, Refused, StoreUnavailable
from payonce.merchants import DEFAULT_MERCHANT, KIND, MERCHANTS_MAX, Merchants
from payonce.merchants.issuing import Issuing, Wanted
from payonce.merchants.journal import HEAD_KIND, Journal
from payonce.merchants.journal import KIND as JOURNAL
from payonce.merchants.keys import KIND as KEY
from payonce.merchants.keys import Keyring
from payonce.ports import Record, Registry
from payonce.stores.memory import MemoryRegistry
from tests.two_processes import Clock

S = 1_000_000
DAY = 86_400 * S


class Written:
    """A registry that notes what is written, and may refuse one kind."""

    def __init__(self) -> None:
        self.inner, self.puts, self.refused = MemoryRegistry(), list[tuple[str, str]](), ""

    async def all(self, kind: str) -> tuple[Record, ...]:
        return await self.inner.all(kind)

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        if kind == self.refused:
            raise StoreUnavailable("The disk is full. Nothing was written.")
        if kind != HEAD_KIND:
            self.puts.append((kind, name))
        return await self.inner.put(kind, name, value, expected_version)


class Ground:
    def __init__(self, registry: Registry) -> None:
        self.clock = Clock()
        self.merchants = Merchants(registry, self.clock, SystemEntropy())
        self.keys = Keyring(registry, self.clock, SystemEntropy())
        self.journal = Journal(registry, self.clock)
        self.issue = Issuing(self.merchants, self.keys, self.journal, self.clock, "operator:alice@h")


def test_each_act_is_on_record_first() -> None:
    """Merchant, key, rotation and revocation: the entry is written before what it is about, with who did it, and no secret."""

    async def main() -> None:
        registry = Written()
        g = Ground(registry)
        merchant = await g.issue.merchant("Shop")
        issued = await g.issue.key(Wanted(merchant_id=merchant.id, mode="live", name="till", rate_per_s=7))
        rotated = await g.issue.rotate(issued.key.id, DAY)
        await g.issue.revoke(issued.key.id)
        kinds = [kind for kind, _ in registry.puts]
        assert kinds == [JOURNAL, KIND, JOURNAL, KEY, JOURNAL, KEY, JOURNAL, KEY, JOURNAL, KEY]
        entries = await g.journal.read()
        told = [(e.act.what, e.act.subject, e.act.merchant_id, e.act.mode) for e in entries]
        assert told == [
            ("merchant.created", merchant.id, merchant.id, ""),
            ("key.created", issued.key.id, merchant.id, "live"),
            ("key.created", rotated.new.key.id, merchant.id, "live"),
            ("key.rotated", issued.key.id, merchant.id, "live"),
            ("key.revoked", issued.key.id, merchant.id, "live"),
        ]
        assert {e.act.actor for e in entries} == {"operator:alice@h"}
        assert entries[2].act.data["replaces"] == issued.key.id
        assert entries[3].act.data["successor"] == rotated.new.key.id
        everything = b"".join(e.raw for e in entries)
        for key, token in ((issued.key, issued.token), (rotated.new.key, rotated.new.token)):
            assert [x for x in (token[-32:], key.salt, key.hash) if x.encode() in everything] == []

    asyncio.run(main())


def test_what_cannot_be_put_on_record_is_not_done() -> None:
    """Without the journal there is no merchant, no key, no end and no successor."""

    async def main() -> None:
        registry = Written()
        g = Ground(registry)
        key = (await g.issue.key(Wanted(merchant_id=DEFAULT_MERCHANT, mode="test"))).key
        registry.refused, before = JOURNAL, list(registry.puts)
        for act in (
            g.issue.merchant("Shop"),
            g.issue.key(Wanted(merchant_id=DEFAULT_MERCHANT, mode="test")),
            g.issue.revoke(key.id),
            g.issue.rotate(key.id, 0),
        ):
            with pytest.raises(StoreUnavailable):
                await act
        assert registry.puts == before
        assert await g.keys.all() == (key,)

    asyncio.run(main())


def test_a_rotation_keeps_what_the_key_was() -> None:
    """Merchant, mode, scopes, name, rate and expiry; both are live until the overlap is over; then the new one alone."""

    async def main() -> None:
        g = Ground(MemoryRegistry())
        ends = g.clock.now_us() + 90 * DAY
        wanted = Wanted(
            merchant_id=DEFAULT_MERCHANT, mode="test", scopes=("admin",), name="till", rate_per_s=7, expires_us=ends
        )
        first = await g.issue.key(wanted)
        done = await g.issue.rotate(first.key.id, DAY)
        old, new = done.old, done.new.key
        for field in ("merchant_id", "mode", "scopes", "name", "rate_per_s", "expires_us"):
            assert getattr(old, field) == getattr(new, field), field
        assert (old.successor, old.ends_us) == (new.id, g.clock.now_us() + DAY)
        both = [await g.keys.check(token) is not None for token in (first.token, done.new.token)]
        g.clock.pass_us(DAY)
        after = [await g.keys.check(token) is not None for token in (first.token, done.new.token)]
        assert (both, after) == ([True, True], [False, True])
        forever = await g.issue.rotate(new.id, 0, expires_us=0)
        assert (forever.new.key.expires_us, forever.old.live(g.clock.now_us())) == (0, False)

    asyncio.run(main())


def test_what_has_ended_or_is_replaced_is_not_rotated() -> None:
    """An ended, an expired and an already replaced key; an unknown one."""

    async def main() -> None:
        g = Ground(MemoryRegistry())
        revoked, replaced, expiring = [
            (await g.issue.key(Wanted(merchant_id=DEFAULT_MERCHANT, mode="test", expires_us=ends))).key
            for ends in (0, 0, g.clock.now_us() + S)
        ]
        await g.issue.revoke(revoked.id)
        await g.issue.rotate(replaced.id, DAY)
        g.clock.pass_us(S)
        for key, said in ((revoked, "has ended"), (replaced, "being replaced already"), (expiring, "has ended")):
            with pytest.raises(Refused, match=said):
                await g.issue.rotate(key.id, DAY)
        for act in (g.issue.rotate("key_x", 0), g.issue.revoke("key_x"), g.issue.key(Wanted(merchant_id="mer_x", mode="test"))):
            with pytest.raises(Refused, match="There is no") as caught:
                await act
            assert caught.value.code == "not_found"

    asyncio.run(main())


def test_a_second_revocation_changes_nothing() -> None:
    """One entry and one end, however often it is asked; a key that ends later is ended now."""

    async def main() -> None:
        g = Ground(MemoryRegistry())
        key = (await g.issue.key(Wanted(merchant_id=DEFAULT_MERCHANT, mode="test"))).key
        await g.issue.rotate(key.id, DAY)
        ended = await g.issue.revoke(key.id)
        assert ended.ends_us == g.clock.now_us()
        g.clock.pass_us(S)
        assert await g.issue.revoke(key.id) == ended
        assert [e.act.what for e in await g.journal.read()].count("key.revoked") == 1

    asyncio.run(main())


def test_a_rotation_that_breaks_off_says_what_there_is() -> None:
    """The new key is on record, the old one could not be ended: both are named, and what to do."""

    async def main() -> None:
        registry = Written()
        g = Ground(registry)
        key = (await g.issue.key(Wanted(merchant_id=DEFAULT_MERCHANT, mode="test"))).key
        real = g.keys.end

        async def end(key_id: str, at_us: int, successor: str = "") -> None:
            raise StoreUnavailable("The disk is full. Nothing was written.")

        g.keys.end = end  # type: ignore[method-assign,assignment]
        with pytest.raises(PayonceError, match=f"{key.id} goes on without an end. key_.* revoke it"):
            await g.issue.rotate(key.id, DAY)
        g.keys.end = real  # type: ignore[method-assign]
        assert len(await g.keys.all()) == 2

    asyncio.run(main())


def test_merchants_are_listed_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """mer_default is there before anything is; a record that is damaged, newer or forged is left out; the number is bounded."""

    async def main() -> None:
        registry = MemoryRegistry()
        g = Ground(registry)
        assert [m.id for m in await g.merchants.all()] == [DEFAULT_MERCHANT]
        shop = await g.issue.merchant("  Shop  ")
        assert shop.name == "Shop"
        for name, value in (
            ("mer_a", b"{"),
            ("mer_b", b'{"id":"mer_b","name":"b","v":2}'),
            ("mer_c", b'{"id":"x","name":"c"}'),
        ):
            assert await registry.put(KIND, name, value, 0)
        assert await registry.put(KIND, DEFAULT_MERCHANT, b'{"id":"mer_default","name":"forged"}', 0)
        assert [m.name for m in await g.merchants.all()] == ["default", "Shop"]
        assert await g.merchants.get(shop.id) == shop
        assert await g.merchants.get("mer_a") is None
        monkeypatch.setattr("payonce.merchants.MERCHANTS_MAX", 5)
        assert MERCHANTS_MAX > 5
        with pytest.raises(Refused, match="5 merchants"):
            await g.issue.merchant("One more")
        for name in ("", "  ", "x" * 101, "a\nb"):
            with pytest.raises(Refused, match="printable"):
                await g.issue.merchant(name)

    asyncio.run(main())


def test_names_with_a_card_number_are_refused() -> None:
    """A merchant's and a key's: nothing is written, also not on the journal, and the refusal does not repeat it."""
    card = "4111 1111 1111 1111"

    async def main() -> None:
        registry = Written()
        g = Ground(registry)
        with pytest.raises(Refused) as merchant:
            await g.issue.merchant(f"Shop {card}")
        with pytest.raises(Refused) as key:
            await g.issue.key(Wanted(merchant_id=DEFAULT_MERCHANT, mode="test", name=card.replace(" ", "")))
        assert [each.value.code for each in (merchant, key)] == ["card_number_refused"] * 2
        assert "1111" not in f"{merchant.value} {key.value}"
        assert registry.puts == []
        await g.issue.merchant("Shop 4111 1111 1111 1112")

    asyncio.run(main())
