# ruff: noqa: INP001  a script beside the package, not a package
"""Write docs/reference from the code that it describes; ``--check`` only says what would change (exit code 1).

Usage: python tools/docs.py [--check]
"""

import difflib
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import fields

from payonce import providers
from payonce.adapter import Adapter, Declined
from payonce.api.openapi import document
from payonce.cli.reference import render as cli_page
from payonce.config import PROVIDER_KEYS, SANDBOX_TERMS, SETTINGS, Setting
from payonce.core.errors import DECLINES, PROBLEMS, REASONS
from payonce.core.money import EXPONENTS
from payonce.core.payment import FINAL, Terms
from payonce.core.states import TRANSITIONS
from payonce.sandbox.faults import BY_SEND, TOKENS, Plan, Profile

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
    "merchants": "whose payments it takes: ids of merchants, or `*` for everybody's; default: everybody's at the sandbox, "
    "else those of `mer_default` alone",
    "calls_max": "calls of one process at once, 1 to 4096; default: no limit",
}

REFERENCES: Final = (
    ("`env:NAME`", "an environment variable"),
    ("`file:PATH`", "a file"),
    ("`aws-secret:NAME`", "a secret of AWS Secrets Manager, by name or ARN"),
    ("`aws-secret:NAME#KEY`", "one key of such a secret that is a JSON object"),
    ("`aws-ssm:NAME`", "a parameter of AWS Systems Manager, decrypted"),
)

