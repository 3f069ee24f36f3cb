# ruff: noqa: INP001  a script beside the package, not a package
"""Ask pip-audit whether a known vulnerability lies in what uv.lock names, development tools included.

Usage: python tools/audit.py [--only NAME ...]

Exit code 1 for a vulnerability that ACCEPTED does not name, and when pip-audit itself does not work. Without a network, and
where the advisory service does not know the packages (of which pip-audit says "no known vulnerabilities"), it
says how many were not looked up, and passes: a build must not depend on somebody else's server.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

LOCK: Final = Path(__file__).resolve().parents[1] / "uv.lock"
# advisory -> why it does no harm here, and until when that is good enough.
ACCEPTED: Final[dict[str, str]] = {}
TIMEOUT_S: Final = 300
SOCKET_S: Final = 10
# What stands in the last line of pip-audit 2.10 when the service does not answer.
AWAY: Final = ("ConnectionError", "ProxyError", "Max retries exceeded", "Timeout", "timed out", "ServiceError", "SSLError")
SHOWN: Final = 5  # names of packages


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Verdict(NamedTuple):
    """``ok`` False ends the build; ``says`` is for people."""

    ok: bool
    says: str


def pins(lock: str, only: Collection[str] = ()) -> Iterator[str]:
    """``name==version`` of every package in a uv.lock that comes from a registry, each version of it."""
    for package in tomllib.loads(lock)["package"]:
        if "registry" in package["source"] and (not only or package["name"] in only):
            yield f"{package['name']}=={package['version']}"


def audited(requirements: str) -> Ran:
    """pip-audit over pinned requirements: nothing is resolved or installed, only the advisories are asked for. It takes one
    version of a package at a time."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(requirements, encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(SOCKET_S)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603  our own
        except subprocess.TimeoutExpired:
            return Ran(1, "", f"Timeout: no answer in {TIMEOUT_S} s")
    return Ran(done.returncode, done.stdout, done.stderr)


def judge(ran: Ran, accepted: Collection[str] = ACCEPTED) -> Verdict:
    """What pip-audit's answer means."""
    try:
        found: list[dict[str, Any]] = json.loads(ran.out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (ran.err.strip().splitlines() or ["nothing was said"])[-1]
        if any(word in ran.err for word in AWAY):
            return Verdict(ok=True, says="not looked up: the advisory service does not answer. Run it again with a network.")
        return Verdict(ok=False, says=f"pip-audit does not work here (exit code {ran.code}): {last[:300]}")
    bad = [
        f"{each['name']} {each['version']}: {', '.join([v['id'], *v.get('aliases', ())])}, "
        f"fixed in {', '.join(v.get('fix_versions', ())) or 'no version'}"
        for each in found
        for v in each.get("vulns", ())
        if not {v["id"], *v.get("aliases", ())} & set(accepted)
    ]
    if bad:
        return Verdict(ok=False, says="known vulnerabilities in what uv.lock names:\n  " + "\n  ".join(bad))
    skipped = [each["name"] for each in found if "skip_reason" in each]
    looked = len(found) - len(skipped)
    if not found:
        return Verdict(ok=False, says="pip-audit looked at nothing")
    if skipped:
        names = ", ".join(skipped[:SHOWN]) + (", ..." if len(skipped) > SHOWN else "")
        return Verdict(
            ok=True, says=f"{looked} packages without known vulnerabilities; not looked up: {len(skipped)} ({names})"
        )
    return Verdict(ok=True, says=f"{looked} packages without known vulnerabilities")


def rounds(wanted: list[str]) -> list[list[str]]:
    """The pins, so that no list names a package twice."""
    lists: list[dict[str, str]] = []
    for pin in wanted:
        name = pin.partition("==")[0]
        free = next((each for each in lists if name not in each), None)
        if free is None:
            lists.append(free := {})
        free[name] = pin
    return [list(each.values()) for each in lists]


def main(argv: list[str], audit: Callable[[str], Ran] = audited) -> int:
    """Audit, and say it; the exit code."""
    parser = argparse.ArgumentParser(prog="tools/audit.py", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    wanted = list(pins(LOCK.read_text(encoding="utf-8"), parser.parse_args(argv).only))
    verdicts = [judge(audit("\n".join(each) + "\n")) for each in rounds(wanted)]
    for verdict in verdicts or [Verdict(ok=False, says="there is nothing to audit")]:
        print(f"audit: {verdict.says}", file=sys.stdout if verdict.ok else sys.stderr)
    return 0 if verdicts and all(verdict.ok for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
