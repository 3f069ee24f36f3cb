"""Provider accounts as configured: [providers.NAME] of payonce.toml, and their secrets by reference."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from .adapter import Adapter
from .core.errors import ConfigError
from .core.payment import Mode
from .core.routing import Offer
from .outside import offer
from .tomlfile import TomlFile, ended, suggest

# Served in process, or by the server of ``sandbox.url``; .invalid can never reach a real host.
SANDBOX_URL: Final = "http://sandbox.payonce.invalid"
AWS_KINDS: Final = ("aws-secret", "aws-ssm")  # of references: Secrets Manager, Systems Manager's parameters
SECRET_KINDS: Final = ("env", "file", *AWS_KINDS)

# Keys of [providers.NAME] that are not credentials; times shorten the adapter's own in test mode only.
CALL_TIMEOUT_MS_MAX: Final = 120_000  # a lease lasts a little longer than a call
TERM_S_MAX: Final = 31 * 86_400
PROVIDER_KEYS: Final = ("adapter", "mode", "base_url", "credential_id", "timeout_ms", "horizon_s", "watch_s", "settle_s")
NAME: Final = re.compile(r"(?!refund$)[A-Za-z0-9][A-Za-z0-9._-]{0,39}")  # "refund" holds ids of refunds
SIGNING: Final = "webhook_secret"  # how the keys of secrets begin that sign webhooks: no part of who the account is
# A sandbox account forgets soon, so that a demo shows the whole life of a payment within two minutes.
SANDBOX_TERMS: Final[Mapping[str, int | tuple[int, ...]]] = {
    "horizon_s": 60,
    "watch_s": 120,
    "settle_s": 120,
    "processing_s": 2,
    "read_lag_s": 1,
    "call_timeout_ms": 7000,
    "read_schedule_s": (1, 2, 3, 5, 8, 10),
}


class ProviderConfig(Struct, frozen=True, kw_only=True):
    """One [providers.NAME]: an account of an adapter. ``credentials`` are references (see SECRET_KINDS), never values;
    ``origin`` is the file, with the line of its adapter or table."""

    name: str
    adapter: str
    mode: Mode
    base_url: str
    credential_id: str
    credentials: dict[str, str]
    terms: dict[str, int | tuple[int, ...]]
    origin: str


def read_accounts(file: TomlFile, mode: Mode) -> tuple[ProviderConfig, ...]:
    """The accounts in the order of the file; ``mode`` is the server's, the default of each. Raises ConfigError."""
    tables = file.table.get("providers", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{file.place('providers')}: providers must be tables: [providers.NAME].")
    return tuple(_account(file, name, table, mode) for name, table in tables.items())


def adapter_of(p: ProviderConfig, adapters: Mapping[str, Adapter]) -> Adapter:
    """The adapter that an account uses. Raises ConfigError when it is not installed."""
    if p.adapter not in adapters:
        missing = ended(f"there is no adapter {p.adapter}{suggest(p.adapter, adapters)}")
        known = ", ".join(sorted(adapters))
        raise ConfigError(f"{p.origin}: providers.{p.name}: {missing} Installed: {known}. Nothing was started.")
    return adapters[p.adapter]


def require_host_of_mode(p: ProviderConfig, adapter: Adapter) -> None:
    """A vendor whose credentials do not tell test from live tells it by the host: money of a test is no money, and a test
    must take none. Raises ConfigError for a host that the adapter declares to be of the other mode."""
    other = "test" if p.mode == "live" else "live"
    hosts: frozenset[str] = getattr(adapter, f"{other.upper()}_HOSTS", frozenset())
    host = (urlsplit(p.base_url).hostname or "").rstrip(".")
    if host in hosts:
        raise ConfigError(
            f"{p.origin}: providers.{p.name}: {host} is the provider's {other} host, and the account is in {p.mode} mode. "
            "Correct one of them. Nothing was started."
        )


def offers_of(accounts: Iterable[ProviderConfig], adapters: Mapping[str, Adapter]) -> tuple[Offer, ...]:
    """What each account can take, for routing. Raises ConfigError when an adapter is not installed."""
    return tuple(offer(p.name, p.mode, adapter_of(p, adapters).CAPABILITIES) for p in accounts)


def resolve_secret(reference: str, env: Mapping[str, str], where: str, fetched: Mapping[str, str] = {}) -> str:
    """The value behind ``env:NAME`` or ``file:PATH``, or that of a reference to AWS among those that were ``fetched``
    (``awsclient.secrets.fetch``). Raises ConfigError; the value itself is never in a message."""
    require_reference(reference, where)
    kind, _, name = reference.partition(":")
    if kind in AWS_KINDS:
        if reference not in fetched:
            raise ConfigError(f"{where}: {reference} was not fetched from AWS. Nothing was started.")
        return fetched[reference]
    if kind == "env":
        if not env.get(name):
            raise ConfigError(f"{where}: the environment variable {name} is not set. Set it, or name another one.")
        return env[name]
    try:
        value = Path(name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{where}: cannot read {name}: {why}. Make it readable for payonce.") from None
    if not value:
        raise ConfigError(f"{where}: the file {name} is empty. Put the secret into it.")
    return value


def aws_references(accounts: Iterable[ProviderConfig]) -> dict[str, str]:
    """References to secrets that lie at AWS -> the first place that names each."""
    found: dict[str, str] = {}
    for p in accounts:
        for key, reference in p.credentials.items():
            if reference.partition(":")[0] in AWS_KINDS:
                found.setdefault(reference, f"providers.{p.name}.{key}")
    return found


def require_reference(reference: str, where: str) -> None:
    """Raises ConfigError for what is no reference to a secret; it may be the secret itself, so it is not shown."""
    kind, _, name = reference.partition(":")
    if kind not in SECRET_KINDS or not name.strip():
        raise ConfigError(
            f"{where}: write env:NAME, file:PATH, aws-secret:NAME or aws-ssm:NAME; a secret itself does not belong into the "
            "configuration."
        )
    if kind == "aws-secret" and (not name.partition("#")[0] or name.endswith("#")):
        raise ConfigError(f"{where}: write aws-secret:NAME, or aws-secret:NAME#KEY for one key of a secret that is JSON.")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a broken address
        return False


def _account(file: TomlFile, name: str, table: object, mode: Mode) -> ProviderConfig:
    def at(key: str = "") -> str:
        written = file.place("providers", name, key) if key else file.place("providers", name)
        return f"{written}: providers.{name}" + (f".{key}" if key else "")

    if not isinstance(table, dict) or not all(isinstance(v, str | int) and not isinstance(v, bool) for v in table.values()):
        raise ConfigError(f"{at()} must be a table of strings and whole numbers.")
    if not NAME.fullmatch(name):
        rule = "an account's name has 1 to 40 letters, digits or ._-, begins with a letter or digit, and is not refund"
        raise ConfigError(f"{at()}: {rule}: it is part of an address, /webhooks/NAME. Nothing was started.")
    account_mode = str(table.get("mode", mode))
    if account_mode not in ("test", "live"):
        raise ConfigError(f"{at('mode')} must be test or live.")
    base_url = str(table.get("base_url", "")).rstrip("/")
    sandboxed = base_url in ("", "sandbox") or base_url.startswith(SANDBOX_URL)
    if sandboxed and account_mode == "live":
        raise ConfigError(f"{at()}: the sandbox is refused in live mode. Give the provider's base_url and credentials.")
    if _is_http(base_url) and urlsplit(base_url).username is not None:
        raise ConfigError(f"{at('base_url')} must not hold a user or password: it is stored with every payment.")
    if account_mode == "live" and not base_url.startswith("https://"):
        raise ConfigError(f"{at('base_url')} must begin with https:// in live mode. Nothing was started.")
    if not sandboxed and not _is_http(base_url):
        raise ConfigError(f"{at('base_url')} must begin with http:// or https:// and name a host. Nothing was started.")
    adapter = str(table.get("adapter", name.removesuffix("_mock")))
    credentials = {k: str(v) for k, v in table.items() if k not in PROVIDER_KEYS}
    at_will = {k for k in credentials if k.startswith(SIGNING) or k.endswith("_old")}  # changed without being another account
    names = sorted(v for k, v in credentials.items() if k not in at_will)
    for key, value in credentials.items():
        require_reference(value, at(key))
    terms = dict(SANDBOX_TERMS) if sandboxed else {}
    for key, field in (
        ("timeout_ms", "call_timeout_ms"),
        ("horizon_s", "horizon_s"),
        ("watch_s", "watch_s"),
        ("settle_s", "settle_s"),
    ):
        if key in table:
            if account_mode == "live" and key != "timeout_ms":
                raise ConfigError(f"{at(key)} can be changed in test mode only: in live mode the provider's facts count.")
            most = CALL_TIMEOUT_MS_MAX if key == "timeout_ms" else TERM_S_MAX
            if not isinstance(table[key], int) or not 1 <= table[key] <= most:
                raise ConfigError(f"{at(key)} must be a whole number from 1 to {most}.")
            terms[field] = table[key]
    return ProviderConfig(
        name=name,
        adapter=adapter,
        mode="live" if account_mode == "live" else "test",
        base_url=f"{SANDBOX_URL}/{adapter}" if sandboxed else base_url,
        credential_id=str(table.get("credential_id", "sandbox" if sandboxed else ",".join(names))),
        credentials=credentials,
        terms=terms,
        origin=file.place("providers", name, "adapter"),
    )
