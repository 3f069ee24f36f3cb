"""Breakers as two processes see them: what opens one, who may try it, what closes it."""

import asyncio
from pathlib import Path

import pytest

from payonce.core import breaker
from payonce.core.breaker import BAD_MIN, GOOD, NEUTRAL, OPEN_US, PROBE_LEASE_US, Signal
from payonce.core.due import Block
from payonce.core.errors import StoreUnavailable
from payonce.health import CACHE_US, Admitted, Health, signal
from payonce.ports import Lost, Response
from payonce.stores.memory import MemoryRegistry
from payonce.stores.sqlite import open_store

from .two_processes import BAD, WHY, Clock, Two, logged, run


def test_a_reply_is_told_apart() -> None:
    """What came back, what did not, and what was never tried."""
    assert signal(Response(status=200, headers={}, body=b"")) == GOOD
    assert signal(Response(status=503, headers={}, body=b"")) == BAD
    assert signal(Lost(sent=True, reason="timeout")) == Signal("bad", "no answer (timeout)")
    assert signal(Lost(sent=False, reason="ConnectError")).kind == "bad"
    assert signal(Lost(sent=False, reason="deadline", ours=True)) == signal(None) == NEUTRAL


def test_closed_lets_everything_through_and_writes_nothing() -> None:
    """No record, no write and at most a read a second, however many calls there are."""

    async def test(w: Two) -> None:
        for _ in range(50):
            assert await w.one.admit("mock") == Admitted("mock")
            await w.one.learn("mock", GOOD, Admitted("mock"))
        assert w.blocks(w.one) == {}
        assert (w.doors[0].writes, w.doors[0].reads) == (0, 2)

    run(test)


def test_an_outage_that_one_process_sees_stops_both() -> None:
    """Five failed calls in one process: one write; within a second no process starts anything new there, and says why."""

    async def test(w: Two) -> None:
        with logged() as logs:
            await w.open()
        expected = {"mock": Block(f"circuit breaker open: {WHY}", w.clock.now_us() - CACHE_US + OPEN_US)}
        assert w.blocks(w.one) == w.blocks(w.two) == expected
        assert (await w.one.admit("mock"), await w.two.admit("mock")) == (None, None)
        assert await w.two.admit("other") == Admitted("other")
        assert w.doors[0].writes + w.doors[1].writes == 1
        assert [(e["event"], e["level"], e["account"], e["why"]) for e in logs] == [("breaker opened", "warning", "mock", WHY)]

    run(test)


def test_a_burst_of_failures_is_written_once() -> None:
    """Sixty calls that fail at the same moment, in two processes, make one record."""

    async def test(w: Two) -> None:
        await w.look()
        await asyncio.gather(*((w.one, w.two)[n % 2].learn("mock", BAD, None) for n in range(60)))
        (record,) = await w.registry.all("breaker")
        assert record.version == 1
        assert w.doors[0].writes + w.doors[1].writes <= 2 * 6
        assert w.blocks(w.one) == w.blocks(w.two) != {}

    run(test)


def test_good_and_neutral_signals_never_open() -> None:
    """Declines and "slow down" say nothing against the provider."""

    async def test(w: Two) -> None:
        for n in range(100):
            await w.one.learn("mock", (GOOD, NEUTRAL)[n % 2], None)
        for _ in range(BAD_MIN - 1):
            await w.one.learn("mock", BAD, None)
            await w.one.learn("mock", NEUTRAL, None)
        assert w.doors[0].writes == 0

    run(test)


def test_half_open_lets_exactly_one_call_through() -> None:
    """After the pause fifty payments in two processes ask: one gets the probe, the others are told when to look again."""

    async def test(w: Two) -> None:
        await w.open()
        w.clock.pass_us(OPEN_US)
        assert w.blocks(w.one) == w.blocks(w.two) == {}
        leaves = await asyncio.gather(*((w.one, w.two)[n % 2].admit("mock") for n in range(50)))
        (leave,) = [leave for leave in leaves if leave is not None]
        assert leave.probe is not None
        for health in (w.one, w.two):
            (block,) = w.blocks(health).values()
            assert block.why == f"circuit breaker open: {WHY}"
            assert block.until_us is not None
            assert w.clock.now_us() < block.until_us <= w.clock.now_us() + PROBE_LEASE_US

    run(test)


def test_whoever_is_not_admitted_is_blocked() -> None:
    """ "None: then blocked names the account, or what it said has changed": nobody asks in circles."""

    async def test(w: Two) -> None:
        await w.probe()
        assert await w.two.admit("mock") is None  # it had not seen the other's probe
        assert "mock" in w.blocks(w.two)

    run(test)


def test_a_good_probe_closes_it_for_both() -> None:
    """The call that tries it goes well: no record is left, and earlier failures do not open it again."""

    async def test(w: Two) -> None:
        leave = await w.probe()
        with logged() as logs:
            await w.one.learn("mock", GOOD, leave)
        assert w.blocks(w.one) == {}
        await w.look()
        assert w.blocks(w.two) == {}
        assert await w.registry.all("breaker") == ()
        assert [(e["event"], e["level"]) for e in logs] == [("breaker closed", "info")]
        for health in (w.one, w.two):
            await health.learn("mock", BAD, None)
            assert await health.admit("mock") == Admitted("mock")

    run(test)


