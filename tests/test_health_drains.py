"""Drain switches, operators, and a registry that does not answer."""

import asyncio

import pytest

from payonce.core.breaker import BAD_MIN, OPEN_US, PROBE_LEASE_US
from payonce.core.due import Block
from payonce.core.errors import StoreUnavailable
from payonce.health import CACHE_US, HOLD_US, Admitted, State

from .two_processes import BAD, S, Two, logged, run


def test_a_drain_counts_for_both_until_resumed() -> None:
    """An operator's switch: blocked without an end, with reason and who; a closed breaker does not lift it."""

    async def test(w: Two) -> None:
        await w.look()
        with logged() as logs:
            await w.one.drain("mock", "maintenance", "operator:eve")
            await w.look()
            block = Block("drained by operator: maintenance", None, drained=True)
            assert w.blocks(w.one) == w.blocks(w.two) == {"mock": block}
            assert await w.two.admit("mock") is None
            await w.two.drain("mock", "longer maintenance", "operator:bob")
            assert (await w.one.states())["mock"].drain == (await w.two.states())["mock"].drain
            assert w.blocks(w.two)["mock"].why == "drained by operator: longer maintenance"
            await w.one.resume("mock", "operator:eve")
            await w.look()
        assert w.blocks(w.one) == w.blocks(w.two) == {}
        assert [e["event"] for e in logs] == ["account drained", "account drained", "account resumed"]
        assert await w.two.admit("mock") == Admitted("mock")

    run(test)


def test_resume_leaves_a_breaker_unless_told() -> None:
    """Ending a drain says nothing about the provider's health; --close-breaker does. Nothing to end is a no-op."""

    async def test(w: Two) -> None:
        await w.two.resume("mock", "operator:eve")
        await w.open()
        await w.two.drain("mock", "maintenance", "operator:eve")
        assert w.blocks(w.two)["mock"].drained
        await w.two.resume("mock", "operator:eve")
        assert not w.blocks(w.two)["mock"].drained
        await w.two.resume("mock", "operator:eve", close_breaker=True)
        assert await w.two.states() == {}
        await w.look()
        assert w.blocks(w.one) == w.blocks(w.two) == {}

    run(test)


def test_a_probe_after_the_operator_closed_it_changes_nothing() -> None:
    """The operator was faster: the probe's late failure does not open what was closed since."""

    async def test(w: Two) -> None:
        leave = await w.probe()
        await w.two.resume("mock", "operator:eve", close_breaker=True)
        await w.one.learn("mock", BAD, leave)
        assert w.blocks(w.one) == {}
        assert await w.registry.all("breaker") == ()

    run(test)


def test_operators_that_race_both_get_their_way() -> None:
    """Drain and drain again from two processes at once: one reason stands, nobody gets an error."""

    async def test(w: Two) -> None:
        await asyncio.gather(*((w.one, w.two)[n % 2].drain("mock", f"reason {n}", "op") for n in range(8)))
        (record,) = await w.registry.all("drain")
        assert record.version == 8, "each was written"
        await asyncio.gather(w.one.resume("mock", "op"), w.two.resume("mock", "op"))
        assert await w.one.states() == {}

    run(test)


def test_a_registry_that_cannot_be_read_keeps_what_was_known() -> None:
    """A drained account stays drained, a healthy one goes on; nothing is raised, and it is said once."""

    async def test(w: Two) -> None:
        await w.one.drain("drained", "x", "op")
        await w.look()
        w.doors[0].readable = False
        with logged() as logs:
            for _ in range(5):
                await w.look()
                assert list(w.blocks(w.one)) == ["drained"]
                assert await w.one.admit("mock") == Admitted("mock")
                assert await w.one.admit("drained") is None
        assert [e["event"] for e in logs] == ["registry cannot be read, what was known stays"]
        with pytest.raises(StoreUnavailable):
            await w.one.states()
        w.doors[0].readable = True
        await w.two.resume("drained", "op")
        await w.look()
        assert w.blocks(w.one) == {}

    run(test)


def test_before_the_registry_was_ever_read_nothing_new_starts() -> None:
    """The account may be drained: it waits a second at a time."""

    async def test(w: Two) -> None:
        w.doors[0].readable = False
        await w.one.refresh()
        assert await w.one.admit("mock") is None
        block = w.blocks(w.one)["mock"]
        assert block.until_us == w.clock.now_us() + HOLD_US
        w.doors[0].readable = True
        w.clock.pass_us(HOLD_US)
        assert await w.one.admit("mock") == Admitted("mock")
        assert w.blocks(w.one) == {}

    run(test)


