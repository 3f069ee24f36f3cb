"""`payonce providers list|drain|resume`, beside a store that others use."""

import asyncio
from pathlib import Path

import pytest

from payonce.bootstrap import SystemClock
from payonce.cli.who import operator_here
from payonce.core.breaker import BAD_MIN, OPEN_MAX_US, OPEN_US, Signal
from payonce.health import CACHE_US, Admitted, Health
from payonce.ports import Clock
from payonce.stores.sqlite import open_store

from .conftest import Payonce

TWO = 'version = 1\n[providers.mock]\n[providers.mock_two]\nadapter = "mock"\n'
HEAD = ["ACCOUNT", "ADAPTER", "MODE", "TARGET", "DRAINED", "BREAKER", "UNTIL", "WHY", "MERCHANTS"]
CLOSED = {"state": "closed", "why": None, "since": None, "until": None, "failedProbes": 0}


@pytest.fixture(autouse=True)
def store(data: Path, tmp_path: Path) -> Path:
    """An empty store and two accounts."""

    async def make() -> None:
        await (await open_store(data / "payments.db")).close()

    data.mkdir()
    asyncio.run(make())
    (tmp_path / "payonce.toml").write_text(TWO)
    return data / "payments.db"


class Past(SystemClock):
    def now_us(self) -> int:
        return super().now_us() - OPEN_US


class Ahead(SystemClock):
    """What opens now stays open for most of a minute: seconds are over before slow commands have looked."""

    def now_us(self) -> int:
        return super().now_us() + OPEN_MAX_US - 2 * OPEN_US


async def break_it(file: Path, account: str, clock: Clock) -> None:
    """An outage."""
    store = await open_store(file)
    health = Health(store.registry, clock)
    for _ in range(BAD_MIN):
        await health.learn(account, Signal("bad", "HTTP 503"), None)
    await store.close()


def rows(payonce: Payonce) -> dict[str, list[str]]:
    ran = payonce("providers", "list")
    assert (ran.code, ran.err) == (0, "")
    head, *found = [line.split("\t") for line in ran.out.splitlines()]
    assert head == HEAD
    return {row[0]: row[1:] for row in found}


def test_list_shows_every_account(payonce: Payonce) -> None:
    """Configured accounts in their order, healthy at first; JSON has the same, and no credential."""
    target = "http://sandbox.payonce.invalid/mock"
    assert rows(payonce) == {n: ["mock", "test", target, "no", "closed", "", "", "*"] for n in ("mock", "mock_two")}
    first, second = payonce("providers", "list", "--json").json["providers"]
    assert first == {
        "name": "mock",
        "configured": True,
        "adapter": "mock",
        "mode": "test",
        "merchants": "*",
        "baseUrl": target,
        "drained": False,
        "drain": None,
        "breaker": CLOSED,
    }
    assert second["name"] == "mock_two"


def test_drain_and_resume(payonce: Payonce) -> None:
    """Drained with a reason, shown with who and why, ended again; each as JSON too."""
    ran = payonce("providers", "drain", "mock", "--reason", "maintenance 4711")
    assert (ran.code, "mock is drained" in ran.out, "resume mock" in ran.err) == (0, True, True)
    shown = rows(payonce)
    assert (shown["mock"][3], shown["mock"][6]) == ("yes", f"drained by {operator_here()}: maintenance 4711")
    assert shown["mock_two"][3] == "no"
    again = payonce("providers", "drain", "mock", "--reason", "longer", "--json").json
    assert (again["drained"], again["drain"]["reason"], again["drain"]["by"]) == (True, "longer", operator_here())
    assert payonce("providers", "resume", "mock", "--json").json["drained"] is False
    assert rows(payonce)["mock"][3] == "no"
    ran = payonce("providers", "resume", "mock")
    assert (ran.code, ran.out) == (0, "mock was not drained.\n")


def test_a_running_process_sees_it_within_a_second(payonce: Payonce, store: Path) -> None:
    """A process that has the file open learns of drain and resume at its next look, a second later at most."""

    class Later(SystemClock):
        passed_us = 0

        def monotonic_us(self) -> int:
            return super().monotonic_us() + self.passed_us

    async def main() -> None:
        clock = Later()
        opened = await open_store(store)
        health = Health(opened.registry, clock)
        assert await health.admit("mock") == Admitted("mock")
        assert (await asyncio.to_thread(payonce, "providers", "drain", "mock", "--reason", "x")).code == 0
        clock.passed_us += CACHE_US
        assert await health.admit("mock") is None
        assert health.blocked(clock.now_us())["mock"].drained
        assert (await asyncio.to_thread(payonce, "providers", "resume", "mock")).code == 0
        clock.passed_us += CACHE_US
        assert await health.admit("mock") == Admitted("mock")
        await opened.close()

    asyncio.run(main())


