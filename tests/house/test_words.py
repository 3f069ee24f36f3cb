"""What is written beside the code: docstrings, the error tree, and nothing that belongs to one machine."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from payonce.core import errors

from .source import ROOT, File, Function, functions, parsed, python_files, tracked_files

pytestmark = pytest.mark.xdist_group("house")  # the trees are made once

EXPLAINED = ("src/payonce/ports.py", "src/payonce/adapter.py", "src/payonce/core")
# Say all in name and signature; a docstring would repeat it. Anything longer or with an error to raise is not here.
OBVIOUS_LINES = 8

ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.PayonceError)}
HOSTS = {
    "api.razorpay.com": "the vendor, in examples of an account",
    "api.cashfree.com": "the same",
    "sandbox.cashfree.com": "the same",
    "api.stripe.com": "the same",
    "test.payu.in": "the same",
    "secure.payu.in": "the same",
    "info.payu.in": "the same",
    "127.0.0.1": "this machine",
    "localhost": "this machine",
    "sandbox.payonce.invalid": "can never be a real host",
    "www.standardwebhooks.com": "the specification of our outbound webhooks",
    "pypi.org": "uv.lock, and where Python packages are",
    "files.pythonhosted.org": "uv.lock",
    "www.apache.org": "LICENSE",
    "keepachangelog.com": "CHANGELOG.md",
    "semver.org": "CHANGELOG.md",
    "www.w3.org": "the name of SVG's vocabulary: nothing is fetched there",
    "opentelemetry.io": "the name of a schema: nothing is sent there",
}
RESERVED = (".example", ".invalid", ".test", "example.com", "example.org")
IN_TESTS_ANY = re.compile(r"^tests/")  # tests aim at made-up hosts on purpose; they run on loopback only
MACHINE = tuple("/" + name + "/" for name in ("work", "root", "home", "Users"))
BINARY = (".png", ".ico", ".woff2", ".db", ".zip")


def undocumented(file: File) -> Iterator[str]:
    """Public modules, classes and functions without a docstring; short plain functions may go without."""
    if not ast.get_docstring(file.tree) and file.text.strip():
        yield f"{file.name}: no module docstring"
    for node in file.tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_") and not ast.get_docstring(node):
            short = isinstance(node, Function) and (node.end_lineno or 0) - node.lineno + 1 <= OBVIOUS_LINES
            table = isinstance(node, ast.ClassDef) and all(isinstance(each, ast.AnnAssign) for each in node.body)
            if not short and not table:
                yield f"{file.name}:{node.lineno}: {node.name} has no docstring"


def silent_tests(file: File) -> Iterator[str]:
    for node in functions(file.tree):
        if node.name.startswith("test_") and not ast.get_docstring(node):
            yield f"{file.name}:{node.lineno}: {node.name} does not say the behaviour in a docstring"


def foreign(name: str, text: str) -> Iterator[str]:
    """Paths of one machine, and hosts that a reader's machine should not be sent to."""
    for path in MACHINE:
        if path in text and not name.startswith("tests/house/"):
            yield f"{name}: {path}"
    if IN_TESTS_ANY.match(name):
        return
    for host in re.findall(r"https?://(?:\[[^\]]*\]|([A-Za-z0-9.-]+))", text):
        if host and host not in HOSTS and not host.endswith(RESERVED) and "." in host:
            yield f"{name}: {host}"


def test_the_doors_explain_themselves() -> None:
    """Everything public in ports, adapter and core has a docstring, unless it is a few plain lines."""
    assert [each for under in EXPLAINED for f in python_files(under) for each in undocumented(f)] == []


def test_every_test_says_its_behaviour() -> None:
    """Every test function has a docstring, the public contracts included."""
    assert [each for f in (*python_files("tests"), *python_files("src/payonce/testing")) for each in silent_tests(f)] == []


def test_the_error_tree_is_whole() -> None:
    """The tree in the docstring of core/errors.py names every error class, and no other."""
    drawn = set(re.findall(r"^(?:[├└│─ ]*)([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)) - {"One"}
    assert drawn == ERRORS


def test_nothing_is_raised_past_the_error_tree() -> None:
    """Error classes outside the tree are private, or end a command line, or belong to the simulated vendors."""
    aside = ("src/payonce/cli/", "src/payonce/sandbox/", "src/payonce/client/")  # the client has a tree of its own
    for file in python_files("src"):
        for node in ast.walk(file.tree):
            error = isinstance(node, ast.ClassDef) and any(ast.unparse(b).endswith(("Error", "Exception")) for b in node.bases)
            if error and not node.name.startswith("_") and not file.name.startswith(aside):
                assert node.name in ERRORS, f"{file.name}:{node.lineno}: {node.name}"


def test_no_machine_and_no_foreign_host() -> None:
    """No tracked file names a path of somebody's machine or a host outside the list above."""
    found = []
    for path in tracked_files():
        if path.suffix not in BINARY:
            found += list(foreign(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
    assert found == []


def test_the_lock_names_the_public_registry_only() -> None:
    """uv.lock can be used on any machine."""
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text(encoding="utf-8")))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


@pytest.mark.parametrize(
    "text", ["see " + MACHINE[0] + "main", "https://cdn.unknown.net/x.js", "http://10.0.0.1/", "pip -i https://mirror.local/"]
)
def test_a_foreign_word_is_seen(text: str) -> None:
    """The check sees machine paths and hosts, and lets loopback and reserved names pass."""
    assert list(foreign("docs/x.md", text)) != []
    assert list(foreign("docs/x.md", "http://127.0.0.1:8080/ https://shop.example/hook https://pypi.org/p")) == []


def test_a_missing_docstring_is_seen() -> None:
    """A public class or a long public function without docstring is found, a private one is not."""
    body = "    x = 1\n" * OBVIOUS_LINES
    assert (
        len(list(undocumented(parsed("x.py", f'"""M."""\nclass A:\n    def f(self): ...\ndef g():\n{body}def _h():\n{body}'))))
        == 2
    )
    assert len(list(silent_tests(parsed("x.py", "class T:\n    def test_x(self): ...")))) == 1


def test_this_file_is_tracked() -> None:
    """The list of tracked files is not empty by mistake."""
    assert Path(__file__).resolve() in tracked_files()
