"""``python -m payonce.cli.reference``: docs/reference/cli.md, made from the tables and the commands themselves."""

import sys

from . import COMMANDS, EXIT_CODES, help_text

INTRO = """# The command line

This page is made by `make docs` from the commands themselves; do not edit it.
"""


def render() -> str:
    """The whole page in Markdown."""
    from rich.console import Console

    from .app import build

    parts = [INTRO, "```", help_text(), "```", ""]
    app = build()
    for names in (line for command in COMMANDS for line in command.lines()):
        # wrapped to one width, whatever terminal this machine has
        console = Console(width=100, no_color=True, force_terminal=False, highlight=False)
        with console.capture() as captured:
            app.help_print(names, console=console)
        shown = "\n".join(line.rstrip() for line in captured.get().strip().splitlines())
        parts += [f"## payonce {' '.join(names)}", "", "```", shown, "```", ""]
    parts += ["## Exit codes", "", "| code | meaning |", "|---|---|"]
    parts += [f"| {code} | {says} |" for code, says in EXIT_CODES.items()]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
