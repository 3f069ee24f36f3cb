"""From measured values to tables, targets and the page; and what makes a run worth nothing."""

import signal
import time
from pathlib import Path
from typing import Any

import apsw
import pytest
from benchmarks.__main__ import main as benchmarks_main
from benchmarks.bench import Bench
from benchmarks.machine import Machine
from benchmarks.procs import ROOT, Broken, Proc
from benchmarks.provider import Booked
from benchmarks.results import Note, Ran, Result, Row
from benchmarks.settle import Story
from msgspec.structs import replace

from benchmarks import accept, machine, procs, report, results, settle, tables, targets

PLOT_BYTES_MAX = 60_000
BOX = Machine(
    cores=2, model="a model", memory_mib=2048, system="Linux 6", python="CPython 3.11.7", sync_us=170, sync_p99_us=320
)


def row(section: str, case: str, subject: str, metric: str, unit: str, *values: float) -> Row:
    return Row(section=section, case=case, subject=subject, metric=metric, unit=unit, values=list(values))


RESULT = Result(
    machine=BOX,
    versions={"payonce": "1.0"},
    commit="abc",
    started="2026-11-26T10:00:00+00:00",
    seconds=1500,
    scale="normal",
    rows=[
        row("accept", "1 connection", "payonce", "rate", "/s", 900, 1000, 1100),
        row("accept", "1 connection", "payonce", "p99", "ms", 1.234),
        row("accept", "64 connections", "payonce", "rate", "/s", 4000),
        row("accept", "64 connections", "payonce", "p99", "ms", 20.5),
        row("accept", accept.RATIOS, accept.STACK, "rate", "ratio", 0.3, 0.5, 0.45),
        row("settle", "idle", settle.ONE, "CPU", "%", 0.6),
    ],
    notes=[Note(section="accept", text="as it is")],
    ran={"settle": Ran(commit="old", started="2026-11-25T10:00:00+00:00", seconds=60, scale="long")},
)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    """JSON and back."""
    results.save(RESULT, tmp_path / "r.json")
    assert results.load(tmp_path / "r.json") == RESULT
    (first, *_) = RESULT.rows
    assert (first.median, first.spread) == (1000, 0.2)


def test_cases_that_were_measured_alike_share_a_table() -> None:
    """Medians with half of their spread, a column for each metric; the ratios stand apart."""
    first, second = tables.grids(RESULT, "accept")
    assert tables.markdown(first) == (
        "| case | who | rate, /s | p99, ms |\n"
        "| --- | --- | ---: | ---: |\n"
        "| 1 connection | payonce | 1,000 ±10 % | 1.23 |\n"
        "| 64 connections | payonce | 4,000 | 20.5 |\n"
    )
    assert second.lines == [[accept.RATIOS, accept.STACK, "0.450 ±22 %"]]


def test_a_result_of_one_run_says_so_for_each_section(tmp_path: Path) -> None:
    """Older files have no word for each."""
    results.save(replace(RESULT, ran={}), tmp_path / "r.json")
    ran = results.load(tmp_path / "r.json").ran
    assert {name: (each.commit, each.scale, each.seconds) for name, each in ran.items()} == {
        "accept": ("abc", "normal", 1500),
        "settle": ("abc", "normal", 1500),
    }


def test_many_metrics_of_few_cases_stand_below_one_another() -> None:
    """A line of thirty columns is read by nobody."""
    rows = [row("growth", f"{n} payments", "payonce", f"figure {k}", "ms", n + k) for n in (1, 100) for k in range(11)]
    (grid,) = tables.grids(replace(RESULT, rows=rows), "growth")
    assert (grid.head, len(grid.lines)) == (["what", "1 payments", "100 payments"], 11)
    assert grid.lines[3] == ["figure 3, ms", "4", "103"]


def test_each_section_says_when_it_was_measured() -> None:
    """Some may be of an earlier run."""
    text = "<!-- made from the results: settle -->\n<!-- end of settle -->\n"
    assert "*Measured on 2026-11-25 in 60 s, commit `old`, scale long.*\n" in report.page(text, RESULT, "r.json")


