"""The demo: run whole as a process, its comparison with the ledgers, and what it tells of payments and providers."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.cli import USAGE, main
from payonce.config import load
from payonce.core import breaker
from payonce.core.events import Entry
from payonce.core.payment import Payment
from payonce.demo import at_rest, free_port, program
from payonce.demo.balance import Balance, differences, looked_back, net_charges, sides, unbalanced
from payonce.demo.ground import Ground, ground_of
from payonce.demo.script import CURRENCIES, HIGH_MINOR, MIX, Post, script
from payonce.demo.stories import history
from payonce.demo.summary import summary
from payonce.demo.switches import changes
from payonce.demo.traffic import Traffic
from payonce.demo.watch import Lines, News, Quiet, awaited
from payonce.health import Drain, State
from payonce.merchants.journal import Journal
from payonce.merchants.keys import Keyring
from payonce.sandbox.faults import TOKENS
from payonce.sandbox.ledger import Ledger
from payonce.stores.sqlite import open_store

A, B = "06h0wbrpa3g8pt8ne21d", "06h0wbrq3h32mnd6km69"
GIVEN = f"{A}0200"  # our reference of that refund
GROUND = Ground(vendors={"mock": "mock", "m2": "mock", "r": "razorpay"}, lead="r", named="r", threshold_minor=1_000_000)
LINE = re.compile(
    r"^ *[0-9.]+ s  (?P<id>pay_\w+) +(?P<amount>[0-9.]+ [A-Z]{3})  (?P<token>\w+) +(?P<status>[A-Z_]+) +(?P<says>.+)$"
)


def movement(
    kind: str, payment: str, attempt: int = 0, amount: int = 1050, *, provider: str = "mock", refund: str = ""
) -> dict[str, Any]:
    money = {"kind": kind, "reference": f"{payment}01{attempt:02}", "amount": amount, "currency": "INR", "provider": provider}
    return money | ({"refundReference": refund} if refund else {})


def view(status: str, captured: int = 1050, refunded: int = 0) -> dict[str, Any]:
    """A payment of 10.50 with one refund that a merchant asked for."""
    asked = [{"kind": "refund", "reference": GIVEN}]
    money = {"amount": 1050, "captured": captured, "refunded": refunded}
    return {"transactionId": f"pay_{A}", "status": status, "currency": "INR", "operations": asked, **money}


def payment(status: Any = "PENDING") -> Payment:
    return Payment(
        id=f"pay_{A}", merchant_id="mer_default", mode="test", amount_minor=1050, currency="INR", created_us=0, updated_us=0,
        schema=2, status=status,
    )  # fmt: skip


def posted(token: str) -> Post:
    return Post(key="k", body={"amount": 1050, "currency": "INR", "paymentMethod": token})


def traffic() -> Traffic:
    return Traffic(None, [], GROUND, None, 1)  # type: ignore[arg-type]


# --- the comparison with the ledgers ----------------------------------------------------------------------------------


def test_net_charges_are_counted_over_attempts_and_providers_without_what_was_given_back() -> None:
    """A full reversal takes its charge away, a partial one does not; a hold is no charge; two providers are two charges."""
    books = [movement("charge", A), movement("charge", A, 1), movement("refund", A, 1), movement("charge", B)]
    books += [movement("refund", B, amount=50), movement("authorize", B), movement("authorize", A, 3)]
    assert {p: len(charges) for p, charges in net_charges(books).items()} == {f"pay_{A}": 1, f"pay_{B}": 1}
    twice = [*books, movement("capture", A, 2, provider="razorpay")]
    assert len(net_charges(twice)[f"pay_{A}"]) == 2


@pytest.mark.parametrize(
    ("status", "kept", "wrong"),
    [
        ("SUCCESS", [movement("charge", A)], ""),
        ("SUCCESS", [], "ledger shows nothing"),
        ("SUCCESS", [movement("charge", A, amount=1150)], "ledger shows 11.50 INR"),
        ("SUCCESS", [movement("charge", A), movement("charge", A, 1)], "charged 2 times"),
        ("IN_DOUBT", [movement("charge", A), movement("charge", A, 1)], "charged 2 times"),
        ("FAILED", [], ""),
        ("FAILED", [movement("charge", A)], "the ledger keeps a charge"),
        ("IN_DOUBT", [movement("charge", A)], ""),
        ("CANCELED", [movement("authorize", A), movement("capture", A)], "the ledger keeps a charge"),
        ("CANCELED", [movement("authorize", A), movement("void", A)], ""),
        ("SUCCESS", [movement("charge", A), movement("refund", A, amount=50, refund=GIVEN)], "the ledger shows 0.50 INR"),
    ],
)
def test_every_status_is_compared_with_the_ledger(status: str, kept: list[dict[str, Any]], wrong: str) -> None:
    """SUCCESS is exactly one charge of the right amount, FAILED is none, and nothing is ever charged twice."""
    found = differences(view(status), kept)
    assert bool(found) == bool(wrong)
    assert wrong in " ".join(found)


@pytest.mark.parametrize(
    ("captured", "refunded", "given", "wrong"),
    [
        (900, 300, [(300, GIVEN)], ""),
        (900, 300, [(300, GIVEN[:23])], ""),  # as PayU keeps it
        (900, 900, [(900, GIVEN)], ""),  # all of it, and it is still one charge
        (900, 0, [(300, GIVEN), (-300, GIVEN)], ""),  # it did not arrive
        (900, 300, [(300, GIVEN), (-300, GIVEN)], "the ledger shows 0.00 INR"),
        (900, 0, [(300, GIVEN)], "the ledger shows 3.00 INR"),
        (1050, 0, [], "the ledger shows 9.00 INR"),
        (900, 0, [(900, f"{A}0300")], "the ledger shows nothing"),  # undone by somebody else
    ],
)
def test_captured_and_refunded_amounts_are_compared_with_the_ledger(
    captured: int, refunded: int, given: list[tuple[int, str]], wrong: str
) -> None:
    """What was captured in part is what the ledger took, and what the merchant gave back is what arrived; it undoes no
    charge."""
    books = [movement("authorize", A), movement("capture", A, amount=900)]
    books += [movement("refund" if n > 0 else "refund_failed", A, amount=abs(n), refund=name) for n, name in given]
    found = differences(view("SUCCESS", captured, refunded), books)
    assert bool(found) == bool(wrong)
    assert wrong in " ".join(found)


def test_a_providers_line_counts_what_its_ledger_shows() -> None:
    """Holds that were neither captured nor given back are counted by themselves and are not kept money."""
    books = [movement(kind, A, provider="razorpay") for kind in ("authorize", "capture")]
    books += [movement("authorize", B, provider="razorpay"), movement("authorize", B, 1, provider="razorpay")]
    books += [movement("void", B, 1, provider="razorpay"), movement("charge", B, 2), movement("refund", B, 2)]
    found = sides(books, [])
    shown = {vendor: {k: v for k, v in asdict(side).items() if v} for vendor, side in found.items()}
    assert shown["razorpay"] == {"held": 3, "captured": 1, "released": 1, "open_holds": 1, "kept": 1}
    assert shown["mock"] == {"charged": 1, "refunded": 1}


def test_money_that_came_back_is_counted_and_weighed() -> None:
    """A refund that did not arrive has a column of its own, and its charge is kept again."""
    books = [movement("charge", A), movement("refund", A, refund="r1"), movement("refund_failed", A, refund="r1")]
    assert {k: v for k, v in asdict(sides(books, [])["mock"]).items() if v} == {
        "charged": 1, "refunded": 1, "came_back": 1, "kept": 1,
    }  # fmt: skip
    assert len(net_charges(books)[f"pay_{A}"]) == 1


def test_a_broken_promise_is_loud() -> None:
    """What differs from the ledger is printed in full between lines that cannot be overlooked."""
    result = Balance(
        pasts=(), movements=2, charges_max=2, sides={}, watched=0, webhooks=0, wrong=("pay_x was charged 2 times",)
    )
    text = summary(result, traffic())
    assert "WRONG" in text
    assert "pay_x was charged 2 times" in text
    assert "2 charge at most per payment" in text
    assert "agrees" not in text


# --- what is told -----------------------------------------------------------------------------------------------------


def test_a_quiet_demo_says_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    """After five seconds without a change, and again every five seconds; a change starts it anew."""
    quiet, pending, success = Quiet(0.0), [payment()], [payment("SUCCESS")]
    heard = [quiet.lasts(rows, at) for rows, at in ((pending, 1), (pending, 5.9), (pending, 6), (pending, 10), (pending, 11))]
    assert heard == [False, False, True, False, True]
    assert [quiet.lasts(success, at) for at in (12, 16, 17)] == [False, False, True]
    assert awaited(1, 9_000_000, 1_000_000) == "waiting: 1 payment, next look in 8 s"
    assert awaited(2, None, 0) == "waiting: 2 payments"
    lines = Lines(1)
    lines.wait("")
    lines.wait("waiting: 1 payment")
    lines.update(News([], [], ["mock is down"], "", {}), traffic())
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" s  ")[2] for line in said] == ["-- waiting: 1 payment --", "-- mock is down --"]


def test_the_news_of_a_provider_are_told_once() -> None:
    """A breaker that opens, tries, fails again and closes, and a drain switch, each when it changes and only then."""
    closed, open_ = State(), breaker.opened("5 of 5 failed", 0)
    trying = breaker.probing(open_, 5_000_000)
    longer = breaker.reopened(trying, "HTTP 500", 6_000_000)
    drained = State(drain=Drain(reason="maintenance", actor="operator:cli", since_us=0))
    steps = [closed, *(State(breaker=b) for b in (open_, open_, trying, longer)), closed, drained, closed]
    said = [changes("r", before, after) for before, after in pairwise(steps)]
    assert [len(lines) for lines in said] == [1, 0, 1, 1, 1, 1, 1]
    flat = " | ".join(line for lines in said for line in lines)
    assert "opens, nothing new goes there: 5 of 5 failed" in flat
    assert re.search(r"lets one call through.*stays open.*closes.*drained by operator:cli: maintenance.*resumed", flat)


def test_a_late_success_has_its_time_to_come() -> None:
    """The demo waits until it is given back, or a minute; it does not wait for what the provider never tells."""
    late, failed = posted("tok_late_success"), payment("FAILED")
    assert at_rest(failed, posted("tok_bogus"), 0)
    assert not at_rest(failed, late, 59_000_000)
    assert at_rest(failed, late, 61_000_000)
    assert not at_rest(payment(), posted("tok_ok"), 10**12)
    assert at_rest(payment(), posted("tok_never_resolves"), 0)


# --- what is posted ---------------------------------------------------------------------------------------------------


def test_the_script_covers_every_token_and_both_sides_of_every_rule() -> None:
    """Every token of the sandbox has its place, amounts at and just below the threshold, dinars that not every account
    takes, an account by name; duplicates; keys are fresh for every run."""
    posts = script(GROUND, endless=True)
    dull = {"tok_decline_do_not_honor", "tok_decline_expired_card"}
    odd = {"tok_decline_send_then_ok", "tok_late_then_ok", "tok_late_then_decline"}  # shown by `payonce simulate`
    assert {p.token for p in posts} >= set(TOKENS) - dull - odd
    assert not {p.token for p in posts} - set(TOKENS) - {"tok_bogus", "forceFail"}
    assert {currency for each in CURRENCIES for currency in each} <= {p.body["currency"] for p in posts}
    asked = {(p.body["amount"], p.body["currency"]) for p in posts}
    assert {(1_000_000, "USD"), (999_999, "USD"), (HIGH_MINOR, "INR"), (HIGH_MINOR, "KWD")} <= asked
    assert any(p.body.get("provider") == "r" and p.part == "mix" for p in posts)
    assert sum(p.copies for p in posts) >= len(posts) // 5
    assert not {"tok_never_resolves", "tok_action"} & set(MIX)
    assert {"tok_never_resolves", "tok_action"} <= {p.token for p in posts if p.endless}
    assert [p.token for p in script(GROUND, endless=False) if p.endless] == []
    assert {p.key for p in posts}.isdisjoint(p.key for p in script(GROUND, endless=True))


def test_the_ground_is_the_configuration(tmp_path: Path) -> None:
    """The outage hits whoever takes INR first, and another account than usual is named, whatever is configured."""
    shipped = ground_of(load())
    assert (shipped.lead, shipped.vendor, shipped.named, shipped.threshold_minor) == (
        "razorpay_mock", "razorpay", "stripe_mock", 1_000_000,
    )  # fmt: skip
    own = tmp_path / "own.toml"
    own.write_text('version = 1\n[providers.m]\nadapter = "mock"\n[routing.high_value]\nUSD = 700\n')
    alone = ground_of(load(file=own))
    assert (alone.lead, alone.vendor, alone.named, alone.threshold_minor) == ("m", "mock", "m", 700)


def test_the_demo_pays_in_the_sandbox_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An account that leads elsewhere is named, and nothing is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "rzp_test_x")
    account = 'base_url = "http://127.0.0.1:9/v1"\nkey_id = "env:KEY"\nkey_secret = "env:KEY"\n'
    Path("payonce.toml").write_text(f'version = 1\n[providers.mock]\n[providers.real]\nadapter = "razorpay"\n{account}')
    assert main(["demo", "--exit", "--port", "0"]) == USAGE
    assert "account real of" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["payonce.toml"]


def test_the_hint_is_a_command_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is named as it was started: by path, as a module, or by its bare name where that finds it."""
    script_, module = tmp_path / "bin" / "payonce", tmp_path / "lib" / "payonce" / "__main__.py"
    for each in (script_, module):
        each.parent.mkdir(parents=True)
        each.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(sys, "argv", [str(script_)])
    assert program() == "bin/payonce"
    monkeypatch.setenv("PATH", str(script_.parent))
    assert program() == "payonce"
    monkeypatch.setattr(sys, "argv", [str(module)])
    assert program().endswith(" -m payonce")