FAULTS_SAY: Final = {
    "latency_ms": ("0 to 60000", "milliseconds before a request is looked at"),
    "error_rate": ("0 to 1", "the fraction of requests answered 500 before anything is booked"),
    "outage": ("`true`, `false`", "connections are dropped before anything is booked"),
    "lookup_lag_ms": ("0 to 60000", "lookups do not show what is younger than this many milliseconds"),
    "key_window_s": ("0 to 86400", "seconds that an answer is saved under its idempotency key"),
    "hold_s": ("1 to 2678400", "seconds that a hold lasts which is neither captured nor voided"),
    "refunds": (
        "`plain`, `pending`, `pending_fail`, `fail_later`, `fail`",
        "a refund is done at once; done after 3 s; failed after 3 s; done and failed after 5 s; failed at once",
    ),
    "webhook_lose_rate": ("0 to 1", "the fraction of deliveries of webhooks that are never sent"),
    "webhook_double_rate": ("0 to 1", "the fraction that is sent twice"),
    "webhook_delay_ms": ("0 to 3600000", "milliseconds before the first send"),
    "webhook_reorder_rate": ("0 to 1", "the fraction held back for 3 s, so that later ones overtake it"),
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
            "Every other key is a credential, written as a reference and never as the secret itself:",
            "",
            *table(("reference", "where the secret is"), REFERENCES),
            "",
            "Variables named `PAYONCE_SECRET_*` are free for that. Secrets at AWS are read once, when the process starts.",
            "",
            *table(("key", "meaning"), accounts),
            "",
            "Without any account, test mode has the shipped ones, served by the sandbox in the same process: see",
            "[routing](routing.md).",
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
    rows = (
        (f"`{token}`", ", then ".join(_does(plan) for plan in plans) + (", by send" if token in BY_SEND else ""))
        for token, plans in TOKENS.items()
    )
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
            "`/sandbox/faults/{vendor}` is for one vendor: the worse of both counts.",
            "",
            *table(("field", "values", "what happens"), ((f"`{f.encode_name}`", *FAULTS_SAY[f.name]) for f in fields(Profile))),
            "",
            "```sh",
            "curl -X PUT http://127.0.0.1:8080/sandbox/faults -H 'Content-Type: application/json' -d '{\"errorRate\": 0.3}'",
            "```",
            "",
            "## Webhooks and customers",
            "",
            "The vendors sign webhooks and send them to the server beside the sandbox, at `/webhooks/ACCOUNT` of each",
            'account that pays there. `PUT /sandbox/webhooks` with `{"VENDOR": ["ADDRESS", ...]}` sends them elsewhere,',
            "`DELETE` takes that back; `payonce sandbox` sends none until they are put. What is not answered 2xx is sent again",
            "after 1 s, 5 s, 30 s, 2 min, 10 min, then hourly, for 24 h. `GET /sandbox/outbox` shows what became of each.",
            "",
            "A customer who has to act is sent to `/sandbox/pay/VENDOR/N`, a page with two buttons.",
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


def _acts(plan: Plan) -> str:
    decides = f"declines (`{plan.code}`)" if plan.code else "approves"
    return "asks the customer, who " + (f"{decides} {plan.late_s:g} s later" if plan.late_s else "decides on the page")


def _does(plan: Plan) -> str:
    does = {
        "charge": "charges" + (f" {plan.extra_minor} minor units too much" if plan.extra_minor else ""),
        "decline": f"declines (`{plan.code}`)" + (f", and charges {plan.late_s:g} s later after all" if plan.late_s else ""),
        "process": "says it is processing, for ever",
        "act": _acts(plan),
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


# --- providers ----------------------------------------------------------------------------------------------------


def built_in() -> dict[str, Adapter]:
    """The adapters that payonce brings, by name; what else is installed in this environment is not ours to describe."""
    modules = [importlib.import_module(f"{providers.__name__}.{m.name}") for m in pkgutil.iter_modules(providers.__path__)]
    return {module.ADAPTER.name: module.ADAPTER for module in modules}


def providers_page() -> str:
    """What each built-in adapter declares, what that means, and what its author found unusual or could not verify."""
    adapters = built_in()
    rows = ((says, *(value(a) for a in adapters.values())) for says, value in FACTS.items())
    return "\n".join(
        [
            "# Providers",
            "",
            MADE.format("providers/"),
            "",
            "The adapters that payonce brings. [Adding a provider](../adding-a-provider.md) says what each fact means and how",
            "to bring your own. The facts are frozen into every attempt. An account served by the sandbox has shorter times,",
            "see [settings](settings.md).",
            "",
            *table(("", *(f"`{name}`" for name in adapters)), rows),
            "",
            "Any attempt may be left when nothing that could have moved money was sent, or when every such send was answered",
            "with a documented, final no; a container that can be closed is closed first. How else an attempt is sealed, so",
            "that another account may be tried, stands below.",
            "",
            "A hard decline, one of the scope customer_input, and insufficient_funds end the payment. After any other the next",
            "account of the route may be tried. A word that no table has is never guessed: the outcome is unknown, and the",
            "provider is asked. [Codes](errors.md) explains ours.",
            "",
            *(line for adapter in adapters.values() for line in _provider(adapter)),
        ]
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _span(seconds: int) -> str:
    """``2 h``; ``never`` for 0."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s" if seconds else "never"


def _currencies(adapter: Adapter) -> str:
    taken = adapter.CAPABILITIES.currencies
    if taken is None:
        return "all of ISO 4217"
    left = sorted(set(EXPONENTS) - taken)
    return f"all but {', '.join(left)}" if len(left) < len(taken) else ", ".join(sorted(taken))


# where an account of the vendor leads; the others have the sandbox only
BASE_URLS: Final = {
    "cashfree": "https://sandbox.cashfree.com/pg",
    "payu": "https://test.payu.in",
    "razorpay": "https://api.razorpay.com/v1",
    "stripe": "https://api.stripe.com",
}


def _account(adapter: Adapter) -> Iterator[str]:
    """A payonce.toml to copy, with an account in the vendor's test mode."""
    name = adapter.name
    shown = (f'{key} = "env:PAYONCE_SECRET_{name.upper()}_{key.upper()}"' for key in adapter.SANDBOX_CREDENTIALS)
    head = (f"[providers.{name}_test]", f'adapter = "{name}"', f'base_url = "{BASE_URLS[name]}"')
    yield from ("An account in test mode:", "", "```toml", "version = 1", *head, *shown, "```", "")


# the rows of the capability table
FACTS: Final[dict[str, Callable[[Adapter], str]]] = {
    "API version": lambda a: a.CAPABILITIES.api_version,
    "credentials in payonce.toml": lambda a: ", ".join(f"`{name}`" for name in a.SANDBOX_CREDENTIALS),
    "container that succeeds once": lambda a: _yes(a.CAPABILITIES.terms.container),
    "it can be closed for good": lambda a: _yes(a.CAPABILITIES.terms.closable),
    "firing only holds, the capture is ours": lambda a: _yes(a.CAPABILITIES.terms.own_capture),
    "one key covers all sends of a fire": lambda a: _yes(a.CAPABILITIES.terms.keyed),
    "a fire is replayed under its key for": lambda a: _span(a.CAPABILITIES.terms.replay_span_s),
    "a refund is replayed for": lambda a: _span(a.CAPABILITIES.terms.refund_replay_span_s),
    "can be asked by our reference": lambda a: _yes(a.CAPABILITIES.terms.readable),
    "may still work on a request for": lambda a: _span(a.CAPABILITIES.terms.processing_s),
    "a read may miss what is younger than": lambda a: _span(a.CAPABILITIES.terms.read_lag_s),
    "an unresolved attempt is IN_DOUBT after": lambda a: _span(a.CAPABILITIES.terms.horizon_s),
    "a final payment is watched for": lambda a: _span(a.CAPABILITIES.terms.watch_s),
    "steps": lambda a: ", ".join(sorted(a.CAPABILITIES.steps)),
    "currencies": _currencies,
    "minor units other than ISO's": lambda a: ", ".join(f"{c} {n}" for c, n in a.CAPABILITIES.exponents.items()) or "none",
}


def sealed_by(terms: Terms) -> str:
    """How an attempt under these terms may be left behind (R4), in words."""
    if terms.own_capture:
        return (
            "The capture takes the money and is our own step: an attempt is left by the recorded decision never to capture. "
            "What is held then lapses at the provider."
        )
    if terms.container and terms.closable:
        return (
            "The container is closed, then read again: closed, and nothing in it but final declines, proves that no money "
            "was taken and none can be."
        )
    if terms.container:
        return "By declines only: a read must show the one try that we made, finally declined, and none besides."
    if terms.keyed:
        return "One key covers all sends of a fire: a final decline under it speaks for all of them."
    return "By the documented no to its one send. It is never sent again."


def again_when(terms: Terms) -> str:
    """What is sent again while the outcome is unknown, in words."""
    if terms.container:
        return (
            "The same bytes on the same container, three times at most, when the send deadline and the processing time are "
            "over and a read then shows the container open and nothing in progress."
        )
    if terms.keyed and terms.replay_span_s:
        return f"The same bytes under the same key, within {_span(terms.replay_span_s)} of the first send."
    return "Never. It is read until it is known."


def _provider(adapter: Adapter) -> Iterator[str]:
    """One section: the docstring of its module, how an attempt ends, and the two tables of words."""
    terms = adapter.CAPABILITIES.terms
    yield from (f"## {adapter.name}", "", *_docstring(adapter), "")
    yield from _account(adapter) if adapter.name in BASE_URLS else ()
    yield from (f"**Sealed:** {sealed_by(terms)}", "", f"**Sent again while unknown:** {again_when(terms)}", "")
    grouped: dict[Declined, list[str]] = {}
    for word, meaning in adapter.DECLINES.items():
        grouped.setdefault(meaning, []).append(f"`{word}`")
    declines = ((", ".join(w), f"`{d.code}`", "hard" if d.hard else "soft", d.scope) for d, w in grouped.items())
    yield from (*table(("its word for a decline", "our code", "kind", "scope"), declines), "")
    meanings: dict[str, list[str]] = {}
    for word, outcome in adapter.STATUSES.items():
        meanings.setdefault(outcome, []).append(f"`{word}`")
    yield from (*table(("its status", "outcome"), ((", ".join(words), outcome) for outcome, words in meanings.items())), "")


def _docstring(adapter: Adapter) -> Iterator[str]:
    """The docstring of its module as Markdown: title, API, what is unusual (a list), what is unverified."""
    text = inspect.getdoc(inspect.getmodule(type(adapter))) or ""
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    for line in re.sub(r"\n\n+(?=API)", "\n", text).splitlines():
        head = re.match(r"(API|Unusual|Unverified)([^:]*):", line)
        if head:
            yield from ("", f"**{head[1]}{head[2]}:**{line[head.end() :]}")
            if head[1] == "Unusual" and line.endswith(":"):
                yield ""
        else:
            yield line


def openapi_page() -> str:
    """The document that a server serves under /openapi.json: in the repository, so that a change of the API is seen."""
    return json.dumps(document(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "states.md": states_page,
    "settings.md": settings_page,
    "errors.md": errors_page,
    "sandbox.md": sandbox_page,
    "providers.md": providers_page,
    "cli.md": cli_page,
    "openapi.json": openapi_page,
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
