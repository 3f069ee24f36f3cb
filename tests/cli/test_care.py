"""verify, reconcile, doctor, config show, explain, openapi."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from payonce.cli import reconcile

from .conftest import Payonce

pytestmark = pytest.mark.usefixtures("one_account")

Paid = Callable[..., dict[str, Any]]


def edit(data: Path, sql: str, *values: Any) -> None:
    """Change the file behind payonce's back."""
    connection = apsw.Connection(str(data / "payments.db"))
    connection.execute(sql, values)
    connection.close()


def test_verify_finds_nothing_wrong(payonce: Payonce, paid: Paid) -> None:
    """A store that only payonce wrote is clean; the head digest says the same again until something is added."""
    paid("tok_ok")
    paid("tok_lost_response")
    first, again = payonce("verify", "--json"), payonce("verify", "--json")
    assert (first.code, first.json["problems"], first.json["payments"]) == (0, [], 2)
    assert first.json["headDigest"] == again.json["headDigest"]
    assert "not an attacker" in first.json["limit"]
    paid("tok_ok")
    assert payonce("verify", "--json").json["headDigest"] != first.json["headDigest"]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE events SET raw = CAST(replace(CAST(raw AS TEXT), '1050', '1060') AS BLOB) WHERE seq = 1", "another hash"),
        ("DELETE FROM events WHERE seq = 2", "does not fold"),
        ("DELETE FROM events WHERE seq = 3", "differs from its history"),
        ("DELETE FROM events", "does not fold"),
        ("UPDATE events SET raw = x'7b' WHERE seq = 2", "cannot be read"),
        (
            "UPDATE payments SET document = CAST(replace(CAST(document AS TEXT), 'SUCCESS', 'FAILED') AS BLOB)",
            "differs from its",
        ),
        ("INSERT INTO due VALUES ('payment', (SELECT id FROM payments), 1)", "owes nothing"),
    ],
)
def test_verify_finds_every_partial_edit(payonce: Payonce, paid: Paid, data: Path, sql: str, said: str) -> None:
    """Changed bytes, missing events, a changed row and a due time that leads nowhere end with 1 and are named."""
    payment = paid("tok_ok")
    edit(data, sql)
    ran = payonce("verify", "--json")
    assert ran.code == 1
    assert {p["payment"] for p in ran.json["problems"]} == {payment["transactionId"]}
    assert any(said in p["problem"] for p in ran.json["problems"])
    assert payonce("verify", payment["transactionId"]).code == 1


def test_verify_finds_a_payment_that_nobody_would_wake(payonce: Payonce, paid: Paid, data: Path) -> None:
    """A payment that owes an action but is not on the due index would stay open for ever."""
    paid("tok_never_resolves", wait="0.3")
    assert payonce("verify").code == 0
    edit(data, "DELETE FROM due")
    ran = payonce("verify")
    assert (ran.code, "not on the due index" in ran.out) == (1, True)


def test_reconcile_asks_the_provider_and_lifts_the_hold(payonce: Payonce, paid: Paid, data: Path) -> None:
    """Every uncertain payment is read; when all were answered the mark that `serve --hold` waits for is there."""
    paid("tok_ok")
    pending = paid("tok_lost_response", wait="0.1")
    assert pending["status"] == "PENDING"
    (data / "payments.db.hold").write_text("test\n")
    ran = payonce("reconcile", "--json")
    assert (ran.code, "The hold is lifted." in ran.err) == (0, True)
    assert [(line["payment"], line["before"], line["after"], line["answered"]) for line in ran.lines] == [
        (pending["transactionId"], "PENDING", "SUCCESS", True)
    ]
    assert not (data / "payments.db.hold").exists()


