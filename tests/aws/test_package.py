"""The package of the functions: everything that they import, nothing else, and always the same bytes."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tools.aws_package import DISTRIBUTIONS, LEFT_OUT, _requirements, build, describe

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
UNUSED = ("apsw", "botocore", "boto3", "cyclopts", "payonce.cli", "payonce.sandbox", "payonce.testing", "rich", "uvicorn")
LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import importlib
mod = importlib.import_module(sys.argv[2])
from payonce.providers import load_adapters
import httptools, httpx2, payonce.transport  # these two at the first call
print(json.dumps({"handler": callable(mod.handler), "adapters": sorted(load_adapters()), "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("package") / "payonce.zip", local=True, python=PYTHON)


@pytest.fixture(scope="module")
def unpacked(package: Path) -> Path:
    folder = package.parent / "task"
    with zipfile.ZipFile(package) as z:
        z.extractall(folder)
    return folder


@pytest.mark.parametrize("function", ["api", "worker", "sweeper"])
def test_each_function_imports_from_the_package_alone(function: str, unpacked: Path) -> None:
    """With nothing but the package and the standard library each handler is found, all adapters are, and no command line,
    sandbox, SQLite or AWS SDK is loaded."""
    command = [sys.executable, "-I", "-S", "-c", LOOK, str(unpacked), f"payonce.aws.{function}"]
    done = subprocess.run(command, cwd=unpacked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["handler"]
    assert said["adapters"] == ["cashfree", "mock", "payu", "razorpay", "stripe"]
    loaded = [m for m in said["modules"] if any(m == each or m.startswith(each + ".") for each in UNUSED)]
    assert loaded == []


def test_the_same_sources_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """Built again elsewhere it is the same file: a deployment without a change changes nothing."""
    again = build(tmp_path / "again.zip", local=True, python=PYTHON)
    with zipfile.ZipFile(package) as one, zipfile.ZipFile(again) as two:
        assert [(f.filename, f.CRC) for f in one.infolist()] == [(f.filename, f.CRC) for f in two.infolist()]
    assert again.read_bytes() == package.read_bytes()


def test_a_configuration_goes_into_the_package(tmp_path: Path) -> None:
    """A payonce.toml that is named is found where the functions look for it."""
    config = tmp_path / "live.toml"
    config.write_text("version = 1\n")
    zipped = build(tmp_path / "p.zip", local=True, python=PYTHON, config=config)
    with zipfile.ZipFile(zipped) as z:
        assert z.read("payonce.toml") == config.read_bytes()


def test_nothing_else_is_in_it(package: Path) -> None:
    """No part that is left out, no tests, no types, and well below what Lambda takes."""
    with zipfile.ZipFile(package) as z:
        names = z.namelist()
        size = sum(f.file_size for f in z.infolist())
    assert [n for n in names for left in LEFT_OUT if n == f"payonce/{left}" or n.startswith(f"payonce/{left}/")] == []
    assert [n for n in names if "/tests/" in n or n.endswith(".pyi")] == []
    assert "payonce/payonce.toml" in names
    assert size < 20 * 2**20
    assert f"{size / 2**20:.1f} MiB unpacked" in describe(package, PYTHON, local=True)


def test_only_what_is_needed_is_fetched() -> None:
    """Of what uv.lock pins the wheels of the functions are fetched, each with its hashes, and the markers are kept."""
    anyio, rich = "anyio==4.16.0 \\\n    --hash=sha256:a", "rich==15.0.0 \\\n    --hash=sha256:b"
    marked = "httpcore2==2.1 ; x != 'y' \\\n    --hash=sha256:c"
    assert list(_requirements(f"{anyio}\n{rich}\n{marked}")) == [anyio, marked]
    assert "botocore" not in DISTRIBUTIONS