def test_targets_are_met_missed_or_not_measured() -> None:
    """Each is judged by its own direction, and a miss says by how much."""
    told = {line[0]: line[2:] for line in targets.grid(RESULT).lines}
    assert len(told) == len(targets.TARGETS)
    assert told["accepted a second, to constant JSON through the same stack"] == ["0.450", "met"]
    assert told["CPU of an idle server"] == ["0.600 % of a core", "missed: 1.20 times as much"]
    assert told["settled a second, to the best peer"] == ["not measured", ""]


def test_only_made_parts_of_the_page_change() -> None:
    """What stands between the marks is replaced, again and again with the same text; the rest is kept."""
    text = (
        "# Mine\n\n<!-- made from the results: accept -->\nold\n<!-- end of accept -->\n\nMine too.\n\n"
        "<!-- made from the results: peers -->\n<!-- end of peers -->\n"
        "<!-- made from the results: machine -->\n<!-- end of machine -->\n"
    )
    once = report.page(text, RESULT, "r.json")
    assert once.startswith("# Mine\n\n<!--")
    assert "\n\nMine too.\n\n" in once
    assert "old" not in once
    assert "| 64 connections | payonce | 4,000 | 20.5 |" in once
    assert "- as it is\n<!-- end of accept -->" in once
    assert "Not measured in this run." in once
    assert "2 cores of a model" in once
    assert report.page(once, RESULT, "r.json") == once


def test_the_page_says_what_the_kept_result_says() -> None:
    """docs/performance.md is what `python -m benchmarks.report --write` would make of benchmarks/results and tried.md."""
    assert report.drift() == []
    parts = {found[1] for found in report.PART.findall(report.PAGE.read_text(encoding="utf-8"))}
    assert parts == {
        "targets",
        "misses",
        "machine",
        "tried",
        "accept",
        "settle",
        "peers",
        "growth",
        "shape",
        "soak",
        "aws",
        "flame",
    }


