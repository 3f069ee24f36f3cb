"""tomlfile.py: the line of every key, whatever way TOML offers to write it."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.errors import ConfigError
from payonce.tomlfile import SHIPPED, TomlFile, lines_of, read, shipped

TEXT = '''version = 1  # a comment

[[rules]]
use = [
  "a",  # [[rules]] is no header here
  "b",
]
note = """
[[rules]]
use = 1
"""
[rules.when]
currency = "INR"

[[ "rules" ]]
when.amount_from = 1
when.metadata = { plan = ["x"], vip = true }
[providers.mock]
[providers."two.b"]
key = 'x'
[[a.b]]
[[a.b]]
[a.b.c]
k = [{ x = 1 }, { y = 2 }]
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("version",), 1),
        (("rules", 0), 3),
        (("rules", 0, "use"), 4),
        (("rules", 0, "use", 1), 4),
        (("rules", 0, "note"), 8),
        (("rules", 0, "when"), 12),
        (("rules", 0, "when", "currency"), 13),
        (("rules", 1), 15),
        (("rules", 1, "when"), 16),
        (("rules", 1, "when", "amount_from"), 16),
        (("rules", 1, "when", "metadata", "vip"), 17),
        (("providers",), 18),
        (("providers", "two.b", "key"), 20),
        (("a", "b", 0), 21),
        (("a", "b", 1, "c", "k", 1, "y"), 24),
    ],
)
def test_the_line_of_a_key(key: tuple[str | int, ...], line: int) -> None:
    """Headers, dotted keys, inline tables and lists are found where they are written, multi-line strings are no headers."""
    assert lines_of(TEXT)[key] == line


def test_a_key_that_is_not_written_is_placed_at_what_is_around_it() -> None:
    """A missing key stands at its table; what is nowhere stands in the file."""
    file = TomlFile("f.toml", tomllib.loads(TEXT), TEXT)
    assert file.place("rules", 1, "use") == "f.toml, line 15"
    assert file.place("rules", 1, "when", "currency") == "f.toml, line 16"
    assert file.place("nowhere") == "f.toml"


PIECES = ["# note\n", "\n", 'k{n} = """\n[[rules]]\n"""\n', "k{n} = [\n1,\n]\n", "k{n} = {{ x = 1 }}\n", "k{n} = 1\n"]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=4), max_size=4))
def test_every_header_is_found(tables: list[list[str]]) -> None:
    """However the tables are filled, each [[rules]] and its last key is found on its own line."""
    text, wanted = "", []
    for pieces in tables:
        wanted.append(text.count("\n") + 1)
        text += "[[rules]]\n" + "".join(piece.format(n=n) for n, piece in enumerate(pieces))
        wanted.append(text.count("\n") + 1)
        text += "last = 1\n"
    lines = lines_of(text)
    found = [lines[key] for n in range(len(tables)) for key in (("rules", n), ("rules", n, "last"))]
    assert found == wanted


def test_every_key_of_the_shipped_file_has_its_line() -> None:
    """The shipped file is TOML of version 1, known as the shipped defaults."""
    file = shipped()
    assert (file.name, file.table["version"]) == (SHIPPED, 1)
    rows = file.text.splitlines()
    for key, line in lines_of(file.text).items():
        named = [part for part in key if isinstance(part, str)]
        assert named[-1] in rows[line - 1], key


def test_a_file_that_is_no_toml_names_the_line(tmp_path: Path) -> None:
    """A syntax error is refused with its line."""
    path = tmp_path / "payonce.toml"
    path.write_text("version = 1\n[[rules]\n")
    with pytest.raises(ConfigError, match=r"payonce\.toml is not valid TOML: .*line 2"):
        read(path)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"# x\nversion = 2\n", ", line 2: version 2 is not known; this payonce reads version 1."),
        (b'version = "1"\n', ', line 1: version "1" is not known; this payonce reads version 1.'),
        (b"\xef\xbb\xbfversion = 1\n", ", line 1: the file begins with a byte order mark (BOM). Save it as UTF-8 without BOM."),
        (b"version = 1\r\n# caf\xe9\r\n", ", line 2: there are bytes that are not UTF-8 text. Save the file as UTF-8."),
    ],
)
def test_another_version_or_encoding_is_told_in_plain_words(tmp_path: Path, raw: bytes, said: str) -> None:
    """The line, what is there, and what to do."""
    path = tmp_path / "payonce.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as refused:
        read(path)
    assert str(refused.value) == f"{path}{said} Nothing was started."


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    """CR LF counts as one end of a line."""
    path = tmp_path / "payonce.toml"
    path.write_bytes(b"version = 1\r\n[server]\r\nport = 1\r\n")
    assert read(path).place("server", "port") == f"{path}, line 3"
