"""The commands that a newcomer and CI type."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .source import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_make_alone_lists_every_target() -> None:
    """`make` without a target changes nothing and says what there is."""
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    said = run("make").stdout
    assert [t for t in phony.split() if f"make {t} " not in said] == []


def test_make_run_installs_no_tools() -> None:
    """`make run` installs what payonce needs at run time, exactly as locked, and starts the demo."""
    said = run("make", "-n", "-B", "run").stdout
    (sync,) = re.findall(r"uv sync .*", said)
    assert {"--frozen", "--no-dev", "--inexact"} <= set(sync.split())
    assert said.strip().endswith("payonce demo")


def test_make_passes_options_on() -> None:
    """ARGS reaches the command."""
    assert "payonce demo --exit" in run("make", "-n", "run", "ARGS=--exit").stdout


def test_check_runs_everything_that_ci_runs() -> None:
    """.ci/run is executable and runs `make check`, which names every single check, tests last."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "exec make check" in script.read_text(encoding="utf-8")
    (needs,) = re.findall(r"^check: ([a-z -]+) ##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert needs.split() == ["lint", "types", "imports", "docs-check", "audit", "wheel", "guard", "test", "browser", "sim"]


def fake_python(folder: Path, refused: str) -> Path:
    """An interpreter that fails for code that holds a word, and says nothing."""
    fake = folder / "python"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *"{refused}"*) exit 1;; *) echo 3.11;; esac\n', encoding="utf-8")
    fake.chmod(0o755)
    return fake


def test_an_old_python_is_named(tmp_path: Path) -> None:
    """Without a Python that is new enough, the message says what is needed and how to name one; nothing is made."""
    done = run("sh", str(ROOT / "tools" / "venv.sh"), "env", "0", str(fake_python(tmp_path, "version_info")), cwd=tmp_path)
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (tmp_path / "env").exists()


def test_a_python_without_ensurepip_is_named(tmp_path: Path) -> None:
    """Where the system splits venv off, the message names the package to install; nothing is made."""
    done = run("sh", str(ROOT / "tools" / "venv.sh"), "env", "0", str(fake_python(tmp_path, "ensurepip")), cwd=tmp_path)
    assert done.returncode == 1
    assert "apt-get install python3.11-venv" in done.stderr
    assert not (tmp_path / "env").exists()
