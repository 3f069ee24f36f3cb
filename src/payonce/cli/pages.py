"""How help pages are laid out: plain text, wrapped with its indentation, and defaults only where they say something."""

import textwrap
from typing import TYPE_CHECKING

from cyclopts.help import PlainFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry
    from rich.console import Console

SILENT = ('""', "''", "", "False")  # a default of nothing


class Pages(PlainFormatter):
    """cyclopts' plain pages; an option's text hangs under its name."""

    def _format_parameter_entry(self, options: tuple[str, ...], desc: str, console: "Console", entry: "HelpEntry") -> None:
        said = [" ".join(desc.split())] if desc else []  # it comes wrapped already
        if entry.choices:
            said.append(f"[choices: {', '.join(entry.choices)}]")
        if entry.default is not None and str(entry.default) not in SILENT:
            said.append(f"[default: {entry.default}]")
        if entry.required:
            said.append("[required]")
        line = ": ".join(part for part in (", ".join(options), " ".join(said)) if part)
        wrapped = textwrap.wrap(
            line,
            width=max(40, console.width),
            initial_indent=self.indent,
            subsequent_indent=self.indent * 3,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self._print_plain(console, "\n".join(wrapped))
