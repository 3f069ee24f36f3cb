# ruff: noqa: INP001  a script beside the package, not a package
"""Keep a release: its code, and the files that it leaves behind, for every later version to open (tests/releases).

    .venv/bin/python tools/release.py                   # at a release: make tests/releases/<version>
    .venv/bin/python tools/release.py --check VERSION   # make it again elsewhere: the same rows?

A release's folder is made once and never again: what later versions must read is what this one wrote.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

ROOT: Final = Path(__file__).resolve().parents[1]
RELEASES: Final = ROOT / "tests" / "releases"
SEED: Final = 1
BYTES_MAX: Final = 1024 * 1024  # of each file
ZIPPED_AT: Final = (1980, 1, 1, 0, 0, 0)  # the same code makes the same zip
LEFT_OUT: Final = ("testing", "demo", "__pycache__")  # of the package: no process is built from them
CODE, STORE, LEDGER, HISTORIES, FACTS = "code.zip", "payments.db", "sandbox-ledger.db", "histories.jsonl", "release.json"

# What a release must leave behind, or later versions would be tested with less. AUTHORIZED is reached by no code yet.
STATUSES: Final = {"PENDING", "REQUIRES_ACTION", "SUCCESS", "FAILED", "CANCELED", "IN_DOUBT"}
EVENTS: Final = {"Accepted", "Planned", "Observed", "Hinted", "Asked", "Judged", "Resolved"}
ACCOUNTS: Final = {"mock", "razorpay_mock", "cashfree_mock"}
BESIDE: Final = ("keys", "refs", "bodies", "due", "registry")


def zip_code(src: Path, out: Path) -> None:
    """The package below ``src``, as far as processes are built from it, as a zip that Python can import: the same each time.
    ``src`` may be such a zip."""
    if src.is_file():
        shutil.copyfile(src, out)
        return
    package = src / "payonce"
    files = sorted(p for p in package.rglob("*") if p.is_file() and not set(LEFT_OUT) & set(p.relative_to(package).parts))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(src).as_posix(), ZIPPED_AT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(entry, path.read_bytes())


def make(src: Path, folder: Path, commit: str) -> None:
    """The code of ``src``, and what it leaves when the workload was driven by it. Raises SystemExit when something of
    what a release must leave is missing; ``folder`` is incomplete then."""
    zip_code(src, folder / CODE)
    path = os.pathsep.join((str(folder / CODE), str(ROOT)))
    env = {name: value for name, value in os.environ.items() if not name.startswith("PAYONCE_")}
    command = [sys.executable, "-m", "tests.releases.workload", str(ROOT / "src/payonce/testing/versions.py"), str(folder)]
    with tempfile.TemporaryDirectory() as elsewhere:  # no payonce.toml of anybody
        subprocess.run([*command, str(SEED)], cwd=elsewhere, env={**env, "PYTHONPATH": path}, check=True)  # noqa: S603 - ours
    stopped = json.loads((folder / "stopped.json").read_text(encoding="utf-8"))
    (folder / "stopped.json").unlink()
    (folder / FACTS).write_text(json.dumps({"commit": commit, **stopped}, indent=2) + "\n", encoding="utf-8")
    if wrong := list(lacking(folder)):
        raise SystemExit(
            "The release was not kept: " + "; ".join(wrong) + f". Extend tests/releases/workload.py. See {folder}."
        )


def lacking(folder: Path) -> Iterator[str]:
    """What a release's folder should hold and does not."""
    kept = [json.loads(line) for line in (folder / HISTORIES).read_text(encoding="utf-8").splitlines()]
    seen = {
        "status": (STATUSES, {each["view"]["status"] for each in kept}),
        "event": (EVENTS, {event["kind"] for each in kept for event in each["events"]}),
        "account": (ACCOUNTS, {account for each in kept for account in each["accounts"]}),
        "account in the middle of a call": (ACCOUNTS, {each["accounts"][-1] for each in kept if each["open_step"]}),
        "merchant": ({"mer_default", "mer_other"}, {each["view"]["merchant_id"] for each in kept}),
        "verdict of an operator": (
            {"charged", "not-charged", "reversed"},
            {json.loads(e["raw"])["data"]["verdict"] for each in kept for e in each["events"] if e["kind"] == "Resolved"},
        ),
        "record beside payments": ({"breaker", "drain"}, {row[0] for row in rows(folder / STORE)["registry"]}),
    }
    yield from (f"no {what} {name}" for what, (wanted, has) in seen.items() for name in sorted(wanted - has))
    if not any(each["view"]["attention"] for each in kept):
        yield "no payment that needs attention"
    if not any(kind == "reversal" and state == "SUCCEEDED" for each in kept for kind, state, _ in each["operations"]):
        yield "no reversal"
    yield from (f"nothing in {table}" for table in BESIDE if not rows(folder / STORE)[table])
    yield from (f"{p.name} is larger than {BYTES_MAX} bytes" for p in folder.iterdir() if p.stat().st_size > BYTES_MAX)
    yield from (f"{p.name} was left: its file is not whole" for p in folder.iterdir() if p.name.endswith(("-wal", "-shm")))


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in an SQLite file, table by table; the file is not touched."""
    connection = apsw.Connection(f"file:{path.resolve()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        names = [n for (n,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}  # noqa: S608 - its own names
    finally:
        connection.close()


def differing(one: Path, other: Path) -> list[str]:
    """Which files of two keepings of a release say something else."""
    found = [] if (one / HISTORIES).read_bytes() == (other / HISTORIES).read_bytes() else [HISTORIES]
    found += [] if _unpacked(one / CODE) == _unpacked(other / CODE) else [CODE]  # zlib may pack another way elsewhere
    found += [n for n in (STORE, LEDGER) if rows(one / n) != rows(other / n)]  # the header names the SQLite that wrote it
    facts = [json.loads((each / FACTS).read_text(encoding="utf-8")) for each in (one, other)]
    return found + [FACTS] * (facts[0] != facts[1])


def _unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def version_of(src: Path) -> str:
    """What the package in a folder or a zip calls itself."""
    inside = zipfile.Path(src) if src.is_file() else src
    text = (inside / "payonce" / "__init__.py").read_text(encoding="utf-8")
    return next(line.split('"')[1] for line in text.splitlines() if line.startswith("__version__"))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607


def main(arguments: Sequence[str]) -> int:
    """See the module docstring. Exit code 1 when a release is there already, differs, or its code is in no commit yet."""
    parser = argparse.ArgumentParser(description="Keep a release's code and files for later versions to open.")
    parser.add_argument("--src", type=Path, help="the folder of the package, or a zip of it; default src")
    parser.add_argument("--commit", help="the commit that --src is of; default HEAD")
    parser.add_argument("--check", metavar="VERSION", help="make this release again from its own code, and compare")
    given = parser.parse_args(arguments)
    if given.check:
        return _check(RELEASES / given.check)
    if not given.commit and _git("status", "--porcelain", "--", "src"):
        print("src has changes that are in no commit. Nothing was kept: commit first, a release is kept once.")
        return 1
    src = (given.src or ROOT / "src").resolve()
    there = RELEASES / version_of(src)
    if there.exists():
        print(f"{there.relative_to(ROOT)} is there already, and was not changed. A release is kept once: raise the version.")
        return 1
    with tempfile.TemporaryDirectory() as made:
        make(src, Path(made), given.commit or _git("rev-parse", "HEAD"))
        shutil.copytree(made, there)
    there.chmod(0o755)  # a temporary folder is its owner's alone
    for path in sorted(there.iterdir()):
        path.chmod(0o644)
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size:>7} bytes")
    return 0


def _check(there: Path) -> int:
    facts = json.loads((there / FACTS).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as made:
        make(there / CODE, Path(made), facts["commit"])
        wrong = differing(there, Path(made))
    print(f"{there.name}: " + (f"differs in {', '.join(wrong)}" if wrong else "the same code and the same rows"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