def test_a_registry_that_cannot_be_written_lets_no_probe_through() -> None:
    """Without the write there could be many: the account waits, and nobody spins."""

    async def test(w: Two) -> None:
        await w.open()
        w.clock.pass_us(OPEN_US)
        w.doors[0].writable = False
        assert await w.one.admit("mock") is None
        assert w.blocks(w.one)["mock"].until_us == w.clock.now_us() + HOLD_US
        before = w.doors[0].writes
        assert await w.one.admit("mock") is None
        assert w.doors[0].writes == before
        w.doors[0].writable = True
        w.clock.pass_us(HOLD_US)
        assert await w.one.admit("mock") is not None

    run(test)


def test_a_registry_that_cannot_be_written_hides_no_outage_for_long() -> None:
    """Opening failed to be written: the next failures try again."""

    async def test(w: Two) -> None:
        await w.look()
        w.doors[0].writable = False
        for _ in range(BAD_MIN):
            await w.one.learn("mock", BAD, None)
        assert w.blocks(w.one) == {}
        w.doors[0].writable = True
        for _ in range(BAD_MIN):
            await w.one.learn("mock", BAD, None)
        assert list(w.blocks(w.one)) == ["mock"]

    run(test)


def test_an_old_read_does_not_undo_a_newer_write() -> None:
    """A probe is won while a read that began before is on its way: what the read saw is older, and is dropped."""

    async def test(w: Two) -> None:
        await w.open()
        w.clock.pass_us(OPEN_US)
        await w.one.refresh()
        won: list[Admitted | None] = []

        async def win() -> None:
            won.append(await w.one.admit("mock"))

        # "breaker" is the second kind that is read: let the first pass, then win after the second was fetched
        async def after_drains() -> None:
            w.doors[0].between = win

        w.doors[0].between = after_drains
        w.clock.pass_us(CACHE_US)
        await w.one.refresh()
        assert won[0] is not None
        assert "mock" in w.blocks(w.one)

    run(test)


def test_records_of_a_newer_payonce_are_respected() -> None:
    """A drain that cannot be read is still a drain; a breaker that cannot be read counts as closed and is left alone."""

    async def test(w: Two) -> None:
        await w.registry.put("drain", "a", b'{"v":2,"who":"x"}', 0)
        await w.registry.put("breaker", "b", b'{"v":2}', 0)
        await w.look()
        assert w.blocks(w.one) == {"a": Block("drained by unknown: written by a newer payonce", None, drained=True)}
        assert await w.one.admit("b") == Admitted("b")
        for _ in range(2 * BAD_MIN):
            await w.one.learn("b", BAD, None)
        assert [r.value for r in await w.registry.all("breaker")] == [b'{"v":2}']

    run(test)


def test_states_are_read_from_the_registry() -> None:
    """What an operator sees is what is on record now, not what was cached."""

    async def test(w: Two) -> None:
        await w.one.refresh()
        await w.open("slow")
        await w.two.drain("mock", "x", "op")
        found = await w.one.states()
        assert list(found) == ["mock", "slow"]
        assert (found["mock"].breaker, found["slow"].drain) == (None, None)
        assert found["slow"] != State()

    run(test)


def test_a_leave_stands_until_something_changes() -> None:
    """Just before the claim: a drain, a breaker that opened, or the end of a probe's lease since takes the leave back."""

    async def test(w: Two) -> None:
        leave = await w.one.admit("mock")
        assert leave is not None
        assert await w.one.stands(leave)
        await w.two.drain("mock", "maintenance", "operator")
        w.clock.pass_us(CACHE_US)
        assert not await w.one.stands(leave)
        await w.two.resume("mock", "operator")
        await w.open()
        assert not await w.one.stands(leave)
        w.clock.pass_us(OPEN_US)
        probe = await w.one.admit("mock")
        assert probe is not None
        assert await w.one.stands(probe)
        w.clock.pass_us(PROBE_LEASE_US)
        assert not await w.one.stands(probe)

    run(test)


def test_a_registry_out_of_reach_from_the_start_is_asked_less_and_less() -> None:
    """Nothing new is admitted, it is read once a second at most, and waiting payments look again after 1, 2, 4 ... 32 s."""

    async def test(w: Two) -> None:
        w.doors[0].readable = False
        waits = []
        for _ in range(8):
            assert await w.one.admit("mock") is None
            assert await w.one.admit("mock") is None
            waits.append(((w.blocks(w.one)["mock"].until_us or 0) - w.clock.now_us()) // S)
            w.clock.pass_us(CACHE_US)
        assert waits == [1, 2, 4, 8, 16, 32, 32, 32]
        assert w.doors[0].reads == len(waits)
        w.doors[0].readable = True
        assert await w.one.admit("mock") is not None

    run(test)
