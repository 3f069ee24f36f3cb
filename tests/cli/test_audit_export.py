"""`payonce audit export`: everything in a range of time, in its order, masked, and honest about what is broken."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from payonce.cli.sorting import Sorter
from payonce.cli.told import COLUMNS

from .conftest import Payonce
from .test_keys import ME
from .test_verify import edit

pytestmark = pytest.mark.usefixtures("one_account")
Paid = Callable[..., dict[str, Any]]
ALWAYS = ("audit", "export", "--from", "2020-01-01", "--to", "2100-01-01")


def test_every_event_and_every_act_is_there_once_in_order(payonce: Payonce, paid: Paid) -> None:
    """Two payments with a refund and the journal: each line has who, where, what, and its place in its chain."""
    one, two = paid("tok_ok")["transactionId"], paid("tok_decline_do_not_honor")["transactionId"]
    payonce("refund", one, "--amount", "100", "--wait", "20")
    payonce("key", "create", "--name", "till")
    ran = payonce(*ALWAYS)
    assert ran.code == 0, ran.err
    assert ran.lines == sorted(ran.lines, key=lambda line: line["at"])
    for chain in (one, two, "journal"):
        lines = [line for line in ran.lines if line["chain"] == chain]
        assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
        assert [line["prev"] for line in lines] == ["", *(line["hash"] for line in lines[:-1])]
    history = payonce("show", one, "--json").json["history"]
    lines = [line for line in ran.lines if line["chain"] == one]
    assert [(e["kind"], e["hash"]) for e in history] == [(line["what"], line["hash"]) for line in lines]
    assert len({line["operation"] for line in lines}) == 2, "the charge and the refund"
    assert all(line["operation"].startswith("op_") and line["subject"] == one for line in lines)
    assert {line["merchant"] for line in lines} == {"mer_default"}
    asked = next(line for line in lines if line["what"] == "Asked")
    assert (asked["actorKind"], asked["who"], asked["mode"]) == ("local", "cli", "test")
    last = ran.lines[-1]
    assert (last["what"], last["actor"], last["actorKind"], last["chain"]) == ("key.created", ME, "operator", "journal")
    assert set(last) == set(COLUMNS)
    assert f"{len(ran.lines)} lines of 2 payments and the journal." in ran.err


def test_the_range_has_a_first_moment_and_ends_before_the_last(payonce: Payonce, paid: Paid) -> None:
    """[from, to): each event is in exactly one of two ranges that meet."""
    paid("tok_ok")
    lines = payonce(*ALWAYS).lines
    cut = lines[len(lines) // 2]["at"]
    before = payonce("audit", "export", "--from", "2020-01-01", "--to", cut).lines
    after = payonce("audit", "export", "--from", cut, "--to", "2100-01-01").lines
    assert after[0]["at"] == cut
    assert [*before, *after] == lines
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    nothing = payonce("audit", "export", "--from", tomorrow, "--to", "2100-01-01")
    assert (nothing.code, nothing.out) == (0, "")


def test_one_merchant_or_mode(payonce: Payonce, paid: Paid) -> None:
    """What belongs to another merchant, or to none, is left out; what names no mode belongs to both."""
    paid("tok_ok")
    shop = payonce("merchant", "create", "Shop", "--json").json["merchant"]["id"]
    payonce("key", "create", "--mode", "live")
    payonce("providers", "drain", "mock", "--reason", "x")
    mine = payonce(*ALWAYS, "--merchant", shop).lines
    assert [(line["what"], line["merchant"]) for line in mine] == [("merchant.created", shop), ("key.created", shop)]
    live = payonce(*ALWAYS, "--mode", "live").lines
    assert [(line["what"], line["mode"]) for line in live] == [("merchant.created", ""), ("key.created", "live")]
    assert payonce(*ALWAYS, "--merchant", "mer_nobody").out == ""


def test_csv_is_safe_for_spreadsheets(payonce: Payonce, tmp_path: Path) -> None:
    """The same lines; a cell that would be a formula begins with an apostrophe, and quotes and line ends are kept."""
    payonce("merchant", "create", '=cmd|" /C calc"!A0', "--no-key")
    payonce("merchant", "create", '+1,2" x', "--no-key")
    target = tmp_path / "audit.csv"
    ran = payonce(*ALWAYS, "--format", "csv", "--output", str(target))
    assert (ran.code, ran.out, oct(target.stat().st_mode & 0o777)) == (0, "", "0o600")
    head, *rows = list(csv.reader(io.StringIO(target.read_text(encoding="utf-8"))))
    assert tuple(head) == COLUMNS
    assert [json.loads(row[-1])["name"] for row in rows] == ['=cmd|" /C calc"!A0', '+1,2" x']
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    lines = payonce(*ALWAYS).lines
    assert [[row[0], row[8], row[13]] for row in rows] == [[line["at"], line["merchant"], line["hash"]] for line in lines]
    again = payonce(*ALWAYS, "--output", str(target))
    assert (again.code, "not overwritten" in again.err) == (2, True)


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1", "plain", "1-2", ""])  # noqa: RUF001 - on purpose
def test_formulas_are_defused(cell: str) -> None:
    """All first characters that spreadsheets take for a formula, and no others."""
    from payonce.cli.audit_export import _safe

    assert _safe(cell) == (cell if cell in ("plain", "1-2", "") else f"'{cell}")


def test_what_must_not_be_seen_is_masked(payonce: Payonce, paid: Paid, data: Path) -> None:
    """Card numbers and secrets in names, reasons and request ids; also ones that came into the file some other way."""
    paid("tok_ok")
    payonce("key", "create", "--name", "till 4111 1111 1111 1111")
    payonce("providers", "drain", "mock", "--reason", "sk_live_0123456789abcdefgh")
    edit(
        data,
        "UPDATE registry SET value = CAST(replace(value, 'operator:', 'sk_live_abcdefgh:') AS BLOB) WHERE kind = 'journal'",
    )
    pan = "5555555555554444"
    for before, after in (
        ("worker", f"wk {pan}"),
        ("capture/", f"{pan}/"),
        ('"idempotency_key":"cli', '"idempotency_key":"sk_live_abcdefgh'),
    ):
        edit(data, "UPDATE events SET raw = CAST(replace(raw, ?, ?) AS BLOB)", before, after)
    ran = payonce(*ALWAYS)
    assert [word for word in ("4111", pan, "0123456789abcdefgh", "abcdefgh") if word in ran.out + ran.err] == []
    assert {"journal"} < {line["chain"] for line in ran.lines if "[redacted]" in json.dumps(line["data"])}
    assert ran.out.count("[redacted]") >= 6


def test_a_broken_chain_is_named_and_the_rest_is_exported(payonce: Payonce, paid: Paid, data: Path) -> None:
    """Exit code 1; every other line is there, and of the broken payment what can be read."""
    whole, spoiled = paid("tok_ok")["transactionId"], paid("tok_ok")["transactionId"]
    payonce("key", "create")
    all_of_it = payonce(*ALWAYS).lines
    edit(data, "DELETE FROM events WHERE payment_id = ? AND seq = 3", spoiled)
    ran = payonce(*ALWAYS)
    assert (ran.code, f"{spoiled}: " in ran.err, whole in ran.err) == (1, True, False)
    assert "1 chain broken" in ran.err
    assert [line for line in ran.lines if line["chain"] != spoiled] == [x for x in all_of_it if x["chain"] != spoiled]
    assert [line["seq"] for line in ran.lines if line["chain"] == spoiled][:2] == [1, 2]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE events SET hash = '00' WHERE seq = 2",
        "DELETE FROM events WHERE seq = 1",
        "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)",
        "DELETE FROM payments",
    ],
)
def test_each_way_to_break_a_history_is_seen(payonce: Payonce, paid: Paid, data: Path, sql: str) -> None:
    """Another hash, no beginning, no end, no row: 1, and it is said of the payment."""
    payment = paid("tok_ok")["transactionId"]
    edit(data, sql)
    ran = payonce(*ALWAYS)
    assert (ran.code, f"{payment}: " in ran.err) == (1, True), ran.err


def test_a_broken_journal_is_named(payonce: Payonce, data: Path) -> None:
    """What can be read of it is exported."""
    for _ in range(3):
        payonce("key", "create")
    edit(data, "UPDATE registry SET value = x'7b' WHERE kind = 'journal' AND name = '000000002'")
    ran = payonce(*ALWAYS)
    assert (ran.code, "the journal: entry 000000002 is unreadable" in ran.err) == (1, True)
    assert [line["seq"] for line in ran.lines] == [1, 3]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--from", "yesterday", "--to", "2100-01-01"), 2, "--from is a time such as"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), 2, "--from lies before --to"),
        (("--from", "2026-01-01", "--to", "2026-01-01"), 2, "--from lies before --to"),
        (("--from", "2026-01-01"), 2, "--to"),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--format", "csv", "--json"), 2, "contradict"),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--format", "xml"), 2, "xml"),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--output", "no/such/folder/a"), 1, "cannot be written"),
    ],
)
def test_what_makes_no_sense_is_refused(payonce: Payonce, args: tuple[str, ...], code: int, said: str) -> None:
    """Times, order, format and a file that cannot be written."""
    payonce("key", "create")
    ran = payonce("audit", "export", *args)
    assert (ran.code, ran.out, said in ran.err) == (code, "", True), ran


def test_a_read_only_backup_is_exported(payonce: Payonce, paid: Paid, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lines from a file that cannot be written."""
    paid("tok_ok")
    lines = payonce(*ALWAYS).lines
    (data / "payments.db").chmod(0o400)
    monkeypatch.setenv("PAYONCE_DATA_DIR", str(data))
    assert payonce(*ALWAYS).lines == lines


def test_sorting_needs_no_more_memory_than_a_run() -> None:
    """Runs are written, merged when there are many, and come out in order, whatever their sizes."""
    keys = [f"{(n * 7919) % 5000:05d}" for n in range(5000)]
    for run_bytes, runs_max in ((200, 4), (1000, 64), (10**9, 2)):
        with Sorter(run_bytes, runs_max) as sorter:
            for key in keys:
                sorter.put(key, f"line\\t{key}\t.".encode())
                assert sorter._size < run_bytes
                assert len(sorter._runs) < runs_max or run_bytes == 10**9
            assert [line.decode() for line in sorter.lines()] == [f"line\\t{key}\t." for key in sorted(keys)]