def test_reconcile_without_an_answer_keeps_the_hold(payonce: Payonce, paid: Paid, data: Path) -> None:
    """A provider that is down leaves the payment unread: exit code 6, the hold stays, unless it is released by hand."""
    paid("tok_never_resolves", wait="0.1")
    (data / "payments.db.hold").write_text("test\n")
    ledger = apsw.Connection(str(data / "sandbox-ledger.db"))
    ledger.execute("INSERT OR REPLACE INTO settings VALUES ('faults', '{\"outage\": true}')")
    ledger.close()
    ran = payonce("reconcile", "--timeout", "0.3", "--json")
    assert (ran.code, ran.lines[0]["answered"], "The hold stays. Run it again" in ran.err) == (6, False, True)
    assert (data / "payments.db.hold").exists()
    ran = payonce("reconcile", "--once", "--release")
    assert (ran.code, "The hold is lifted." in ran.err) == (6, True)
    assert not (data / "payments.db.hold").exists()
    ran = payonce("reconcile", "--once")
    assert (ran.code, "hold" in ran.err, "Run it again." in ran.err) == (6, False, True)


def in_live_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on; there are no live accounts."""
    Path("payonce.toml").write_text("version = 1\n")  # the working folder is the test's
    monkeypatch.setenv("PAYONCE_MODE", "live")


def test_reconcile_leaves_the_hold_of_another_mode(
    payonce: Payonce, paid: Paid, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It compares the payments of its own mode only: what holds the other mode stays, is named with the command that lifts it,
    and by doctor and providers list too."""
    assert paid("tok_ok")["status"] == "SUCCESS"
    hold, command = data / "payments.db.hold", "`PAYONCE_MODE=live payonce reconcile`"
    hold.write_text("live\n")
    assert paid("tok_ok")["status"] == "SUCCESS", "nothing holds test mode"
    ran = payonce("reconcile")
    assert (ran.code, hold.read_text()) == (0, "live\n")
    assert f"The hold of live mode stays: run {command}." in ran.err
    assert "is lifted" not in ran.err
    assert f"A hold is on for live mode: nothing is fired there. Run {command}." in payonce("providers", "list").err
    (check,) = [c for c in payonce("doctor", "--json").json["checks"] if c["name"] == "hold"]
    assert (check["state"], "live mode" in check["says"], command in check["fix"]) == ("warn", True, True)
    in_live_mode(monkeypatch)
    ran = payonce("reconcile")
    assert (ran.code, hold.exists(), "The hold is lifted." in ran.err) == (0, False, True)


