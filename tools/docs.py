# ruff: noqa: INP001  a script beside the package, not a package
"""Write docs/reference from the code that it describes; ``--check`` only says what would change (exit code 1).

Usage: python tools/docs.py [--check]
"""

import difflib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from msgspec.structs import fields

from payonce.cli.reference import render as cli_page
from payonce.config import PROVIDER_KEYS, SANDBOX_TERMS, SETTINGS, Setting
from payonce.core.errors import DECLINES, PROBLEMS, REASONS
from payonce.core.payment import FINAL
from payonce.core.states import TRANSITIONS
from payonce.sandbox.faults import TOKENS, Plan, Profile

REFERENCE: Final = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE: Final = "This page is made by `make docs` from `{}`; do not edit it."

PROVIDER_KEYS_SAY: Final = {
    "adapter": "which adapter it uses; default: the account's name without a trailing `_mock`",
    "mode": "`test` or `live`; default: `server.mode`",
    "base_url": "where its API is; empty or `sandbox`: the simulated vendor (refused in live mode)",
    "credential_id": "a name for the credentials, kept with each attempt; default: made from their references",
    "timeout_ms": "how long one call may take",
    "horizon_s": "after this an unresolved attempt is IN_DOUBT; test mode only",
    "watch_s": "how long a final payment's tries are still read; test mode only",
    "settle_s": "how long a payment may look for a provider that takes it; test mode only",
}

FAULTS_SAY: Final = {
    "latency_ms": ("0 to 60000", "milliseconds before a request is looked at"),
    "error_rate": ("0 to 1", "the fraction of requests answered 500 before anything is booked"),
    "outage": ("`true`, `false`", "connections are dropped before anything is booked"),
}


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *cells)]


def states_page() -> str:
    """The transition table, drawn and listed."""
    edges: dict[tuple[str, str], list[str]] = {}
    for t in TRANSITIONS:
        edges.setdefault((t.before or "[*]", t.after), []).append(t.event)
    drawn = [f"    {before} --> {after}: {', '.join(dict.fromkeys(events))}" for (before, after), events in edges.items()]
    final = ", ".join(f"`{name}`" for name in sorted(FINAL))
    return "\n".join(
        [
            "# Payment states",
            "",
            MADE.format("core/states.py"),
            "",
            f"Final: {final}. `IN_DOUBT` is not final: it is read daily until there is proof or an operator's decision.",
            "A change of status that is not listed here is refused before it is written. Each arrow names its event.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *drawn,
            "```",
            "",
            *table(("from", "event", "to", "when"), ((t.before or "(new)", t.event, t.after, t.when) for t in TRANSITIONS)),
            "",
        ]
    )


def settings_page() -> str:
    """Every setting with its names, default, bounds and meaning."""
    accounts = ((f"`{key}`", PROVIDER_KEYS_SAY[key]) for key in PROVIDER_KEYS)
    sandbox = ", ".join(f"`{name}` {value}" for name, value in SANDBOX_TERMS.items())
    return "\n".join(
        [
            "# Settings",
            "",
            MADE.format("config.py"),
            "",
            "Flags win over the environment, the environment over `payonce.toml` (or the file that `PAYONCE_CONFIG` names),",
            "the file over the default. Unknown names are errors. `payonce config show` prints each value and its origin.",
            "The file starts with `version = 1`; `server.port` stands in it as `port` under `[server]`.",
            "",
            *table(
                ("setting", "environment", "default", "values", "meaning"),
                (
                    (
                        f"`{s.key}`",
                        ", ".join(f"`{e}`" for e in s.env),
                        f"`{s.default}`" if s.default != "" else "",
                        _values(s),
                        s.says,
                    )
                    for s in SETTINGS
                ),
            ),
            "",
            "## `[providers.NAME]`: provider accounts",
            "",
            "Every other key is a credential, written as a reference: `env:NAME` or `file:PATH`, never the secret itself.",
            "Variables named `PAYONCE_SECRET_*` are free for that.",
            "",
            *table(("key", "meaning"), accounts),
            "",
            "Without any account, test mode has one: `mock`, served by the sandbox in the same process.",
            f"Sandbox accounts forget soon: {sandbox}.",
            "",
        ]
    )


def _values(s: Setting) -> str:
    if s.choices:
        return ", ".join(f"`{c}`" for c in s.choices)
    return f"{s.low} to {s.high}" if isinstance(s.default, int) else "text"


