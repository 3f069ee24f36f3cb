"""``payonce config show``: every setting, its value and where it comes from; never a secret."""

from cyclopts import App

from payonce.accounts import adapter_of
from payonce.config import TABLES, ProviderConfig, Settings
from payonce.core.redact import mask
from payonce.effective import account_view, credentials_view, high_value_view, rule_view, setting_rows
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
    rows = setting_rows(settings)
    payments = str(settings.store_path.resolve())
    tables = ", ".join(settings.text(key) for key in TABLES) if settings.on_dynamodb else ""
    accounts = [account_view(p) for p in settings.providers]
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
    shown = [tuple(str(row[name]) for name in ("key", "value", "origin", "says")) for row in rows]
    table(("SETTING", "VALUE", "ORIGIN", "MEANS"), shown)
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


def _refuse_unknown_adapters(settings: Settings) -> None:
    """As ``serve`` does; whether the secrets can be had is shown, not required."""
    installed = load_adapters()
    for p in settings.providers:
        adapter_of(p, installed)


def _row(p: ProviderConfig) -> tuple[str, ...]:
    credentials = credentials_view(p)
    calls = str(p.calls_max or "no limit")
    return (p.name, p.adapter, p.mode, p.whose, mask(p.base_url), _words(credentials), calls, p.origin)


def _words(credentials: dict[str, str]) -> str:
    return ", ".join(f"{k}={v}" for k, v in credentials.items()) or "none"
