"""`make audit`: a known vulnerability ends the build, a network that is not there does not, and both are said."""

import json
import re

import pytest
from tools.audit import ACCEPTED, LOCK, Ran, judge, main, pins, rounds

GOOD = {"name": "msgspec", "version": "0.22.0", "vulns": []}
BAD = {"name": "h11", "version": "0.1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["0.2"]}]}
SKIPPED = {"name": "apsw", "skip_reason": "Dependency not found on PyPI and could not be audited: apsw (3.54.1.0)"}
NO_NETWORK = (
    "Traceback ...\nrequests.exceptions.ConnectionError: HTTPSConnectionPool(host='pypi.org', port=443): Max retries exceeded"
)


def ran(*dependencies: object, code: int = 0) -> Ran:
    return Ran(code, json.dumps({"dependencies": dependencies, "fixes": []}), "")


def test_a_vulnerability_ends_the_build() -> None:
    """It is named with its advisory and the version that is good; one that is accepted by either name is not."""
    verdict = judge(ran(GOOD, BAD, code=1), {})
    assert not verdict.ok
    assert all(word in verdict.says for word in ("h11 0.1", "PYSEC-1", "CVE-1", "0.2"))
    assert judge(ran(GOOD, BAD, code=1), {"CVE-1": "why"}).ok


def test_no_network_is_said_and_passes() -> None:
    """A service that does not answer is no vulnerability, and no all-clear either."""
    verdict = judge(Ran(1, "", NO_NETWORK))
    assert verdict.ok
    assert "not looked up" in verdict.says


def test_a_mirror_without_advisories_is_no_all_clear() -> None:
    """pip-audit says that nothing is known of what it could not look up: here the number is said."""
    verdict = judge(ran(GOOD, SKIPPED, SKIPPED))
    assert verdict.ok
    assert "1 packages without known vulnerabilities; not looked up: 2 (apsw" in verdict.says


@pytest.mark.parametrize(
    "broken", [Ran(1, "", "No module named pip_audit"), Ran(2, "{}", "usage:"), Ran(0, '{"dependencies":[]}', "")]
)
def test_a_tool_that_does_not_work_ends_the_build(broken: Ran) -> None:
    """A check that cannot fail is none."""
    assert not judge(broken).ok


def test_everything_that_is_locked_is_asked_for() -> None:
    """Each package of uv.lock from a registry, with its version, each version of it in a list of its own."""
    lock = LOCK.read_text(encoding="utf-8")
    wanted = list(pins(lock))
    assert len(wanted) == len(re.findall(r"^source = \{ registry = ", lock, re.MULTILINE)) > 40
    assert not any(pin.startswith("payonce==") for pin in wanted)
    lists = rounds(["a==1", "a==2", "b==1"])
    assert lists == [["a==1", "b==1"], ["a==2"]]
    assert list(pins(lock, ["msgspec"])) == [pin for pin in wanted if pin.startswith("msgspec==")]


def test_the_exit_code_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    """0 and a line on standard output, or 1 and a line on standard error."""
    assert main(["--only", "msgspec"], lambda _: ran(GOOD)) == 0
    assert "audit: 1 packages" in capsys.readouterr().out
    assert main(["--only", "msgspec"], lambda _: ran(BAD, code=1)) == 1
    assert "PYSEC-1" in capsys.readouterr().err
    assert main(["--only", "no-such-package"], lambda _: ran(GOOD)) == 1


def test_what_is_accepted_has_a_reason() -> None:
    """No advisory is waved through without a sentence."""
    assert all(len(why.split()) > 3 for why in ACCEPTED.values())