def test_a_taken_port_is_replaced_by_a_free_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo does not fail on a busy 8080: it takes a free port and says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert free_port(load({"server.port": port})).number("server.port") == 0
    assert f"Port {port} cannot be used" in capsys.readouterr().out
    assert free_port(load({"server.port": port})).number("server.port") == port


# --- the whole --------------------------------------------------------------------------------------------------------

# What the demo has to show, as lines about one payment: (its token, what is said one after the other).
SCENES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # every currency and amount rule, and a name
    ("ok", (r"rule inr -> razorpay_mock$", r"razorpay_mock held it, and we took it")),
    ("ok", (r"rule high-value -> cashfree_mock$", r"cashfree_mock was asked: it was charged")),
    ("ok", (r"rule anything-else -> mock$", r"charged by mock")),
    ("ok", (r"rule high-value -> mock \(cashfree_mock does not take KWD\)", r"charged by mock")),
    ("ok", (r"named by the request -> stripe_mock", r"charged by stripe_mock|stripe_mock was asked")),
    # declines of each scope, and where each leads
    ("decline_stolen_card", (r"mock declined it \(stolen_card, issuer, final\)$",)),
    ("decline_insufficient_funds", (r"declined it \(insufficient_funds, issuer\)$",)),
    ("bogus", (r"declined it \(invalid_card, customer_input, final\)$",)),
    ("decline_then_ok", (r"mock declined it \(do_not_honor, issuer\): moved on to \w+$", r"held it|charged")),
    ("technical_then_ok", (r"razorpay_mock .*provider_technical\): moved on to mock$", r"charged by mock")),
    ("not_enabled_then_ok", (r"mock declined it \(configuration, configuration\): moved on to \w+$", r"held it|charged")),
    ("decline_processing_error", (r"moved on to", r"moved on to", r"declined it \(processing_error, provider_technical\)$")),
    # a failover out of an order that has to be closed first
    ("decline_then_ok", (r"cashfree_mock is told to close the order", r"cashfree_mock declined it .*: moved on to \w+")),
    # an outage: who was under way, who came then, who had to wait, and afterwards
    ("ok", (r"rule inr -> razorpay_mock", r"gave no clear answer to the order", r"took nothing .*: moved on to mock")),
    ("ok", (r"rule inr -> mock, not razorpay_mock: circuit breaker open", r"charged by mock")),
    ("ok", (r"the request names razorpay_mock, so it waits: circuit breaker open", r"razorpay_mock held it, and we took it")),
    # unknown, and resolved by asking
    ("lost_response", (r"unknown: mock gave no clear answer", r"unknown resolved: mock was asked, it was charged")),
    ("lost_response", (r"unknown: razorpay_mock gave no clear answer", r"unknown resolved: razorpay_mock was asked")),
    ("garbage_response", (r"unknown: cashfree_mock gave no", r"unknown resolved: cashfree_mock was asked, it was charged")),
    ("500_then_ok", (r"unknown: mock gave no", r"sent to mock again under the same key", r"charged by mock")),
    ("timeout_then_ok", (r"unknown: razorpay_mock gave no", r"sent again into the same order", r"we took it")),
    # late successes: given back, taken in time, and a hold that lapses
    ("late_success", (r"mock declined it", r"mock took it late, .*given back", r"mock gave .* back")),
    ("late_success", (r"never captured by us", r"moved on to mock", r"razorpay_mock holds it late: never captured")),
    ("late_success", (r"cashfree_mock is told to close the order", r"cashfree_mock was asked: it was charged")),
    ("wrong_amount", (r"mock took .* instead",)),
    # what follows a charge, and customers who have to act
    ("ok", (
        r"stripe_mock holds it", r"takes 90.00 EUR of the 120.00 EUR", r"took 90.00 EUR of what it held, and the rest is free",
        r"gives 25.00 EUR back", r"stripe_mock gave 25.00 EUR back",
    )),
    ("ok", (r"payu_mock holds it", r"wants the hold given back", r"payu_mock gave the hold back: nothing was taken")),
    ("ok", (r"payu_mock gave 30.00 INR back", r"30.00 INR did not arrive and came back", r"payu_mock gave 30.00 INR back")),
    ("action_ok", (r"named by the request -> payu_mock", r"has to act at payu_mock", r"payu_mock was asked: it was charged")),
    ("action_decline", (r"has to act at stripe_mock", r"webhook of stripe_mock", r"declined it \(authentication_failed")),
)  # fmt: skip


