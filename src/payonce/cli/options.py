"""What commands have in common: where the store is, how to print, and how settings are loaded."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from payonce.config import Settings, load


class Exit(Exception):
    """Ends the command with this code. The message goes to standard error and says what happened, what state the
    money is in, and what to do next."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


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