def errors_page() -> str:
    """Every problem, decline and reason code."""
    problems = ((f"`{code}`", str(p.status), p.title, p.money, p.next) for code, p in PROBLEMS.items())
    return "\n".join(
        [
            "# Codes",
            "",
            MADE.format("core/errors.py"),
            "",
            "`payonce explain CODE` says the same on the command line. Codes are stable; texts may improve.",
            "",
            "## Problems (HTTP, `application/problem+json`)",
            "",
            *table(("code", "status", "title", "the money", "what to do"), problems),
            "",
            "## Declines (`lastError`)",
            "",
            *table(("code", "meaning"), ((f"`{code}`", says) for code, says in DECLINES.items())),
            "",
            "## Reasons (why a payment has its status, or needs attention)",
            "",
            *table(("code", "meaning"), ((f"`{code}`", says) for code, says in REASONS.items())),
            "",
        ]
    )


def sandbox_page() -> str:
    """What each token of the sandbox does."""
    rows = ((f"`{token}`", ", then ".join(_does(plan) for plan in plans)) for token, plans in TOKENS.items())
    return "\n".join(
        [
            "# Sandbox tokens",
            "",
            MADE.format("sandbox/faults.py"),
            "",
            "`paymentMethod` chooses what the simulated vendor does. The tokens are refused in live mode.",
            "`metadata.forceFail: true` forces a decline with any of them. An unknown token is declined as `invalid_card`.",
            "",
            *table(("token", "what the vendor does at each send"), rows),
            "",
            "## Faults of the whole vendor",
            "",
            "`PUT /sandbox/faults` says what is wrong with every vendor from now on, until it is put again; it is kept in",
            "the ledger. `GET` shows it. What is left out is healthy, so `{}` ends all faults. There is no authentication.",
            "",
            *table(("field", "values", "what happens"), ((f"`{f.encode_name}`", *FAULTS_SAY[f.name]) for f in fields(Profile))),
            "",
            "```sh",
            "curl -X PUT http://127.0.0.1:8080/sandbox/faults -H 'Content-Type: application/json' -d '{\"errorRate\": 0.3}'",
            "```",
            "",
            "## Times",
            "",
            f"The short times of a sandbox account (`horizon_s` {SANDBOX_TERMS['horizon_s']} and so on, see",
            "[settings](settings.md)) hold for the sandbox in the same process only. An account with a `base_url` has the",
            "adapter's own: with `payonce sandbox` as its own server an unresolved attempt is IN_DOUBT after 24 h, unless the",
            "account sets `horizon_s`.",
            "",
        ]
    )


def _does(plan: Plan) -> str:
    does = {
        "charge": "charges" + (f" {plan.extra_minor} minor units too much" if plan.extra_minor else ""),
        "decline": f"declines (`{plan.code}`)" + (f", and charges {plan.late_s:g} s later after all" if plan.late_s else ""),
        "process": "says it is processing, for ever",
        "nothing": "does nothing",
    }[plan.does]
    answers = {
        "plainly": "",
        "never": " and never answers",
        "error": " and answers 500",
        "garbage": " and answers garbage",
        "limited": " and answers 429",
    }[plan.answers]
    slow = f" after {plan.before_s:g} s" if plan.before_s and plan.answers == "plainly" else ""
    return does + slow + answers


PAGES: Final[dict[str, Callable[[], str]]] = {
    "states.md": states_page,
    "settings.md": settings_page,
    "errors.md": errors_page,
    "sandbox.md": sandbox_page,
    "cli.md": cli_page,
}


def drift(folder: Path = REFERENCE) -> list[str]:
    """Differences between the pages in a folder and what the code says, as diff lines."""
    lines: list[str] = []
    for name, page in PAGES.items():
        path = folder / name
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        said = page()
        lines += difflib.unified_diff(there.splitlines(), said.splitlines(), f"docs/reference/{name}", "the code", lineterm="")
    return lines


def main(args: list[str]) -> int:
    """Write the pages, or with --check compare them."""
    if args == ["--check"]:
        lines = drift()
        print(
            "\n".join([*lines, "docs/reference is out of date: run `make docs`"] if lines else ["docs/reference is up to date"])
        )
        return 1 if lines else 0
    if args:
        print(__doc__, file=sys.stderr)
        return 2
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
