"""The command line. One file per noun; this one imports nothing heavy, so that ``payonce --help`` answers at once.

The tables below are the source of the help, of the commands that exist and of docs/reference/cli.md.
"""

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
REFUSED: Final = 5
UNAVAILABLE: Final = 6
INTERRUPTED: Final = 130

EXIT_CODES: Final[dict[int, str]] = {
    OK: "done",
    FAILURE: "it failed, or it found a problem",
    USAGE: "wrong usage or configuration; nothing was started",
    NOT_FOUND: "nothing is known under this id or code",
    REFUSED: "refused, in conflict, or declined",
    UNAVAILABLE: "store, server or provider not available, or not settled in time",
    INTERRUPTED: "stopped by Ctrl-C",
}


class Command(NamedTuple):
    """One command: its group, what it does in one line, where it lives (imported only when it is used), and its
    sub-commands."""

    name: str
    group: str
    says: str
    where: str
    parts: tuple[str, ...] = ()

    def lines(self) -> list[list[str]]:
        """What can be typed: the command, or each of its parts."""
        return [[self.name, part] for part in self.parts] or [[self.name]]


RUN, PAYMENTS, CARE, PROVE, ASK = "Run", "Payments", "Look after", "Prove", "Ask"

COMMANDS: Final = (
    Command("demo", RUN, "Watch payments being accepted, charged, retried and settled; then post your own.", "demo:demo"),
    Command("serve", RUN, "The API with the worker beside it.", "serve:serve"),
    Command("dashboard", RUN, "An address that signs you in at the dashboard, once.", "dashboard:dashboard"),
    Command("worker", RUN, "The worker alone; any number may share one store.", "serve:worker"),
    Command("sandbox", RUN, "The simulated provider as its own server.", "sandbox:sandbox"),
    Command("listen", RUN, "A running payonce's events as they happen, sent to your program like webhooks.", "listen:listen"),
    Command("pay", PAYMENTS, "Accept a payment, straight into the store or over HTTP.", "pay:pay"),
    Command("capture", PAYMENTS, "Take the money that is held.", "operations:capture"),
    Command("void", PAYMENTS, "Give a hold back, or cancel a payment that has not ended.", "operations:void"),
    Command("refund", PAYMENTS, "Give money back, all of it or a part.", "operations:refund"),
    Command("refunds", PAYMENTS, "The refunds of a payment.", "operations:refunds"),
    Command("show", PAYMENTS, "What happened to a payment, why, and what state the money is in.", "show:show"),
    Command("list", PAYMENTS, "Payments, newest first, with filters.", "payments:list_payments"),
    Command("events", PAYMENTS, "`events list`: what happened to payments, as webhooks tell it.", "events:app", ("list",)),
    Command("resolve", PAYMENTS, "Record your decision on a payment whose truth could not be read.", "resolve:resolve"),
    Command("verify", CARE, "Check the file, and every payment against its history.", "verify:verify"),
    Command(
        "reconcile", CARE, "Compare unresolved payments with their providers; lifts `serve --hold`.", "reconcile:reconcile"
    ),
    Command(
        "providers",
        CARE,
        "`providers list|drain|resume|check`: the accounts; keep new payments off one, or check one at its provider.",
        "providers:app",
        ("list", "drain", "resume", "check"),
    ),
    Command(
        "webhooks",
        CARE,
        "`webhooks list|show|replay`: what providers sent, and those whose payment was not found.",
        "webhooks:app",
        ("list", "show", "replay"),
    ),
    Command(
        "endpoints",
        CARE,
        "`endpoints list|create|…`: where merchants are told what happens to their payments.",
        "endpoints:app",
        ("list", "create", "show", "update", "remove", "enable", "disable", "rotate", "test", "recover"),
    ),
    Command(
        "deliveries",
        CARE,
        "`deliveries list|show|replay`: what is on its way to those endpoints.",
        "deliveries:app",
        ("list", "show", "replay"),
    ),
    Command(
        "dlq",
        CARE,
        "`dlq list|redrive`: on AWS, messages that no worker could handle; their payments are settled all the same.",
        "dlq:app",
        ("list", "redrive"),
    ),
    Command(
        "merchant", CARE, "`merchant create|list|show`: who uses this payonce.", "merchants:app", ("create", "list", "show")
    ),
    Command(
        "key",
        CARE,
        "`key create|list|revoke|rotate`: the API keys of merchants' programs.",
        "keys:app",
        ("create", "list", "revoke", "rotate"),
    ),
    Command(
        "audit",
        CARE,
        "`audit export`: who did what, when and from where, for a range of time.",
        "audit_export:app",
        ("export",),
    ),
    Command("doctor", CARE, "Check this installation; each finding with its fix.", "doctor:doctor"),
    Command(
        "simulate",
        PROVE,
        "Payments in simulated worlds where everything goes wrong; judged by the ledgers.",
        "simulate:simulate",
    ),
    Command("torture", PROVE, "Kill payonce while it works, and compare the end with the vendors' books.", "torture:torture"),
    Command("config", ASK, "`config show`: every setting, its value and where it comes from.", "config:app", ("show",)),
    Command(
        "routes",
        ASK,
        "`routes check|explain|simulate`: the rules, which account takes a payment, and what changed rules would do.",
        "routes:app",
        ("check", "explain", "simulate"),
    ),
    Command("explain", ASK, "What a code means and what to do.", "explain:explain"),
    Command("openapi", ASK, "Print the OpenAPI document.", "openapi:openapi"),
)

EXAMPLES: Final = (
    ("payonce demo", "the tour"),
    ("payonce serve", "the API on http://127.0.0.1:8080"),
    ("payonce pay --amount 1050 --currency INR --method tok_ok --wait 30", "10.50 INR, and wait for the end"),
    ("payonce show pay_...", "the story of one payment"),
)


def help_text() -> str:
    """What ``payonce --help`` prints."""
    lines = ["payonce: settles every accepted payment and never charges twice.", "", "Usage: payonce COMMAND [OPTIONS]", ""]
    lines += ["Examples:"]
    lines += [f"  {line:<68} {says}" for line, says in EXAMPLES]
    for group in dict.fromkeys(c.group for c in COMMANDS):
        lines += ["", f"{group}:"]
        lines += [f"  {c.name:<10} {c.says}" for c in COMMANDS if c.group == group]
    lines += [
        "",
        "Options of every command that works on a store:",
        "  --data-dir DIR   folder of the payments file (PAYONCE_DATA_DIR; default payonce-data)",
        "  --config FILE    configuration (PAYONCE_CONFIG; default payonce.toml if it exists)",
        "  --json           print JSON on standard output; messages go to standard error",
        "",
        "Settings: flags > environment (PAYONCE_*) > payonce.toml > default. See `payonce config show`.",
        "",
        "Exit codes:",
    ]
    lines += [f"  {code:<4} {says}" for code, says in EXIT_CODES.items()]
    lines += ["", "`payonce COMMAND --help` says more about one command."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code (see EXIT_CODES). Never shows a traceback for what payonce raises on purpose."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("--help", "-h", "help"):
        print(help_text())
        return OK if args else USAGE
    if args[0] in ("--version", "-V"):
        from payonce import __version__

        print(f"payonce {__version__}")
        return OK
    from .app import run

    return run(args)
