"""From sampled stacks to shares, pictures and words; and what is said where nobody may look."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest
from benchmarks.bench import Bench
from benchmarks.results import Row
from msgspec import structs

from benchmarks import flame, icicle, misses, targets

from .test_report import RESULT

LOOP = "thread (7): MainThread;serve (/x/src/payonce/cli/serve.py:21);Runner.run (/usr/lib/python3.11/asyncio/runners.py:86)"
RAW = f"""\
{LOOP};Cycle.send (/x/src/payonce/httpd/answering.py:41) 20
{LOOP};Envelope.__call__ (/x/src/payonce/api/app.py:258);loads (/usr/lib/python3.11/json/__init__.py:9) 50
{LOOP};Envelope.__call__ (/x/src/payonce/api/app.py:258);new_id (/x/src/payonce/core/ids.py:30) 9
{LOOP};Envelope.__call__ (/x/src/payonce/api/app.py:258);rare.<locals>.one (/x/site-packages/starlette/x.py:1) 1
thread (8): payonce-writer;Thread.run (/lib/python3.11/threading.py:9);Writer.write (/x/src/payonce/stores/sqlite/a.py:9) 20
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench") / "run", "quick", quiet=True)
    made.section = flame.NAME
    return made


def test_time_belongs_to_the_innermost_room() -> None:
    """json that the envelope calls is the envelope's time; the shares are of all samples."""
    shares = flame.by_room(flame.read(RAW))
    assert shares == {"door and envelope": 0.51, "HTTP server": 0.2, "store": 0.2, "core": 0.09}


def test_names_are_short_and_begin_where_threads_differ() -> None:
    """Thread, then room and function; what every stack begins with is gone."""
    assert flame.named(flame.read(RAW)) == {
        "event loop;httpd Cycle.send": 20,
        "event loop;api Envelope.__call__;json loads": 50,
        "event loop;api Envelope.__call__;core new_id": 9,
        "event loop;api Envelope.__call__;starlette rare.one": 1,
        "store's writer;stores Writer.write": 20,
    }


def test_what_is_rare_is_its_callers() -> None:
    """No sample is lost by leaving functions out."""
    kept = icicle.pruned(flame.named(flame.read(RAW)), 0.02)
    assert kept["event loop;api Envelope.__call__"] == 1
    assert sum(kept.values()) == 100
    assert icicle.pruned(kept, 0.02) == kept


def test_the_picture_is_wide_as_the_shares() -> None:
    """Well-formed, without a script; what calls is as wide as what it calls and itself; it says what is left out."""
    stacks = {**flame.named(flame.read(RAW)), "event loop;x <lambda> & more": 30}
    svg = icicle.draw(stacks, "Time <here>", flame.colours(), 0.02)
    found = ET.fromstring(svg)  # noqa: S314 - ours
    widths = {
        group[0].text: float(group[1].get("width", "0"))
        for group in found.iter("{http://www.w3.org/2000/svg}g")
        if group[0].text
    }
    assert widths["api Envelope.__call__ 46.2%"] == pytest.approx(icicle.WIDTH * 60 / 130 - icicle.GAP, abs=0.1)
    assert "x <lambda> & more 23.1%" in widths
    assert not any("rare" in name for name in widths)
    assert "130 samples; what has less than 2.0% is left out" in svg
    assert "script" not in svg


def test_both_pictures_are_drawn_from_the_result(tmp_path: Path) -> None:
    """A result keeps the stacks, so that the page can be made again."""
    result = structs.replace(RESULT, stacks=dict.fromkeys((flame.ACCEPTING, flame.SETTLING), flame.named(flame.read(RAW))))
    names = flame.draw(result, tmp_path / "images")
    assert [name for name, _ in flame.pictures(tmp_path / "images")] == names
    assert len(names) == 2


def test_stacks_of_another_run_are_kept_or_made_anew(bench: Bench) -> None:
    """Like its rows: those of the section that is measured again are not taken over."""
    other = structs.replace(
        RESULT, machine=bench.result.machine, rows=[], notes=[], stacks={flame.ACCEPTING: {"event loop": 7}}
    )
    bench.keep(other, ["accept"])
    assert bench.result.stacks == other.stacks
    bench.keep(other, ["accept", flame.NAME])
    assert bench.result.stacks == {}


def test_where_nobody_may_look_it_is_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without py-spy, or where the system forbids it, the section says so and goes on."""
    bench.section = flame.NAME
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    flame.run(bench)
    failed = subprocess.CompletedProcess([], 1, "", "Permission denied: try\nagain")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failed)
    assert flame.Watched(bench, "py-spy", flame.ACCEPTING).threads(cast("Any", SimpleNamespace(pid=1))) == {}
    first, second = bench.result.notes_of(flame.NAME)
    assert first == "Not measured: py-spy is not installed."
    assert second.endswith("not measured: Permission denied: try again")


def test_each_missed_target_has_a_reason() -> None:
    """By how much it is missed, and the rooms that hold the interpreter longest; what is met is not told."""
    assert misses.REASONS.keys() == {target.what for target in targets.TARGETS}
    share = Row(
        section=flame.NAME, case=flame.BY_ROOM, subject="core", metric=flame.ACCEPTING, unit="% of the interpreter", values=[40]
    )
    ratio = Row(section="peers", case="payonce to the best peer", subject="accept", metric="rate", unit="x", values=[2])
    result = structs.replace(RESULT, rows=[*RESULT.rows, share, ratio])
    told = misses.told(result)
    assert (
        "CPU of an idle server**: at most 0.500 % of a core is wanted, 0.600 % of a core measured (missed: 1.20 times" in told
    )
    assert re.search(r"^Not measured in this run: \d of 10 targets\.$", told, re.MULTILINE)
    assert "constant JSON through" not in told
    for target in targets.TARGETS:
        assert misses.item(result, target, 0.0).count("*What would help:*") == 1
    assert "core 40 %" in misses.item(result, targets.TARGETS[0], 0.1)
