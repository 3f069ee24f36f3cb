"""``payonce config show``: every setting, its value and where it comes from; never a secret."""

import os
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from payonce.config import SETTINGS, ProviderConfig
from payonce.core.redact import MASK, mask

from . import OK
from .options import HERE, Json, Where
from .output import put, put_json, table

app = App(
    name="config",
    help="Every setting, its value and where it comes from.",
    help_formatter="plain",
    default_parameter=Parameter(negative=()),
)


@app.command
def show(*, where: Where = HERE, json: Json = False) -> int:
    """Each setting with its value and origin, and the provider accounts with their secrets masked."""
    settings = where.settings()
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
    accounts = [_account(p) for p in settings.providers]
    if json:
        put_json({"file": settings.file, "settings": rows, "providers": accounts})
        return OK
    table(("SETTING", "VALUE", "ORIGIN", "MEANS"), [(r["key"], str(r["value"]), r["origin"], r["says"]) for r in rows])  # type: ignore[misc]
    put("")
    head = ("ACCOUNT", "ADAPTER", "MODE", "TARGET", "CREDENTIALS", "ORIGIN")
    table(head, [(a["name"], a["adapter"], a["mode"], a["baseUrl"], _words(a["credentials"]), a["origin"]) for a in accounts])  # type: ignore[misc]
    return OK


def _account(p: ProviderConfig) -> dict[str, object]:
    return {
        "name": p.name,
        "adapter": p.adapter,
        "mode": p.mode,
        "baseUrl": _url(p.base_url),
        "credentials": {name: _reference(value) for name, value in p.credentials.items()},
        "terms": p.terms,
        "origin": p.origin,
    }


def _reference(value: str) -> str:
    """A reference may be seen, what it points at may not; and somebody may have written the secret itself."""
    kind, _, name = value.partition(":")
    if kind == "env":
        return f"{value} ({'set' if os.environ.get(name) else 'not set'})"
    return value if kind in ("file", "aws-secret") else MASK


def _url(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password:
        url = parts._replace(netloc=f"{MASK}@{parts.hostname}" + (f":{parts.port}" if parts.port else "")).geturl()
    return mask(url)


def _words(credentials: object) -> str:
    return ", ".join(f"{k}={v}" for k, v in credentials.items()) if isinstance(credentials, dict) and credentials else "none"