def shown(stdout: str) -> dict[str, list[tuple[str, str]]]:
    """Payment id -> (token, what was said) in order."""
    lines = [found for line in stdout.splitlines() if (found := LINE.match(line))]
    said: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        said.setdefault(line["id"], []).append((line["token"], line["says"]))
    return said


def plays(said: Sequence[tuple[str, str]], token: str, scene: Sequence[str]) -> bool:
    """The scene's lines were said of this payment, in this order."""
    rest = iter(said)
    return all(any(t == token and re.search(pattern, text) for t, text in rest) for pattern in scene)


async def _kept(folder: Path, ids: Sequence[str]) -> list[list[Entry]]:
    store = await open_store(folder / "payments.db")
    try:
        return [await history(store, payment_id) for payment_id in ids]
    finally:
        await store.close()


def compare_again(folder: Path, ids: Sequence[str]) -> None:
    """The demo's own comparison, on what it left: it agrees, and notices when either side is changed."""
    ledger = Ledger(folder / "sandbox-ledger.db")
    books = [asdict(m) for m in ledger.movements()]
    ledger.close()
    payments = [looked_back(entries).payment for entries in asyncio.run(_kept(folder, ids))]
    assert {m["reference"][:20] for m in books} <= {p.id[4:] for p in payments}
    given = {o.reference for p in payments for o in p.operations if o.kind == "refund"}
    asked = {name for m in books if (name := m["refund_reference"]) and any(each.startswith(name) for each in given)}
    books = [m | {"refundReference": m["refund_reference"]} for m in books]
    assert all(len(charges) == 1 for charges in net_charges(books, asked).values())
    assert unbalanced(books, payments) == []
    pairs = [("mock", "charge"), ("mock", "refund"), ("razorpay", "capture"), ("cashfree", "charge")]
    for vendor, kind in (*pairs, ("payu", "refund_failed"), ("stripe", "capture"), ("stripe", "refund")):
        missing = next(m for m in books if (m["provider"], m["kind"]) == (vendor, kind))
        (wrong,) = unbalanced([m for m in books if m is not missing], payments)
        assert wrong.startswith(f"{vendor} keeps ")
    paid = next(p for p in payments if p.status == "SUCCESS")
    assert unbalanced([*books, movement("charge", paid.id[4:], 7, provider="cashfree")], payments)
    for p in payments:
        if p.status == "FAILED":
            assert f"pay_{p.id[4:]}" not in net_charges(books, asked)


