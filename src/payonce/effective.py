"""The configuration that holds, as people may see it: every value with its origin, never a secret. ``payonce config show``,
the API and the dashboard tell the same."""

import os
from collections.abc import Iterator, Mapping

from msgspec.structs import asdict

from .accounts import EVERYBODY, SECRET_KINDS
from .config import SETTINGS, ProviderConfig, Settings
from .core.redact import MASK, mask
from .core.routing import Rule, When
from .rules import use_in_words, when_in_words
from .shown.routing_bodies import RuleBody


def setting_rows(settings: Settings) -> list[dict[str, object]]:
    """Each setting with its value, where it comes from, its environment variable and what it means. No setting is a secret:
    those that lead to one are references."""
    return [
        {
            "key": s.key,
            "value": settings.values[s.key].value,
            "origin": settings.values[s.key].origin,
            "env": s.env[0],
            "says": s.says,
        }
        for s in SETTINGS
    ]


def account_view(p: ProviderConfig) -> dict[str, object]:
    """A provider account as configured, its secrets masked."""
    return {
        "name": p.name,
        "adapter": p.adapter,
        "mode": p.mode,
        "baseUrl": mask(p.base_url),
        "credentials": credentials_view(p),
        "terms": p.terms,
        "merchants": EVERYBODY if p.merchants is None else p.merchants,
        "callsMax": p.calls_max or None,
        "origin": p.origin,
    }


def credentials_view(p: ProviderConfig) -> dict[str, str]:
    """A reference may be seen, what it points at may not; and somebody may have written the secret itself."""
    return {name: reference(value, os.environ) for name, value in p.credentials.items()}


def reference(value: str, env: Mapping[str, str]) -> str:
    """``env:NAME (set)``; the mask for what is no reference."""
    kind, _, name = value.partition(":")
    if kind == "env":
        return f"{value} ({'set' if env.get(name) else 'not set'})"
    return value if kind in SECRET_KINDS else MASK


def rule_view(rule: Rule) -> dict[str, object]:
    """A rule in the words of payonce.toml; of the conditions those that it states."""
    stated = {name: value for name, value in asdict(rule.when).items() if value is not None and value not in ((), {})}
    when = {name.removesuffix("_minor"): value for name, value in stated.items()}
    return {"name": rule.name, "when": when, "use": rule.use, "fallback": rule.fallback or "none"}


def rule_body(rule: Rule) -> RuleBody:
    """A rule in plain words."""
    return RuleBody(
        name=rule.name,
        title=rule.title,
        when=list(_conditions(rule.when)),
        use=list(rule.use),
        fallback=None if rule.fallback == "any" else list(rule.fallback),
        then=use_in_words(rule),
    )


def _conditions(when: When) -> Iterator[str]:
    """Each condition that it states, in words."""
    for name, value in asdict(when).items():
        if name == "metadata":
            yield from (when_in_words(When(metadata={key: values})) for key, values in value.items())
        elif value is not None and value != ():
            yield when_in_words(When(**{name: value}))


def high_value_view(settings: Settings) -> dict[str, object]:
    """The thresholds in minor units."""
    rules = settings.rules
    return {
        "default": rules.high_value_default_minor,
        "currencies": dict(rules.high_value_minor),
        "origin": settings.high_value_origin,
    }