def test_a_hold_of_an_earlier_version_is_lifted_mode_by_mode(
    payonce: Payonce, paid: Paid, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file holds both modes; each is lifted after its own comparison."""
    paid("tok_ok")
    hold = data / "payments.db.hold"
    hold.touch()
    assert payonce("providers", "list", "--json").json["hold"] == ["test", "live"]
    ran = payonce("reconcile")
    assert ("The hold is lifted." in ran.err, "The hold of live mode stays" in ran.err) == (True, True)
    assert hold.read_text() == "live\n"
    in_live_mode(monkeypatch)
    assert payonce("reconcile").code == 0
    assert not hold.exists()


def charges(data: Path) -> list[tuple[str, str, int]]:
    """(provider, kind, amount) of what the sandbox has moved."""
    ledger = apsw.Connection(str(data / "sandbox-ledger.db"))
    rows = list(ledger.execute("SELECT provider, kind, amount_minor FROM movements ORDER BY seq"))
    ledger.close()
    return rows


def test_a_restore_finds_what_was_charged_at_another_account(payonce: Payonce, data: Path, tmp_path: Path) -> None:
    """The backup is from before the charge, which went to cashfree as razorpay was drained: one charge, and SUCCESS there."""
    (tmp_path / "payonce.toml").write_text("version = 1\n[providers.razorpay_mock]\n[providers.cashfree_mock]\n")
    buy = ("pay", "--amount", "1050", "--currency", "INR", "--method", "tok_ok", "--key", "order-1", "--json")
    payment = payonce(*buy).json["transactionId"]
    assert payonce("providers", "drain", "razorpay_mock", "--reason", "their maintenance").code == 0
    file, kept = data / "payments.db", tmp_path / "backup.db"
    connection = apsw.Connection(str(file))
    connection.execute("VACUUM INTO ?", (str(kept),))
    connection.close()
    assert (payonce(*buy, "--wait", "20").json["status"], charges(data)) == ("SUCCESS", [("cashfree", "charge", 1050)])

    for name in ("payments.db-wal", "payments.db-shm"):
        (data / name).unlink(missing_ok=True)
    kept.replace(file)
    assert payonce("providers", "resume", "razorpay_mock").code == 0
    (data / "payments.db.hold").write_text("test\n")
    assert payonce(*buy, "--wait", "0.3").json["status"] == "PENDING"  # a worker under hold begins nothing
    ran = payonce("reconcile", "--json")
    assert (ran.code, [(line["payment"], line["after"]) for line in ran.lines]) == (0, [(payment, "SUCCESS")])
    assert not (data / "payments.db.hold").exists()
    settled = payonce(*buy, "--wait", "5").json
    assert (settled["transactionId"], settled["status"]) == (payment, "SUCCESS")
    assert charges(data) == [("cashfree", "charge", 1050)]
    assert payonce("verify").code == 0
    assert "found there after a restore" in payonce("show", payment).out


def test_reconcile_fires_nothing(payonce: Payonce, data: Path) -> None:
    """A payment for which nothing was sent yet is not fired, and gets no attempt: reconciling only reads."""
    payonce("pay", "--amount", "5", "--currency", "INR")
    ran = payonce("reconcile", "--json")
    assert (ran.code, ran.lines[0]["answered"], ran.lines[0]["after"]) == (0, True, "PENDING")
    (payment,) = payonce("list", "--json").json["data"]
    history = payonce("show", payment["transactionId"], "--json").json["history"]
    assert [e["kind"] for e in history] == ["Accepted"]


def test_reconcile_reads_but_does_not_go_on(payonce: Payonce, paid: Paid, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declined payment whose next attempt is due is read, and the next send is left to the workers: the process
    holds, whatever a read shows to be possible next."""
    holds = []
    really_open = reconcile.open_app
    monkeypatch.setattr(reconcile, "open_app", lambda s, *, hold=False: holds.append(hold) or really_open(s, hold=hold))
    ids = [paid("tok_decline_then_ok", wait="0.1")["transactionId"] for _ in range(5)]
    shown = [payonce("show", i, "--json").json["payment"] for i in ids]
    waiting = [s["transactionId"] for s in shown if s["status"] == "PENDING" and s["lastError"]]
    assert waiting, "three attempts that all began within no time"
    deadline = time.monotonic() + 10
    while not all("now" in payonce("show", i, "--json").json["due"] for i in waiting):
        assert time.monotonic() < deadline
    ran = payonce("reconcile", "--json")
    assert holds == [True]
    told = {line["payment"]: (line["after"], line["answered"]) for line in ran.lines}
    assert {payment: told[payment] for payment in waiting} == dict.fromkeys(waiting, ("PENDING", True))
    for payment in waiting:  # where it would go next is looked at, in case a lost tail of a backup went there
        history = payonce("show", payment, "--json").json["history"]
        steps = [e["data"]["step"]["kind"] for e in history if e["kind"] == "Planned"]
        assert [kind for kind in steps if kind != "read"] == ["fire"]


def test_doctor_is_content(payonce: Payonce, paid: Paid) -> None:
    """On a good installation nothing fails; every check says what it looked at."""
    paid("tok_ok")
    ran = payonce("doctor", "--json")
    assert (ran.code, ran.json["ok"]) == (0, True)
    states = {c["name"]: c["state"] for c in ran.json["checks"]}
    names = {"python", "sqlite", "configuration", "payments file", "data folder", "disk", "clock", "port", "store", "due"}
    names |= {"payments", "webhooks", "hold", "merchants", "keys", "endpoints", "deliveries"}
    assert names | {"account mock"} == set(states)
    assert states["store"] == states["account mock"] == "ok"


def test_doctor_names_the_fix(payonce: Payonce, tmp_path: Path) -> None:
    """A missing secret and an unreachable provider fail by name, and do not hide the other checks."""
    (tmp_path / "payonce.toml").write_text(
        'version = 1\n[providers.a]\nadapter = "mock"\nbase_url = "http://127.0.0.1:9/mock"\nsecret = "env:NO_SUCH_SECRET"\n'
        '[providers.b]\nadapter = "mock"\nbase_url = "http://127.0.0.1:9/mock"\nsecret = "file:key"\n'
    )
    (tmp_path / "key").write_text("hush-hush")
    ran = payonce("doctor")
    assert ran.code == 1
    assert "NO_SUCH_SECRET is not set" in ran.out
    assert "http://127.0.0.1:9/mock" in ran.out
    assert "fix: Check base_url" in ran.out
    assert "warn  store" in ran.out
    assert "hush-hush" not in ran.out


def test_doctor_sees_a_payment_in_doubt_and_an_overdue_one(payonce: Payonce, paid: Paid, data: Path) -> None:
    """What waits for an operator, or for a worker that is not there, is a warning."""
    paid("tok_wrong_amount")
    edit(data, "UPDATE due SET due_us = 1000000")
    states = {c["name"]: c["state"] for c in payonce("doctor", "--json").json["checks"]}
    assert (states["payments"], states["due"]) == ("warn", "warn")


def test_config_show_says_where_each_value_comes_from(
    payonce: Payonce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and origin of every setting, flags and environment included; secrets are masked."""
    (tmp_path / "payonce.toml").write_text(
        'version = 1\n[server]\nport = 9999\n[providers.mock]\nbase_url = "https://host.invalid/mock"\n'
        'secret = "env:SHOP_KEY"\nother = "file:key"\n'
    )
    monkeypatch.setenv("SHOP_KEY", "very-secret")
    monkeypatch.setenv("PAYONCE_DRAIN_S", "7")
    ran = payonce("config", "show", "--json", "--data-dir", "elsewhere")
    rows = {r["key"]: (r["value"], r["origin"]) for r in ran.json["settings"]}
    assert rows["server.port"] == (9999, "payonce.toml")
    assert rows["server.drain_s"] == (7, "environment PAYONCE_DRAIN_S")
    assert rows["store.data_dir"] == ("elsewhere", "flag")
    assert rows["server.host"] == ("127.0.0.1", "default")
    assert ran.json["providers"][0]["credentials"] == {"secret": "env:SHOP_KEY (set)", "other": "file:key"}
    for shown in (ran.out, payonce("config", "show").out):
        assert "very-secret" not in shown


def test_a_wrong_setting_is_one_message(payonce: Payonce, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration error ends with 2 and names value, origin and fix."""
    monkeypatch.setenv("PAYONCE_PROT", "1")
    ran = payonce("list")
    assert (ran.code, ran.out) == (2, "")
    assert "PAYONCE_PROT is not known; did you mean PAYONCE_PORT?" in ran.err


def test_explain(payonce: Payonce) -> None:
    """A code is explained; a mistyped one is 3 with a suggestion; without one all are listed."""
    assert "Money may have moved" in payonce("explain", "horizon").out
    assert payonce("explain", "retry_same_key", "--json").json["kind"] == "problem"
    wrong = payonce("explain", "insufficient_fund")
    assert (wrong.code, "insufficient_funds" in wrong.err) == (3, True)
    listed = {row["code"] for row in payonce("explain", "--json").json}
    assert {"not_found", "stolen_card", "late_success"} <= listed


def test_openapi(payonce: Payonce) -> None:
    """The document is the one that /openapi.json serves."""
    assert payonce("openapi").json["openapi"].startswith("3.1")
    assert "/payments" in payonce("openapi", "--json").json["paths"]


def test_doctor_names_accounts_that_take_nothing_new(payonce: Payonce, paid: Paid) -> None:
    """A drained account is a warning with its reason and the command that ends it."""
    paid("tok_ok")
    assert payonce("providers", "drain", "mock", "--reason", "their maintenance").code == 0
    warned = [c for c in payonce("doctor", "--json").json["checks"] if c["state"] == "warn" and c["name"] == "account mock"]
    assert [("their maintenance" in c["says"], "payonce providers resume mock" in c["fix"]) for c in warned] == [(True, True)]
