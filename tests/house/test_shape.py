"""The shape of the house: small files and functions with names that say what they are, and a core that stays readable."""

import tomllib
from collections.abc import Iterator

import pytest

from .source import ROOT, SRC, File, code_lines, functions, parsed, python_files, table_lines

pytestmark = pytest.mark.xdist_group("house")  # the trees are made once

FUNCTION_LINES = 60
FILE_LINES = {"src": 400, "tests": 500}  # without table literals; interleaving tests draw long timelines
# file -> (lines, why it may be longer). Shrinks only.
LONGER: dict[str, tuple[int, str]] = {}
VAGUE = ("utils", "helpers", "common", "base", "manager", "misc", "shared")
# What a newcomer reads (docs/reading.md). Lowered when code goes, raised only when an operation is added.
CORE_CODE_LINES = 2_965
CORE = ("src/payonce/core", *(f"src/payonce/{name}.py" for name in ("ports", "dispatch", "intake", "engine")))
DEPENDENCIES = 12


def long_functions(file: File) -> Iterator[str]:
    for node in functions(file.tree):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines >= FUNCTION_LINES:
            yield f"{file.name}:{node.lineno}: {node.name} has {lines} lines; instead: fewer than {FUNCTION_LINES}"


def too_long(file: File) -> str:
    """What is wrong with the length of a file, or nothing. Tables do not count."""
    lines = len(file.text.splitlines()) - len(table_lines(file.tree))
    limit = LONGER.get(file.name, (FILE_LINES["tests" if file.name.startswith("tests/") else "src"], ""))[0]
    return f"{file.name}: {lines} lines without tables, the limit is {limit}" if lines >= limit else ""


def vague(name: str) -> bool:
    return any(part.lower().removesuffix(".py") in VAGUE for part in name.split("/"))


def test_functions_are_short() -> None:
    """Every function has fewer than 60 lines, tests included."""
    assert [each for f in (*python_files("src"), *python_files("tests")) for each in long_functions(f)] == []


def test_files_are_short() -> None:
    """Every file has fewer than 400 lines (tests 500), table literals not counted; exceptions are listed with a reason."""
    assert [each for f in (*python_files("src"), *python_files("tests")) if (each := too_long(f))] == []


def test_exceptions_are_still_needed() -> None:
    """A file that became short enough loses its exception."""
    for name in LONGER:
        (file,) = python_files(name)
        assert len(file.text.splitlines()) - len(table_lines(file.tree)) >= FILE_LINES["src"], f"drop {name} from LONGER"


def test_names_say_what_is_inside() -> None:
    """No file or folder is called utils, helpers, common, base, manager or the like."""
    assert [f.name for f in (*python_files("src"), *python_files("tests"), *python_files("tools")) if vague(f.name)] == []


def test_the_core_stays_readable() -> None:
    """core + ports + engine stay within the stated number of code lines."""
    counted = {f.name: code_lines(f) for under in CORE for f in python_files(under)}
    assert sum(counted.values()) <= CORE_CODE_LINES, counted


def test_few_dependencies() -> None:
    """The default install needs at most twelve direct dependencies, and each is named with a version in the architecture."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [each.split(">=")[0] for each in project["dependencies"]]
    assert len(names) <= DEPENDENCIES
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in names if f"| {name} " not in architecture] == []


def test_every_room_is_checked_for_its_arrows() -> None:
    """Every module and package directly below payonce stands in the layers that import-linter checks."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["id"] == "arrows")
    known = {name.strip(" ()") for layer in layers for name in layer.replace(":", "|").split("|")}
    rooms = {p.stem for p in SRC.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - {"__init__"}
    assert set() == rooms - known


def test_code_lines_count_what_has_to_be_understood() -> None:
    """Imports, docstrings, comments, blank lines and tables are not counted; everything else is."""
    head = '"""Doc."""\n\nimport re\n\n# why\nT = {\n    "a": 1,\n}\n\n\n'
    body = 'def f(x):\n    """Doc."""\n    # why\n    return (\n        x\n    )\n'
    assert code_lines(parsed("x.py", head + body)) == 4


@pytest.mark.parametrize(("lines", "found"), [(FUNCTION_LINES - 1, 0), (FUNCTION_LINES, 1)])
def test_a_long_function_is_seen(lines: int, found: int) -> None:
    """The limit of function length is exact."""
    code = "def f():\n" + "    x = 1\n" * (lines - 1)
    assert len(list(long_functions(parsed("x.py", code)))) == found


def test_a_long_file_is_seen_and_tables_do_not_count() -> None:
    """400 lines of code are too long, 400 lines of a table are not."""
    assert too_long(parsed("src/x.py", "x = 1\n" * 400)) != ""
    assert too_long(parsed("src/x.py", "T = (\n" + "    1,\n" * 400 + ")\n")) == ""


def test_a_vague_name_is_seen() -> None:
    """The name check looks at folders and files and not at parts of words."""
    assert vague("src/payonce/utils.py")
    assert vague("src/payonce/common/x.py")
    assert not vague("src/payonce/database.py")
