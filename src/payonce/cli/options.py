"""What commands have in common: where the store is, how to print, and how settings are loaded."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from cyclopts import Parameter, Token, convert

from payonce.config import Settings, load


class Exit(Exception):
    """Ends the command with this code. The message goes to standard error and says what happened, what state the
    money is in, and what to do next."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


DIGITS_MAX: Final = 18  # Python refuses to convert very long numbers
_NUMBERS: Final = {
    int: (re.compile(r"[0-9]+"), "a whole number in plain digits, such as 1050"),
    float: (re.compile(r"[0-9]+(\.[0-9]+)?"), "a number in plain digits, such as 30 or 0.5"),
}


def strict(kind: Any, tokens: Sequence[Token]) -> Any:
    """The value of an option, as cyclopts reads it, but numbers are ASCII digits only: its own reading takes 10.5, 0x10,
    1_000 and other scripts' digits for whole numbers. Raises ValueError, which becomes a usage error."""
    wanted = next((k for k in (kind, *get_args(kind)) if k in (int, float)), None)
    if wanted is None:
        return convert(kind, tokens)
    form, says = _NUMBERS[wanted]
    text = tokens[0].value
    if not form.fullmatch(text) or len(text) > DIGITS_MAX:
        raise ValueError(f"{text[:40]!r} is not {says}.")
    return wanted(text)


STRICT: Final = Parameter(negative=(), converter=strict)  # of every option of every command


def closest(word: str, known: list[str]) -> str:
    """`` Did you mean X?`` or nothing."""
    close = difflib.get_close_matches(word, known, n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the settings and the store are."""

    data_dir: Annotated[str | None, Parameter(help="Folder of the payments file (PAYONCE_DATA_DIR).")] = None
    config: Annotated[Path | None, Parameter(help="Configuration file (PAYONCE_CONFIG; default payonce.toml).")] = None

    def settings(self, flags: Mapping[str, str | int | None] | None = None) -> Settings:
        """Flags over environment over file. Raises ConfigError."""
        return load({"store.data_dir": self.data_dir, **(flags or {})}, os.environ, self.config)


def start_logging(settings: Settings, *, least: str | None = None) -> None:
    """Log lines to standard error as the settings say. ``least`` is the level of a command that a person waits for:
    it counts unless the settings name a level."""
    from payonce.telemetry import configure

    form = settings.text("server.log_format")
    level = settings.values["server.log_level"]
    configure(
        level=least if least and level.origin == "default" else str(level.value),
        json=None if form == "auto" else form == "json",
    )


HERE = Where()
Json = Annotated[bool, Parameter(name="--json", help="Print JSON.", negative="")]
