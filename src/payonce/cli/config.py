"""``payonce config show``: every setting, its value and where it comes from; never a secret."""

import os

from cyclopts import App

from payonce.config import SETTINGS, ProviderConfig, Settings
from payonce.core.errors import ConfigError
from payonce.core.redact import MASK, mask
from payonce.providers import load_adapters

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
    """Each setting with its value and origin, and the provider accounts with their secrets masked."""
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
    accounts = [_account(p) for p in settings.providers]
    if json:
        put_json({"file": settings.file, "paymentsFile": payments, "settings": rows, "providers": accounts})
        return OK
    table(("SETTING", "VALUE", "ORIGIN", "MEANS"), [(r["key"], str(r["value"]), r["origin"], r["says"]) for r in rows])  # type: ignore[misc]
    put("")
    put(f"payments file: {payments}")
    put("")
    head = ("ACCOUNT", "ADAPTER", "MODE", "TARGET", "CREDENTIALS", "ORIGIN")
    table(head, [(a["name"], a["adapter"], a["mode"], a["baseUrl"], _words(a["credentials"]), a["origin"]) for a in accounts])  # type: ignore[misc]
    return OK


def _refuse_unknown_adapters(settings: Settings) -> None:
    """As ``serve`` does; whether the secrets can be had is shown, not required."""
    installed = load_adapters()
    for p in settings.providers:
        if p.adapter not in installed:
            known = ", ".join(sorted(installed))
            raise ConfigError(f"{p.origin}: providers.{p.name}: there is no adapter {p.adapter}. Installed: {known}.")


def _account(p: ProviderConfig) -> dict[str, object]:
    return {
        "name": p.name,
        "adapter": p.adapter,
        "mode": p.mode,
        "baseUrl": mask(p.base_url),
        "credentials": {name: _reference(value) for name, value in p.credentials.items()},
        "terms": p.terms,
        "origin": p.origin,
    }


def _reference(value: str) -> str:
    """A reference may be seen, what it points at may not; and somebody may have written the secret itself."""
    kind, _, name = value.partition(":")
    if kind == "env":
        return f"{value} ({'set' if os.environ.get(name) else 'not set'})"
    return value if kind == "file" else MASK


def _words(credentials: object) -> str:
    return ", ".join(f"{k}={v}" for k, v in credentials.items()) if isinstance(credentials, dict) and credentials else "none"
