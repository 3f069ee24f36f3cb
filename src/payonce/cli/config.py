"""``payonce config show``: every setting, its value and where it comes from; never a secret."""

import os

from cyclopts import App
from msgspec.structs import asdict

from payonce.accounts import EVERYBODY, SECRET_KINDS, adapter_of
from payonce.config import SETTINGS, TABLES, ProviderConfig, Settings
from payonce.core.redact import MASK, mask
from payonce.core.routing import Rule
from payonce.providers import load_adapters
from payonce.rules import high_value_in_words, use_in_words, when_in_words

from . import OK
from .options import HERE, STRICT, Json, Where
from .output import put, put_json, table
from .pages import Pages

app = App(
    name="config",
    help="Every setting, its value and where it comes from.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


@app.command
def show(*, where: Where = HERE, json: Json = False) -> int:
    """Each setting with its value and origin, the provider accounts with their secrets masked, and the routing rules."""
    settings = where.settings()
    _refuse_unknown_adapters(settings)
    rows = [
        {
            "key": s.key,
            "value": settings.values[s.key].value,
            "origin": settings.values[s.key].origin,
            "env": s.env[0],
            "says": s.says,
        }
        for s in SETTINGS
    ]
    payments = str(settings.store_path.resolve())
    tables = ", ".join(settings.text(key) for key in TABLES) if settings.on_dynamodb else ""
    accounts = [_account(p) for p in settings.providers]
    if json:
        put_json(
            {
                "file": settings.file,
                "paymentsFile": None if tables else payments,
                "paymentsTables": tables.split(", ") if tables else None,
                "settings": rows,
                "providers": accounts,
                "rules": [rule_view(rule) for rule in settings.rules.rules],
                "rulesOrigin": settings.rules_origin,
                "highValue": high_value_view(settings),
            }
        )
        return OK
    table(("SETTING", "VALUE", "ORIGIN", "MEANS"), [(r["key"], str(r["value"]), r["origin"], r["says"]) for r in rows])  # type: ignore[misc]
    put("")
    put(f"payments tables: {tables}" if tables else f"payments file: {payments}")
    put("")
    head = ("ACCOUNT", "ADAPTER", "MODE", "MERCHANTS", "TARGET", "CREDENTIALS", "CALLS MAX", "ORIGIN")
    table(head, [_row(p) for p in settings.providers])
    put("")
    put_rules(settings)
    return OK


def put_rules(settings: Settings) -> None:
    """The rules in their order and from which amount on a payment is of high value, both with their origin."""
    put(f"rules ({settings.rules_origin})")
    if settings.rules.rules:
        rows = [(rule.name, when_in_words(rule.when), use_in_words(rule)) for rule in settings.rules.rules]
        table(("RULE", "WHEN", "ACCOUNTS"), rows)
    put(f"high value from: {high_value_in_words(settings.rules)} ({settings.high_value_origin})")


def rule_view(rule: Rule) -> dict[str, object]:
    """A rule as --json shows it, in the words of payonce.toml; of the conditions those that it states."""
    stated = {name: value for name, value in asdict(rule.when).items() if value is not None and value not in ((), {})}
    when = {name.removesuffix("_minor"): value for name, value in stated.items()}
    return {"name": rule.name, "when": when, "use": rule.use, "fallback": rule.fallback or "none"}


def high_value_view(settings: Settings) -> dict[str, object]:
    """The thresholds as --json shows them, in minor units."""
    rules = settings.rules
    return {
        "default": rules.high_value_default_minor,
        "currencies": dict(rules.high_value_minor),
        "origin": settings.high_value_origin,
    }


def _refuse_unknown_adapters(settings: Settings) -> None:
    """As ``serve`` does; whether the secrets can be had is shown, not required."""
    installed = load_adapters()
    for p in settings.providers:
        adapter_of(p, installed)


def _account(p: ProviderConfig) -> dict[str, object]:
    return {
        "name": p.name,
        "adapter": p.adapter,
        "mode": p.mode,
        "baseUrl": mask(p.base_url),
        "credentials": {name: _reference(value) for name, value in p.credentials.items()},
        "terms": p.terms,
        "merchants": EVERYBODY if p.merchants is None else p.merchants,
        "callsMax": p.calls_max or None,
        "origin": p.origin,
    }


def _row(p: ProviderConfig) -> tuple[str, ...]:
    credentials = {name: _reference(value) for name, value in p.credentials.items()}
    calls = str(p.calls_max or "no limit")
    return (p.name, p.adapter, p.mode, p.whose, mask(p.base_url), _words(credentials), calls, p.origin)


def _reference(value: str) -> str:
    """A reference may be seen, what it points at may not; and somebody may have written the secret itself."""
    kind, _, name = value.partition(":")
    if kind == "env":
        return f"{value} ({'set' if os.environ.get(name) else 'not set'})"
    return value if kind in SECRET_KINDS else MASK


def _words(credentials: dict[str, str]) -> str:
    return ", ".join(f"{k}={v}" for k, v in credentials.items()) or "none"