def figures(stdout: str) -> dict[str, int]:
    """What follows each count of the summary -> the count."""
    return {text: int(n) for n, text in re.findall(r"^ +(\d+) (\S.*)$", stdout.partition("What happened:")[2], re.MULTILINE)}


def test_the_demo_shows_every_scene_and_ends_by_itself(tmp_path: Path) -> None:
    """`payonce demo --exit` without a terminal: plain lines in which every promised scene is told, every payment settled, one
    charge at most each over all providers, every provider's ledger as the payments say, exit 0."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_")}
    command = [sys.executable, "-m", "payonce", "demo", "--exit", "--seconds", "3", "--port", "0", "--data-dir", "kept"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, env=env, cwd=tmp_path)
    out = done.stdout
    assert done.returncode == 0, out[-3000:] + done.stderr
    assert "\x1b" not in out
    said = shown(out)
    missing = [(token, scene) for token, scene in SCENES if not any(plays(lines, token, scene) for lines in said.values())]
    assert not missing, out
    order = ("razorpay is down", "breaker of razorpay_mock opens", "razorpay answers again", "breaker of razorpay_mock closes")
    places = [out.index(f"-- {each}") for each in order]
    assert places == sorted(places)
    after = out[places[-1] :]
    assert len(re.findall(r"  ok +PENDING +rule inr -> razorpay_mock$", after, re.MULTILINE)) >= 2, after
    counted, posts = figures(out), script(ground_of(load()), endless=False)
    assert (
        counted["settled: " + next(k for k in counted if k.startswith("settled")).removeprefix("settled: ")] == len(posts) - 1
    )
    assert next(n for text, n in counted.items() if text.startswith("payments accepted")) == len(posts)
    assert sum(n for text, n in counted.items() if text.startswith(("routed by rule", "went to an account"))) == len(posts)
    declined = next(text for text in counted if text.startswith("attempts declined"))
    assert all(scope in declined for scope in ("issuer", "customer_input", "provider_technical", "configuration"))
    assert "the breaker of razorpay_mock opened, and it closed when the provider was back" in out
    assert re.search(r"^ +1 IN_DOUBT: ", out, re.MULTILINE)
    assert re.search(r"^ +[1-9]\d* holds? (is|are) left at razorpay_mock: never captured, so no money", out, re.MULTILINE)
    assert re.search(r"^ +1 charge at most per payment over all providers", out, re.MULTILINE)
    for name in ("mock", "razorpay_mock", "cashfree_mock", "stripe_mock", "payu_mock"):
        line = re.search(rf"^  {name} +(?:\d+ +){{6}}(\d+) +(\d+)$", out, re.MULTILINE)
        assert line is not None, out[-3000:]
        assert line[1] == line[2] != "0"
    assert "every status and amount agrees with the ledgers" in out
    assert next(n for text, n in counted.items() if text.startswith("webhooks arrived")) >= len(posts)
    assert counted["capture asked for: 1 SUCCEEDED"] == counted["void asked for: 1 SUCCEEDED"] == 1
    assert counted["refunds asked for: 1 FAILED, 2 SUCCEEDED"] == 3
    assert counted["had to wait for their customer: 1 FAILED, 1 SUCCESS"] == 2
    compare_again(tmp_path / "kept", list(said))
    look_at_the_key(tmp_path / "kept", out)


def look_at_the_key(folder: Path, out: str) -> None:
    """A test key is printed, ready to be pasted; it is on record and in the journal, and its text is in no file."""
    (token,) = re.findall(r"^  key +export PAYONCE_API_KEY=(sk_test_[0-9a-z]{52}) ", out, re.MULTILINE)

    async def check() -> None:
        store = await open_store(folder / "payments.db")
        key = await Keyring(store.registry, SystemClock(), SystemEntropy()).check(token)
        acts = [(w.act.what, w.act.subject, w.act.actor) for w in await Journal(store.registry, SystemClock()).read()]
        await store.close()
        assert key is not None
        assert (key.merchant_id, key.mode, key.name) == ("mer_default", "test", "demo")
        assert ("key.created", key.id, "cli") in acts

    asyncio.run(check())
    assert not [file for file in folder.rglob("*") if file.is_file() and token[28:].encode() in file.read_bytes()]


def test_ctrl_c_in_the_middle_of_the_demo(tmp_path: Path) -> None:
    """Ctrl-C ends the running demo with 130, without a traceback, and its temporary folder is gone."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_")} | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "payonce", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as demo:
        assert demo.stdout is not None
        while "rule inr" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=40)
    assert demo.returncode == 130
    assert "Stopped in the middle" in said
    assert "stopped; the demo's data folder was removed" in said
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in said