def test_kept_plots_are_small_and_lead_nowhere() -> None:
    """Each SVG stays below its limit and names no address but that of its vocabulary."""
    for path in report.IMAGES.glob("performance-*.svg"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < PLOT_BYTES_MAX, path.name
        assert "://" not in text.replace("http://www.w3.org/", ""), path.name


def test_a_kept_result_measured_what_the_targets_ask_for() -> None:
    """A renamed case would turn a target into "not measured" in silence; ten million payments take hours and may be missing."""
    path = results.newest()
    if path is None:
        pytest.skip("no result is kept yet")
    kept = results.load(path)
    missing = [target.what for target in targets.TARGETS if target.measured(kept) is None and "10 million" not in target.what]
    assert missing == []


# --- what makes a run worth nothing ---------------------------------------------------------------------------------------

STORIES = [Story("pay_" + "a" * 20, 1050, 1_000, 6_000), Story("pay_" + "b" * 20, 1050, 2_000, 9_000)]


def charge(letter: str, amount: int = 1050) -> Booked:
    return Booked(f"ch_{letter}", letter * 20 + "0100", f"key-{letter}", amount, 0, 500)


def test_once_each_is_what_counts() -> None:
    """Two payments, each a success and charged once with its amount."""
    settle.require_once(STORIES, [charge("b"), charge("a")], 2)


@pytest.mark.parametrize(
    ("stories", "charges", "says"),
    [
        (STORIES, [charge("a"), charge("b"), charge("b")], "charged exactly once"),
        (STORIES, [charge("a")], "charged exactly once"),
        (STORIES, [charge("a"), charge("b"), charge("c")], "charged exactly once"),
        (STORIES, [charge("a"), charge("b", 1)], "charged exactly once"),
        (STORIES[:1], [charge("a")], "the store holds 1"),
        ([*STORIES[:1], Story("pay_" + "b" * 20, 1050, 2_000, 0)], [charge("a"), charge("b")], "no success"),
    ],
)
def test_a_payment_too_many_or_too_few_ends_the_run(stories: list[Story], charges: list[Booked], says: str) -> None:
    """Charged twice, not at all, for nobody, with another amount; lost; not settled: each says so."""
    with pytest.raises(Broken, match=says):
        settle.require_once(stories, charges, 2)


def test_a_store_with_less_than_was_accepted_ends_the_run(tmp_path: Path) -> None:
    """Accepted and not there is the worst that can be measured."""
    served: Any = type("Served", (), {"store": tmp_path / "payments.db"})
    with apsw.Connection(str(served.store)) as connection:
        connection.execute("CREATE TABLE payments (id TEXT); INSERT INTO payments VALUES ('pay_1')")
    connection.close()
    accept.require_stored(served, 1)
    with pytest.raises(Broken, match="2 payments were accepted, and the store holds 1"):
        accept.require_stored(served, 2)


# --- processes and the run ------------------------------------------------------------------------------------------------


def test_a_process_is_measured_and_ended(tmp_path: Path) -> None:
    """CPU and memory are those of the process and its child; after its end nothing of its session is left."""
    argv = ["sh", "-c", "sleep 60 & echo begun; while :; do :; done"]
    proc = Proc.start(argv, log=tmp_path / "log")
    procs.wait_line("begun", proc)
    (own, child) = proc.pids()
    before, until = proc.cpu_fine_s(), time.monotonic() + 30
    while proc.cpu_fine_s() < before + 0.02 or proc.cpu_s() < 0.01:  # the second is counted in ticks
        proc.require_alive()
        assert time.monotonic() < until
    assert 0 < proc.rss_mib() <= proc.peak_mib() < 100
    assert proc.fds() > 4
    proc.kill()
    assert (own, procs.cpu_of(own)) == (proc.pid, 0.0)
    left = Path(f"/proc/{child}/stat")
    while left.exists() and " Z " not in left.read_text(encoding="utf-8"):  # an orphan that nobody reaps here
        assert time.monotonic() < until


def test_a_process_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    """Who waits for it learns at once why it will never answer."""
    proc = Proc.start(["sh", "-c", "echo no such thing; exit 3"], log=tmp_path / "log", name="server")
    with pytest.raises(Broken, match=r"(?s)server ended with 3.*no such thing"):
        procs.wait_http(f"http://127.0.0.1:{procs.free_port()}/", proc)
    proc.kill()


def test_values_of_one_place_are_one_row(tmp_path: Path) -> None:
    """Turns of a contender add up; a run keeps what another found of other sections, and says whose it is."""
    bench = Bench(tmp_path / "run", "quick", out=tmp_path / "r.json", quiet=True)
    bench.begin("accept")
    for value in (1.0, 2.0):
        bench.row("a", "b", "rate", "/s", value)
    with pytest.raises(Broken, match="another machine"):
        bench.keep(RESULT, ["accept"])
    bench.keep(replace(RESULT, machine=replace(bench.result.machine, sync_us=1)), ["accept"])
    bench.begin("accept")
    bench.row("a", "b", "rate", "/s", 3.0)
    bench.note("once")
    bench.note("once")
    bench.save()
    kept = results.load(tmp_path / "r.json")
    assert [(r.section, r.values) for r in kept.rows] == [("settle", [0.6]), ("accept", [3.0])]
    assert [note.section for note in kept.notes] == ["accept"]
    assert {name: (ran.commit, ran.scale) for name, ran in kept.ran.items()} == {
        "accept": (machine.commit(), "quick"),
        "settle": ("old", "long"),
    }
    assert kept.machine == bench.result.machine
    assert bench.seconds(8) == 2
    assert bench.times(3) == 1


def test_a_section_that_breaks_is_told_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' figures stay, the run fails, and no page is written from it."""

    def fine(bench: Bench) -> None:
        bench.row("a", "b", "rate", "/s", 1.0)

    def breaks(bench: Bench) -> None:
        raise Broken("a payment was charged twice\nand so on")

    monkeypatch.setattr(accept, "run", fine)
    monkeypatch.setattr(settle, "run", breaks)
    monkeypatch.setattr(report, "write", lambda _: pytest.fail("written"))
    out = tmp_path / "r.json"
    given = ["--only", "accept,settle", "--quick", "--write", "--folder", str(tmp_path / "run"), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["benchmarks", *given])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert benchmarks_main() == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    kept = results.load(out)
    assert [(r.section, r.values) for r in kept.rows] == [("accept", [1.0])]
    assert [note.text for note in kept.notes] == ["BROKEN, its figures mean nothing: a payment was charged twice"]


def test_the_machine_is_known(tmp_path: Path) -> None:
    """Cores, a model, memory, and a disk that takes some time for an fsync."""
    found = machine.machine(tmp_path)
    assert found.cores >= 1
    assert found.memory_mib > 100
    assert 0 < found.sync_us <= found.sync_p99_us
    assert {"payonce", "sqlite", "uvicorn"} <= machine.versions().keys()
    assert (ROOT / "benchmarks").is_dir()