@pytest.mark.parametrize("own", [True, False])
def test_failures_of_the_outage_do_not_open_it_again(own: bool) -> None:
    """A process with four failures of its own forgets them when a probe went well, its own or another's."""

    async def test(w: Two) -> None:
        await w.look()
        for _ in range(BAD_MIN - 1):
            await w.two.learn("mock", BAD, None)
        await w.open()
        w.clock.pass_us(OPEN_US)
        prober = w.two if own else w.one
        await prober.learn("mock", GOOD, await prober.admit("mock"))
        await w.look()
        await w.two.learn("mock", BAD, None)
        assert await w.registry.all("breaker") == ()

    run(test)


def test_a_bad_probe_opens_it_for_longer() -> None:
    """Twice as long, for both, and the warning says so."""

    async def test(w: Two) -> None:
        leave = await w.probe()
        with logged() as logs:
            await w.one.learn("mock", BAD, leave)
        until = w.clock.now_us() + 2 * OPEN_US
        await w.look()
        why = "circuit breaker open: try 1 failed too, with HTTP 503"
        assert w.blocks(w.one) == w.blocks(w.two) == {"mock": Block(why, until)}
        assert [(e["event"], e["level"], e["pause_s"]) for e in logs] == [("breaker stays open", "warning", 10.0)]

    run(test)


def test_a_probe_that_was_not_sent_frees_its_place() -> None:
    """The claim was lost, or the deadline passed: the next one may try at once, in any process."""

    async def test(w: Two) -> None:
        await w.one.learn("mock", NEUTRAL, await w.probe())
        assert w.blocks(w.one) == {}
        w.clock.pass_us(CACHE_US)
        again = await w.two.admit("mock")
        assert again is not None
        assert again.probe is not None
        assert again.probe.failures == 0

    run(test)


def test_a_probe_that_never_reports_frees_its_place_at_the_lease_end() -> None:
    """The process died: nobody is let through before, one is after; and the late report of the first changes nothing."""

    async def test(w: Two) -> None:
        lost = await w.probe()
        w.clock.pass_us(PROBE_LEASE_US - 1)
        assert await w.two.admit("mock") is None
        w.clock.pass_us(1)
        leave = await w.two.admit("mock")
        assert leave is not None
        for late in (GOOD, BAD, NEUTRAL):
            await w.one.learn("mock", late, lost)
        assert [r.version for r in await w.registry.all("breaker")] == [leave.version]
        await w.two.learn("mock", GOOD, leave)
        assert await w.registry.all("breaker") == ()

    run(test)


def test_other_calls_do_not_end_an_open_breaker() -> None:
    """Reads that go well, and calls from before the outage that come back late, are not the probe."""

    async def test(w: Two) -> None:
        earlier = await w.one.admit("mock")
        await w.probe()
        before = w.doors[0].writes
        for s in (GOOD, NEUTRAL, *[BAD] * BAD_MIN):
            for each in (None, earlier):
                await w.one.learn("mock", s, each)
        assert w.doors[0].writes == before
        (record,) = await w.registry.all("breaker")
        b = breaker.decode(record.value)
        assert b is not None
        assert (b.state, b.failures) == ("probing", 0)

    run(test)


def test_over_one_file_two_processes_agree(tmp_path: Path) -> None:
    """The same on SQLite with two stores: opened by one, one probe among many, closed for both."""

    async def main() -> None:
        clock = Clock()
        stores = [await open_store(tmp_path / "pay.db") for _ in range(2)]
        one, two = (Health(store.registry, clock) for store in stores)
        for _ in range(BAD_MIN):
            await one.learn("mock", BAD, None)
        assert await two.admit("mock") is None
        clock.pass_us(OPEN_US)
        leaves = await asyncio.gather(*((one, two)[n % 2].admit("mock") for n in range(40)))
        (leave,) = [leave for leave in leaves if leave is not None]
        await (one if leaves.index(leave) % 2 == 0 else two).learn("mock", GOOD, leave)
        clock.pass_us(CACHE_US)
        assert await one.admit("mock") == await two.admit("mock") == Admitted("mock")
        for store in stores:
            await store.close()

    asyncio.run(main())


class ReadOnly(MemoryRegistry):
    """A store on a disk that is full: it answers, and takes nothing. Counts what it was asked to take."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    async def put(self, kind: str, name: str, value: bytes | None, expected_version: int) -> bool:
        if self.refused >= 0:
            self.refused += 1
            raise StoreUnavailable
        return await super().put(kind, name, value, expected_version)


def test_what_cannot_be_written_is_not_tried_at_every_look() -> None:
    """Two accounts are to be probed while nothing can be written: each is tried now and then, more and more seldom, however
    many payments wait; that the other's record could be read frees nobody. Once there is room it goes on within half a
    minute."""

    async def main() -> None:
        clock, registry = Clock(), ReadOnly()
        registry.refused = -1
        for name in ("a", "b"):
            await registry.put("breaker", name, breaker.encode(breaker.opened("down", clock.now_us())), 0)
        health, registry.refused = Health(registry, clock), 0
        clock.pass_us(60_000_000)
        for _ in range(200):
            for _ in range(5):
                assert [await health.admit(name) for name in ("a", "b")] == [None, None]
            clock.pass_us(250_000)
        assert 8 <= registry.refused <= 16
        registry.refused = -1
        clock.pass_us(32_000_000)
        assert [leave and leave.account for leave in [await health.admit("a"), await health.admit("b")]] == ["a", "b"]

    asyncio.run(main())
