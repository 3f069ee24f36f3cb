"""The core decides and does nothing else: no clock, no randomness, no I/O, no float near money."""

import ast
import sys
from collections.abc import Iterator

import pytest

from .source import File, imports, parsed, python_files

pytestmark = pytest.mark.xdist_group("house")  # the trees are made once

# What the core must not import, with what to do instead. Everything else of the standard library is checked against ALLOWED.
INSTEAD = {
    "time": "take `now_us` as an argument; the shell reads the Clock port",
    "datetime": "take `now_us` as an argument and count microseconds",
    "random": "derive it from a hash of (payment id, version), as core/retry.py does",
    "secrets": "take the bits as an argument; the shell reads the Entropy port",
    "os": "take the value as an argument; the shell reads the environment",
    "io": "return bytes or text; the shell writes it",
    "pathlib": "return bytes or text; the shell knows files",
    "socket": "return a request; transport/ sends it",
    "asyncio": "return what is due; the engine awaits it",
    "threading": "nothing: a pure function needs no lock",
    "logging": "return the fact; the shell logs it with telemetry.py",
    "structlog": "return the fact; the shell logs it with telemetry.py",
    "sqlite3": "return a Change; a store writes it",
    "decimal": "use integers in minor units and core/money.py",
    "fractions": "use integers in minor units and core/money.py",
}
ALLOWED = {"collections", "enum", "functools", "hashlib", "itertools", "math", "msgspec", "re", "typing", "uuid"}
CALLS_INSTEAD = {
    "uuid.uuid1": "ids.step_key: a UUID derived from what it names",
    "uuid.uuid4": "ids.step_key: a UUID derived from what it names",
    "open": "take the bytes as an argument",
    "print": "return the text",
    "input": "take the value as an argument",
    "hash": "hashlib: the built-in hash differs from run to run",
}
# Files in which every number is or may become an amount, a time or a count of them.
MONEY = ("money.py", "payment.py", "outcome.py", "events.py", "operations.py", "verdict.py", "apply.py", "plan.py", "ids.py")


def impurities(file: File) -> Iterator[str]:
    """What a core file does that it must not, each with the replacement."""
    for line, name in imports(file.tree):
        root = name.split(".")[0]
        if root and root not in ALLOWED:
            instead = INSTEAD.get(root, "keep to the standard library's pure parts and msgspec, or do it outside the core")
            yield f"{file.name}:{line}: imports {root}; instead: {instead}"
        if name.startswith(".."):
            yield f"{file.name}:{line}: imports from above the core ({name}); instead: move what it needs into the core"
    for node in ast.walk(file.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global):
            yield f"{file.name}:{node.lineno}: {type(node).__name__}; instead: a plain function of its arguments"
        if isinstance(node, ast.Call) and (instead := CALLS_INSTEAD.get(ast.unparse(node.func))):
            yield f"{file.name}:{node.lineno}: calls {ast.unparse(node.func)}; instead: {instead}"


def floats(file: File) -> Iterator[str]:
    """Float literals, ``float(...)`` and true divisions."""
    for node in ast.walk(file.tree):
        what = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            what = f"the literal {node.value}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            what = "a true division"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("float", "round"):
            what = ast.unparse(node.func)
        if what:
            yield f"{file.name}:{node.lineno}: {what}; instead: integers in minor units or microseconds, and //"


def test_core_is_pure() -> None:
    """No core file imports or calls a clock, a random source or I/O; the failure names the replacement."""
    assert [each for file in python_files("src/payonce/core") for each in impurities(file)] == []


def test_no_float_near_money() -> None:
    """Where amounts are handled, in the core and by providers, there is no float literal, float() or true division (R10)."""
    money = [f for f in python_files("src/payonce/core") if f.name.rsplit("/", 1)[1] in MONEY]
    assert len(money) == len(MONEY)
    assert [each for file in [*money, *python_files("src/payonce/providers")] for each in floats(file)] == []


@pytest.mark.parametrize(
    ("code", "replacement"),
    [
        ("import time", "Clock port"),
        ("from datetime import datetime", "now_us"),
        ("import random", "hash of (payment id, version)"),
        ("def f():\n    import secrets", "Entropy port"),
        ("import apsw", "outside the core"),
        ("from ..ports import Store", "into the core"),
        ("import uuid\nkey = uuid.uuid4()", "ids.step_key"),
        ("open('x')", "bytes"),
        ("async def f(): ...", "plain function"),
    ],
)
def test_impurity_is_seen(code: str, replacement: str) -> None:
    """The purity check sees each kind of impurity and names what to do instead."""
    found = list(impurities(parsed("core/x.py", code)))
    assert len(found) == 1
    assert replacement in found[0]


@pytest.mark.parametrize("code", ["a / b", "a /= 2", "float(a)", "x = 0.5", "round(a)"])
def test_float_is_seen(code: str) -> None:
    """The float check sees literals, conversions and true divisions."""
    assert len(list(floats(parsed("core/x.py", code)))) == 1


def test_what_is_allowed_exists() -> None:
    """The allow-list names real modules only, so that a typing error in it cannot hide anything."""
    assert set() == ALLOWED - set(sys.stdlib_module_names) - {"msgspec"}
