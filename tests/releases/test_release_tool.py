"""Keeping a release: the tool makes what later versions need, the same each time, and notices when something is missing."""

import json
import os
import re
import shutil
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.release import ROOT, differing, lacking, make, version_of, zip_code

import payonce

from .kept import releases

RELEASES = releases()
NEWEST = RELEASES[-1]


def test_todays_code_could_be_kept(tmp_path: Path) -> None:
    """The workload runs under today's code, leaves all that a release must leave, and twice the same."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    make(ROOT / "src", tmp_path / "one", "none")
    make(tmp_path / "one" / "code.zip", tmp_path / "two", "none")
    assert differing(tmp_path / "one", tmp_path / "two") == []
    assert json.loads((tmp_path / "one" / "release.json").read_text(encoding="utf-8"))["version"] == payonce.__version__


def test_the_same_code_is_the_same_zip(tmp_path: Path) -> None:
    """Whenever and wherever its files were written; what no process is built from is left out."""
    for name, files in (("one", ("a", "b/c", "demo/d")), ("two", ("b/c", "a", "testing/e", "__pycache__/f"))):
        for file in files:
            path = tmp_path / name / "payonce" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file, encoding="utf-8")
            os.utime(path, (len(files), len(files)))
        zip_code(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as packed:
        assert packed.namelist() == ["payonce/a", "payonce/b/c"]


@pytest.mark.parametrize("release", RELEASES, ids=[r.version for r in RELEASES])
def test_a_kept_release_is_whole(release: Any) -> None:
    """Its folder holds everything, its code calls itself by the folder's name and can be loaded."""
    assert list(lacking(release.folder)) == []
    assert version_of(release.folder / "code.zip") == release.version == release.folder.name
    code = release.code()
    assert (code.version, code.file_schema, code.row_schema) == tuple(
        release.facts[name] for name in ("version", "file_schema", "row_schema")
    )


def without(status: str) -> Callable[[dict[str, Any]], bool]:
    return lambda each: each["view"]["status"] != status


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (without("CANCELED"), "no status CANCELED"),
        (without("IN_DOUBT"), "no event Hinted"),
        (lambda each: not each["open_step"], "no account in the middle of a call cashfree_mock"),
        (lambda each: "Resolved" not in {e["kind"] for e in each["events"]}, "no verdict of an operator reversed"),
        (lambda each: len(each["operations"]) == 1, "no reversal"),
        (lambda each: each["view"]["merchant_id"] == "mer_default", "no merchant mer_other"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, keep: Callable[[dict[str, Any]], bool], said: str) -> None:
    """A release that left less is not kept."""
    folder = tmp_path / "less"
    shutil.copytree(NEWEST.folder, folder)
    lines = [json.dumps(each) for each in NEWEST.payments if keep(dict(each))]
    (folder / "histories.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert said in list(lacking(folder))
    assert differing(NEWEST.folder, folder) == ["histories.jsonl"]


def test_the_version_is_said_alike() -> None:
    """Package, pyproject.toml, uv.lock, README and changelog name one version; every version before it was kept."""
    said = {"payonce": payonce.__version__}
    said["pyproject.toml"] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    locked = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    said["uv.lock"] = next(each["version"] for each in locked if each["name"] == "payonce")
    (said["README.md"],) = re.findall(r"version (\d+\.\d+\.\d+) has", (ROOT / "README.md").read_text(encoding="utf-8"))
    headings = re.findall(r"^## \[([\d.]+)\] - (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    said["CHANGELOG.md"] = headings[0][0]
    assert set(said.values()) == {payonce.__version__}, said
    dated = {version for version, when in headings if when != "unreleased"}
    assert dated == {r.version for r in RELEASES}
