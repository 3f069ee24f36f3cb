"""A payonce.toml as it was written: its tables, the line on which each key stands, and what was probably meant.

tomllib tells no lines. But TOML is made of statements that end with their line, so the file is decoded a second time,
statement by statement, when an error needs a line.
"""

import codecs
import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from .core.errors import ConfigError

FILE_NAME: Final = "payonce.toml"
SHIPPED: Final = "shipped defaults"  # the name of the file in this package, wherever a value's origin is shown

Key = tuple[str | int, ...]  # ("rules", 1, "use"): the key `use` of the second [[rules]]


class TomlFile(Struct, frozen=True):
    """``name`` is what people know it by; ``table`` is its decoded content."""

    name: str
    table: dict[str, Any] = {}
    text: str = ""

    def place(self, *key: str | int) -> str:
        """``payonce.toml, line 7``: where a key, or the nearest thing around it, is written."""
        lines = lines_of(self.text)
        found = next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), 0)
        return f"{self.name}, line {found}" if found else self.name


def read(path: Path | None) -> TomlFile:
    """The file, or an empty one without a path. Raises ConfigError: not readable, not TOML (with line), other version."""
    if path is None:
        return TomlFile("no file")
    try:
        text = _text(path.read_bytes(), path)
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Make it readable for payonce.") from error
    except ValueError as error:  # TOML, or a number too long to convert
        raise ConfigError(f"{path} is not valid TOML: {error}. Nothing was started.") from error
    file = TomlFile(str(path), table, text)
    if "version" not in table:
        raise ConfigError(f"{path}: the first line must be `version = 1`.")
    if table["version"] != 1:
        written = f'"{table["version"]}"' if isinstance(table["version"], str) else table["version"]
        raise ConfigError(
            f"{file.place('version')}: version {written} is not known; this payonce reads version 1. Nothing was started."
        )
    return file


def _text(raw: bytes, path: Path) -> str:
    """The file as text, its lines ended by \\n. Raises ConfigError for what some editors write instead of plain UTF-8."""
    if raw.startswith(codecs.BOM_UTF8):
        raise ConfigError(
            f"{path}, line 1: the file begins with a byte order mark (BOM). Save it as UTF-8 without BOM. Nothing was started."
        )
    try:
        return raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: there are bytes that are not UTF-8 text. Save the file as UTF-8. Nothing was started."
        ) from error


def shipped() -> TomlFile:
    """The payonce.toml of this package: the accounts and rules of test mode where the user's file has none."""
    text = resources.files(__package__).joinpath(FILE_NAME).read_text(encoding="utf-8")
    return TomlFile(SHIPPED, tomllib.loads(text), text)


@lru_cache(maxsize=2)  # the user's file and the shipped one
def lines_of(text: str) -> Mapping[Key, int]:
    """The line on which each key of a valid TOML text is first written, counted from 1."""
    lines: dict[Key, int] = {}
    entries: dict[Key, int] = {}  # how many [[headers]] each array of tables has so far
    under: Key = ()
    for line, statement in _statements(text):
        decoded = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            under = _header(decoded, entries)
            keys: Iterable[Key] = (under,)
        else:
            keys = _keys(decoded, under)
        for key in keys:
            for end in range(1, len(key) + 1):
                lines.setdefault(key[:end], line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each header and each `key = value`: the fewest lines that are TOML by themselves."""
    rows = text.split("\n")
    begin = 0
    for end in range(1, len(rows) + 1):
        statement = "\n".join(rows[begin:end])
        try:
            empty = not tomllib.loads(statement)
        except ValueError:  # goes on in the next line
            continue
        if not empty:
            yield begin + 1, statement
        begin = end


def _header(table: Any, entries: dict[Key, int]) -> Key:
    """The key that `[a.b]` or `[[a.b]]` opens; the path through an array of tables goes by its last entry."""
    key: Key = ()
    while table:
        ((name, table),) = table.items()
        key = (*key, name)
        if isinstance(table, list):
            entries[key] = entries.get(key, 0) + 1
            table = None
        if key in entries:
            key = (*key, entries[key] - 1)
    return key


def _keys(value: Any, under: Key) -> Iterator[Key]:
    """The keys of all values below, inline tables and lists included."""
    each: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        each = value.items()
    elif isinstance(value, list):
        each = enumerate(value)
    for name, inner in each:
        yield (*under, name)
        yield from _keys(inner, (*under, name))


def suggest(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def unknown(word: str, known: Iterable[str]) -> str:
    """What is said of a name that is not known, with one mark at the end."""
    return ended(f"is not known{suggest(word, known)}")


def ended(text: str) -> str:
    return text if text.endswith("?") else f"{text}."
