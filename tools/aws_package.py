# ruff: noqa: INP001, S603  a script beside the package, which runs uv
"""Build the package of the functions, one zip for all four: `make aws-package`, or `python -m tools.aws_package --local`.

The default is what Lambda runs: arm64, Python 3.13, with the wheels that uv.lock pins, fetched by uv. ``--local`` is for the
emulator, which runs functions on this machine: the same, from the packages that are installed in this environment, without
any network. In both is only what the functions import: of payonce no command line, sandbox, SQLite store and test kit, and no
AWS SDK, because payonce has a client of its own.

The same sources give the same bytes: files in order, one date, one mode. Byte code is added when this Python is the version
that the package is for (Lambda's folder is read-only, so each cold start would compile anew); it is checked by nothing and has
no date, which is what makes it reproducible.
"""

import argparse
import compileall
import importlib.metadata
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BUILT: Final = ROOT / "build" / "aws"
PYTHON: Final = "3.13"  # PythonVersion of the template
PLATFORM: Final = "aarch64-manylinux_2_28"  # Lambda's Python 3.12 and later run on Amazon Linux 2023, which has glibc 2.34
# What the functions import, directly or not. One that is missing fails tests/aws/test_package.py.
DISTRIBUTIONS: Final = (
    "anyio",
    "h11",
    "httpcore2",
    "httptools",
    "httpx2",
    "idna",
    "msgspec",
    "starlette",
    "structlog",
    "truststore",
    "typing-extensions",
)
# Folders and files of payonce that no function imports.
LEFT_OUT: Final = (
    "cli",
    "demo",
    "testing",
    "sandbox",
    "stores/sqlite",
    "stores/memory.py",
    "embedded.py",
    "process.py",
)
# Of metadata only what a package may look up about itself: httpx2 asks for its own version.
JUNK: Final = re.compile(r"(^|/)(__pycache__|tests?|testing)/|\.(pyi|pyx|pxd|h|c|typed)$|\.dist-info/(?!METADATA$)|^bin/")
DATE: Final = (1980, 1, 1, 0, 0, 0)


def main(arguments: list[str] | None = None) -> int:
    """Build and say the size."""
    parser = argparse.ArgumentParser(prog="make aws-package", description="Build the package of the functions.")
    parser.add_argument("--local", action="store_true", help="for this machine, from this environment")
    parser.add_argument("--python", default=PYTHON, help="version of Python of the functions (default %(default)s)")
    parser.add_argument("--config", type=Path, help="a payonce.toml for the package")
    parser.add_argument("--out", type=Path, default=BUILT / "payonce.zip", help="the zip to write")
    wish = parser.parse_args(arguments)
    if wish.config and not wish.config.is_file():
        parser.error(f"there is no configuration file {wish.config}")
    python = f"{sys.version_info[0]}.{sys.version_info[1]}" if wish.local else wish.python
    build(wish.out, local=wish.local, python=python, config=wish.config)
    print(describe(wish.out, python, local=wish.local))
    return 0


def build(out: Path, *, local: bool, python: str, config: Path | None = None) -> Path:
    """Write the package. Raises subprocess.CalledProcessError when uv cannot fetch the wheels."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy_installed(folder) if local else _fetch(folder, python)
        _copy_payonce(folder)
        _prune(folder)
        if config is not None:
            shutil.copyfile(config, folder / "payonce.toml")
        if python == f"{sys.version_info[0]}.{sys.version_info[1]}":
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            compileall.compile_dir(
                folder, quiet=2, stripdir=str(folder), prependdir="/var/task", invalidation_mode=mode, workers=1
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        _zip(folder, out)
    return out


def describe(zipped: Path, python: str, *, local: bool) -> str:
    """Sizes, packed and unpacked, and what is large in it."""
    with zipfile.ZipFile(zipped) as z:
        files = z.infolist()
    parts: dict[str, int] = {}
    for f in files:
        top = f.filename.partition("/")[0]
        parts[top] = parts.get(top, 0) + f.file_size
    large = sorted(parts.items(), key=lambda part: -part[1])[:6]
    for_what = "this machine" if local else "Lambda, arm64"
    code = "with byte code" if any(f.filename.endswith(".pyc") for f in files) else "without byte code: this Python is another"
    mib = 2**20
    return (
        f"{zipped}: {zipped.stat().st_size / mib:.2f} MiB, {sum(f.file_size for f in files) / mib:.1f} MiB unpacked "
        f"(Lambda takes 50 and 250), for {for_what}, Python {python}, {code}\n"
        + ", ".join(f"{name} {size / mib:.1f}" for name, size in large)
    )


def _fetch(folder: Path, python: str) -> None:
    """The wheels that uv.lock pins, and no others."""
    uv = [str(Path(sys.executable).with_name("uv"))]
    locked = subprocess.run(
        [
            *uv,
            "export",
            "--quiet",
            "--frozen",
            "--no-dev",
            "--extra",
            "aws",
            "--no-emit-project",
            "--no-annotate",
            "--no-header",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    wanted = folder / "requirements.txt"
    wanted.write_text("\n".join(_requirements(locked)))
    subprocess.run(
        [
            *(*uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *("--python-platform", PLATFORM, "--python-version", python, "--target", str(folder), "-r", str(wanted)),
        ],
        cwd=ROOT,
        check=True,
    )
    wanted.unlink()


def _requirements(locked: str) -> Iterator[str]:
    """The entries of a requirements file, each with its hashes, that the functions need."""
    for entry in re.split(r"\n(?=\S)", locked):
        if re.split(r"[ =<>;\[]", entry, maxsplit=1)[0] in DISTRIBUTIONS:
            yield entry


def _copy_installed(folder: Path) -> None:
    for name in DISTRIBUTIONS:
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts and not JUNK.search(file.as_posix()):
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)


def _copy_payonce(folder: Path) -> None:
    """The package, and of its metadata what finds the adapters."""
    source = ROOT / "src" / "payonce"
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        left = any(name == each or name.startswith(each + "/") for each in LEFT_OUT)
        if path.is_file() and not left and not JUNK.search(name):
            target = folder / "payonce" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"payonce-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: payonce\nVersion: {project['version']}\n")
    points = project["entry-points"]["payonce.providers"]
    lines = ["[payonce.providers]", *(f"{name} = {where}" for name, where in sorted(points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def _prune(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        ours = name.startswith("payonce")
        if path.is_file() and not ours and JUNK.search(name):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _zip(folder: Path, out: Path) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), DATE)
            entry.external_attr, entry.compress_type, entry.create_system = 0o644 << 16, zipfile.ZIP_DEFLATED, 3
            z.writestr(entry, path.read_bytes(), compresslevel=9)


if __name__ == "__main__":
    sys.exit(main())