def test_an_open_breaker_is_shown_and_can_be_closed(payonce: Payonce, store: Path) -> None:
    """Until when and why; resume leaves it and says so, --close-breaker ends it."""
    asyncio.run(break_it(store, "mock", Ahead()))
    why = "5 of the last 5 calls failed, the last one with HTTP 503"
    shown = rows(payonce)["mock"]
    assert (shown[3], shown[4], shown[5].startswith("in "), shown[6]) == ("no", "open", True, why)
    b = payonce("providers", "list", "--json").json["providers"][0]["breaker"]
    assert (b["state"], b["why"], b["failedProbes"], b["since"] < b["until"]) == ("open", why, 0, True)
    ran = payonce("providers", "resume", "mock")
    assert (ran.code, "--close-breaker" in ran.err) == (0, True)
    assert rows(payonce)["mock"][4] == "open"
    ran = payonce("providers", "resume", "mock", "--close-breaker")
    assert (ran.code, "breaker" in ran.err) == (0, False)
    assert rows(payonce)["mock"][4] == "closed"


def test_a_breaker_whose_pause_is_over_is_half_open(payonce: Payonce, store: Path) -> None:
    """Nothing is stopped any more: the next new payment tries it, and no "until" is shown."""
    asyncio.run(break_it(store, "mock", Past()))
    shown = rows(payonce)["mock"]
    assert (shown[4], shown[5]) == ("half-open", "")
    assert shown[6].startswith("waits for the next payment to try it (5 of the last 5 calls failed")


def test_a_missing_reason_points_to_the_help_of_drain(payonce: Payonce) -> None:
    """The help that is named is the one that says what --reason is."""
    ran = payonce("providers", "drain", "mock")
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "See `payonce providers drain --help`.")
    assert payonce("nothing").err.endswith("See `payonce --help`.\n")


@pytest.mark.parametrize("args", [("drain", "mokc", "--reason", "x"), ("resume", "mokc"), ("resume", "Mock")])
def test_an_unknown_account_is_refused(payonce: Payonce, args: tuple[str, ...]) -> None:
    """Exit code 2, what was probably meant, and nothing written."""
    ran = payonce("providers", *args)
    assert (ran.code, ran.out) == (2, "")
    assert f"no provider account {args[1]!r}" in ran.err
    assert "Did you mean mock" in ran.err
    assert "Nothing was changed" in ran.err
    assert [row[3] for row in rows(payonce).values()] == ["no", "no"]


def test_an_account_that_left_the_configuration_is_shown_and_can_be_resumed(payonce: Payonce, tmp_path: Path) -> None:
    """Its switch is still on record: it shows, and can be lifted, but not set again."""
    assert payonce("providers", "drain", "mock_two", "--reason", "x").code == 0
    (tmp_path / "payonce.toml").write_text("version = 1\n[providers.mock]\n")
    shown = rows(payonce)
    assert shown["mock_two"] == [
        "",
        "",
        "",
        "yes",
        "closed",
        "",
        f"drained by {operator_here()}: x; not in this configuration",
        "",
    ]
    assert payonce("providers", "drain", "mock_two", "--reason", "y").code == 2
    assert payonce("providers", "resume", "mock_two").code == 0
    assert list(rows(payonce)) == ["mock"]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "\x1b\n"])
def test_a_reason_is_a_short_text(payonce: Payonce, reason: str) -> None:
    """It will be read on payments for years: nothing, and a novel, are refused."""
    ran = payonce("providers", "drain", "mock", "--reason", reason)
    assert (ran.code, "--reason" in ran.err) == (2, True)
    assert rows(payonce)["mock"][3] == "no"


def test_a_reason_holds_no_card_number_and_moves_no_cursor(payonce: Payonce) -> None:
    """What an operator pastes is masked before it is stored."""
    assert payonce("providers", "drain", "mock", "--reason", "card 4242424242424242\x1b[2J failed").code == 0
    why = rows(payonce)["mock"][6]
    assert ("4242" in why, "\x1b" in why, "[redacted]" in why) == (False, False, True)


def test_without_a_store_nothing_is_made(payonce: Payonce, store: Path) -> None:
    """A mistyped folder must not look like an account that is not drained."""
    store.unlink()
    for args in (("list",), ("drain", "mock", "--reason", "x"), ("resume", "mock")):
        ran = payonce("providers", *args)
        assert (ran.code, "there is no store" in ran.err) == (2, True)
    assert not store.exists()


def test_no_secret_is_needed_to_drain(payonce: Payonce, tmp_path: Path) -> None:
    """An account is switched off from a machine that does not have its credentials."""
    secret = '[providers.mock]\nbase_url = "https://pay.example"\nsecret = "env:NOT_SET_HERE"\n'
    (tmp_path / "payonce.toml").write_text("version = 1\n" + secret)
    assert payonce("providers", "drain", "mock", "--reason", "leaked").code == 0
    assert rows(payonce)["mock"][3] == "yes"


def test_verify_takes_no_offence(payonce: Payonce) -> None:
    """The registry belongs to no payment and is no stray."""
    assert payonce("providers", "drain", "mock", "--reason", "x").code == 0
    ran = payonce("verify")
    assert (ran.code, "no problem" in ran.out) == (0, True)
