"""Provider accounts as configured: [providers.NAME] of payonce.toml, and their secrets by reference."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from .adapter import Adapter
from .core.errors import ConfigError
from .core.payment import Mode
from .core.routing import MERCHANT_ID, Offer
from .dispatch import host_of_other_mode
from .merchants import DEFAULT_MERCHANT
from .outside import offer
from .tomlfile import TomlFile, ended, suggest

# Served in process, or by the server of ``sandbox.url``; .invalid can never reach a real host.
SANDBOX_URL: Final = "http://sandbox.payonce.invalid"
AWS_KINDS: Final = ("aws-secret", "aws-ssm")  # of references: Secrets Manager, Systems Manager's parameters
SECRET_KINDS: Final = ("env", "file", *AWS_KINDS)

# Keys of [providers.NAME] that are not credentials; times shorten the adapter's own in test mode only.
CALL_TIMEOUT_MS_MAX: Final = 120_000  # a lease lasts a little longer than a call
TERM_S_MAX: Final = 31 * 86_400
CALLS_MAX: Final = 4096  # as many as a worker may have at once
MERCHANTS_MAX: Final = 1000  # of one account; for more, "*"
EVERYBODY: Final = "*"
PROVIDER_KEYS: Final = (
    "adapter",
    "mode",
    "base_url",
    "credential_id",
    "timeout_ms",
    "horizon_s",
    "watch_s",
    "settle_s",
    "merchants",
    "calls_max",
)
# Times that a table may shorten: its key -> field of Terms.
TERM_KEYS: Final = {
    "timeout_ms": "call_timeout_ms",
    "horizon_s": "horizon_s",
    "watch_s": "watch_s",
    "settle_s": "settle_s",
}
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
    merchants: tuple[str, ...] | None = None  # whose payments it takes; None = everybody's, empty = nobody's any more
    calls_max: int = 0  # of one process at a time; 0 = no limit

    def serves(self, merchant_id: str) -> bool:
        """As ``dispatch.Account.serves``, for who has no credentials at hand; the mode is looked at there."""
        return self.merchants is None or merchant_id in self.merchants

    @property
    def whose(self) -> str:
        """For people: ``*``, ids of merchants, or ``nobody``."""
        return EVERYBODY if self.merchants is None else ", ".join(self.merchants) or "nobody"


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
    if host := host_of_other_mode(adapter, p.mode, p.base_url):
        other = "test" if p.mode == "live" else "live"
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


class _Table:
    """One [providers.NAME] table while it is read."""

    def __init__(self, file: TomlFile, name: str, table: dict[str, Any], mode: Mode) -> None:
        self.file, self.name, self.table = file, name, table
        self.mode = str(table.get("mode", mode))

    def at(self, key: str = "") -> str:
        """Where it is written, and what it is called."""
        place = self.file.place("providers", self.name, *([key] if key else []))
        return f"{place}: providers.{self.name}" + (f".{key}" if key else "")

    def account(self) -> ProviderConfig:
        at, table = self.at, self.table
        if not NAME.fullmatch(self.name):
            rule = "an account's name has 1 to 40 letters, digits or ._-, begins with a letter or digit, and is not refund"
            raise ConfigError(f"{at()}: {rule}: it is part of an address, /webhooks/NAME. Nothing was started.")
        if self.mode not in ("test", "live"):
            raise ConfigError(f"{at('mode')} must be test or live.")
        base_url = str(table.get("base_url", "")).rstrip("/")
        sandboxed = self.sandboxed(base_url)
        adapter = str(table.get("adapter", self.name.removesuffix("_mock")))
        credentials = {k: str(v) for k, v in table.items() if k not in PROVIDER_KEYS}
        at_will = {k for k in credentials if k.startswith(SIGNING) or k.endswith("_old")}  # without being another account
        names = sorted(v for k, v in credentials.items() if k not in at_will)
        for key, value in credentials.items():
            require_reference(value, at(key))
        return ProviderConfig(
            name=self.name,
            adapter=adapter,
            mode="live" if self.mode == "live" else "test",
            base_url=f"{SANDBOX_URL}/{adapter}" if sandboxed else base_url,
            credential_id=str(table.get("credential_id", "sandbox" if sandboxed else ",".join(names))),
            credentials=credentials,
            terms=(dict(SANDBOX_TERMS) if sandboxed else {}) | self.terms(),
            origin=self.file.place("providers", self.name, "adapter"),
            merchants=self.merchants(sandboxed=sandboxed),
            calls_max=self.number("calls_max", CALLS_MAX) if "calls_max" in table else 0,
        )

    def sandboxed(self, base_url: str) -> bool:
        """It pays at the sandbox. Raises ConfigError for an address that the account may not have."""
        at, live = self.at, self.mode == "live"
        sandboxed = base_url in ("", "sandbox") or base_url.startswith(SANDBOX_URL)
        if sandboxed and live:
            raise ConfigError(f"{at()}: the sandbox is refused in live mode. Give the provider's base_url and credentials.")
        if _is_http(base_url) and urlsplit(base_url).username is not None:
            raise ConfigError(f"{at('base_url')} must not hold a user or password: it is stored with every payment.")
        if live and not base_url.startswith("https://"):
            raise ConfigError(f"{at('base_url')} must begin with https:// in live mode. Nothing was started.")
        if not sandboxed and not _is_http(base_url):
            raise ConfigError(f"{at('base_url')} must begin with http:// or https:// and name a host. Nothing was started.")
        return sandboxed

    def terms(self) -> dict[str, int | tuple[int, ...]]:
        """The times that the table shortens."""
        found: dict[str, int | tuple[int, ...]] = {}
        for key, field in TERM_KEYS.items():
            if key not in self.table:
                continue
            if self.mode == "live" and key != "timeout_ms":
                at = self.at(key)
                raise ConfigError(f"{at} can be changed in test mode only: in live mode the provider's facts count.")
            found[field] = self.number(key, CALL_TIMEOUT_MS_MAX if key == "timeout_ms" else TERM_S_MAX)
        return found

    def number(self, key: str, most: int) -> int:
        value = self.table[key]
        if not isinstance(value, int) or not 1 <= value <= most:
            raise ConfigError(f"{self.at(key)} must be a whole number from 1 to {most}.")
        return value

    def merchants(self, *, sandboxed: bool) -> tuple[str, ...] | None:
        """Whose payments it takes; None = everybody's. Without the key: everybody's money of the sandbox, and the default
        merchant's alone where it is real."""
        if "merchants" not in self.table:
            return None if sandboxed else (DEFAULT_MERCHANT,)
        given = self.table["merchants"]
        listed = [given] if isinstance(given, str) else given
        if listed == [EVERYBODY]:
            return None
        at = self.at("merchants")
        if not isinstance(listed, list):
            raise ConfigError(f'{at} must be "*" (everybody), a merchant\'s id or a list of ids. Nothing was started.')
        for each in listed:
            if each == EVERYBODY:
                raise ConfigError(f'{at}: "*" is everybody and stands alone: merchants = "*". Nothing was started.')
            if not isinstance(each, str) or not MERCHANT_ID.fullmatch(each):
                rule = 'a merchant\'s id is mer_ and 1 to 40 of a-z, 0-9 and _ (`payonce merchant list`); "*" is everybody'
                raise ConfigError(f"{at}: {rule}. Nothing was started.")
        if twice := [each for each in listed if listed.count(each) > 1]:
            raise ConfigError(f"{at} names {twice[0]} twice. Nothing was started.")
        if len(listed) > MERCHANTS_MAX:
            raise ConfigError(
                f'{at} names {len(listed)} merchants, the limit is {MERCHANTS_MAX}: write "*". Nothing was started.'
            )
        return tuple(listed)


def _account(file: TomlFile, name: str, table: object, mode: Mode) -> ProviderConfig:
    plain = isinstance(table, dict) and all(
        key == "merchants" or (isinstance(v, str | int) and not isinstance(v, bool)) for key, v in table.items()
    )
    if not isinstance(table, dict) or not plain:
        place = f"{file.place('providers', name)}: providers.{name}"
        raise ConfigError(f"{place} must be a table of strings and whole numbers (merchants may be a list).")
    return _Table(file, name, table, mode).account()
