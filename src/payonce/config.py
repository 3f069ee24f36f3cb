"""Configuration: flags > environment > payonce.toml > default. Every value knows its origin; unknown names are errors.

One table (SETTINGS) is the source of the environment names, ``payonce config show`` and docs/reference/settings.md.
"""

import difflib
import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from .core.errors import ConfigError
from .core.payment import Mode

SANDBOX_URL: Final = "http://sandbox.payonce.invalid"  # served in process; .invalid can never reach a real host
FILE_NAME: Final = "payonce.toml"
DIGITS_MAX: Final = 18  # of a whole number; Python refuses to convert very long ones


class Setting(NamedTuple):
    """One setting: TOML place, environment names, kind, default and bounds, and what it means."""

    key: str
    env: tuple[str, ...]
    default: str | int
    says: str
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()


SETTINGS: Final = (
    Setting("server.host", ("PAYONCE_HOST",), "127.0.0.1", "address to bind"),
    Setting("server.port", ("PAYONCE_PORT",), 8080, "port to bind; 0 takes a free one", 0, 65535),
    Setting("server.mode", ("PAYONCE_MODE",), "test", "test or live", choices=("test", "live")),
    Setting("server.drain_s", ("PAYONCE_DRAIN_S",), 20, "seconds that calls in flight get after SIGTERM", 1, 600),
    Setting(
        "server.log_level",
        ("PAYONCE_LOG_LEVEL",),
        "info",
        "least level that is logged",
        choices=("debug", "info", "warning", "error"),
    ),
    Setting(
        "server.log_format",
        ("PAYONCE_LOG_FORMAT",),
        "auto",
        "json, text, or auto (text on a terminal)",
        choices=("auto", "json", "text"),
    ),
    Setting("store.data_dir", ("PAYONCE_DATA_DIR",), "payonce-data", "folder of the payments and sandbox files"),
    Setting("store.path", ("PAYONCE_STORE_PATH",), "", "payments file; empty = payments.db in the data folder"),
    Setting(
        "store.busy_timeout_ms", ("PAYONCE_BUSY_TIMEOUT_MS",), 3000, "how long a write waits for another process", 1, 60_000
    ),
    Setting("worker.concurrency", ("PAYONCE_WORKER_CONCURRENCY",), 64, "payments worked on at once per process", 1, 4096),
    Setting(
        "worker.poll_ms",
        ("PAYONCE_POLL_MS",),
        500,
        "how often the due index is looked at for other processes' work",
        20,
        60_000,
    ),
    Setting("payments.attempts_max", ("PAYONCE_ATTEMPTS_MAX", "MAX_RETRIES"), 3, "attempts per payment in total", 1, 20),
    Setting(
        "payments.late_success",
        ("PAYONCE_LATE_SUCCESS",),
        "refund",
        "money that arrives after FAILED: give it back or accept it",
        choices=("refund", "accept"),
    ),
)

# Keys of [providers.NAME] that are not credentials; times shorten the adapter's own in test mode only.
CALL_TIMEOUT_MS_MAX: Final = 120_000  # a lease lasts a little longer than a call
TERM_S_MAX: Final = 31 * 86_400
PROVIDER_KEYS: Final = ("adapter", "mode", "base_url", "credential_id", "timeout_ms", "horizon_s", "watch_s", "settle_s")
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


class Value(NamedTuple):
    value: str | int
    origin: str


class ProviderConfig(Struct, frozen=True, kw_only=True):
    """One [providers.NAME]: an account of an adapter. ``credentials`` are references (env:, file:), never values."""

    name: str
    adapter: str
    mode: Mode
    base_url: str
    credential_id: str
    credentials: dict[str, str]
    terms: dict[str, int | tuple[int, ...]]
    origin: str


class Settings(Struct, frozen=True, kw_only=True):
    """Everything configured, each value with its origin."""

    values: dict[str, Value]
    providers: tuple[ProviderConfig, ...]
    file: str

    def text(self, key: str) -> str:
        return str(self.values[key].value)

    def number(self, key: str) -> int:
        return int(self.values[key].value)

    @property
    def mode(self) -> Mode:
        return "live" if self.text("server.mode") == "live" else "test"

    @property
    def data_dir(self) -> Path:
        return Path(self.text("store.data_dir"))

    @property
    def store_path(self) -> Path:
        return Path(self.text("store.path") or self.data_dir / "payments.db")

    @property
    def ledger_path(self) -> Path:
        """The sandbox's ledger: a file of its own, never touched by the store."""
        return self.data_dir / "sandbox-ledger.db"


def load(
    flags: Mapping[str, str | int | None] | None = None, env: Mapping[str, str] | None = None, file: str | Path | None = None
) -> Settings:
    """Settings from flags, environment and file, in that order. ``flags`` are named like SETTINGS keys; None = not
    given. Raises ConfigError naming the value, its origin, and the fix."""
    env = env or {}
    path = _file(file or env.get("PAYONCE_CONFIG"))
    toml = _toml(path)
    origin = str(path) if path else "no file"
    values = {s.key: _value(s, flags or {}, env, toml, origin) for s in SETTINGS}
    _refuse_unknown_env(env)
    _refuse_unknown_toml(toml, origin)
    mode: Mode = "live" if values["server.mode"].value == "live" else "test"
    providers = tuple(_provider(name, table, mode, origin) for name, table in toml.get("providers", {}).items())
    if not providers and mode == "test":
        providers = (_provider("mock", {}, mode, "default"),)
    return Settings(values=values, providers=providers, file=origin)


def resolve_secret(reference: str, env: Mapping[str, str], where: str) -> str:
    """The value behind ``env:NAME`` or ``file:PATH``. Raises ConfigError; the value itself is never in a message."""
    require_reference(reference, where)
    kind, _, name = reference.partition(":")
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


def require_reference(reference: str, where: str) -> None:
    """Raises ConfigError for what is neither ``env:NAME`` nor ``file:PATH``; it may be a secret, so it is not shown."""
    kind, _, name = reference.partition(":")
    if kind not in ("env", "file") or not name:
        raise ConfigError(f"{where}: write env:NAME or file:PATH; a secret itself does not belong into the configuration.")


def warnings_of(settings: Settings) -> list[str]:
    """What is allowed and probably not meant, each in one sentence or two for whoever starts the server."""
    found = []
    host = settings.text("server.host")
    if not is_loopback(host):
        sandbox = any(p.base_url.startswith(SANDBOX_URL) for p in settings.providers)
        faults = ", and make the sandbox fail (/sandbox/faults)" if sandbox else ""
        found.append(
            f"server.host is {host}: there is no authentication yet, so whoever reaches this port can post and read "
            f"payments{faults}. Bind 127.0.0.1, or put something in front that lets in only whom you trust."
        )
    if settings.mode == "live" and not any(p.mode == "live" for p in settings.providers):
        found.append(
            "server.mode is live and there is no live provider account: every payment will be refused (no_route). "
            "Add [providers.NAME] to payonce.toml, or use test mode."
        )
    return found


def is_loopback(host: str) -> bool:
    """Only this machine reaches it. A name that is not localhost may resolve to anything."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _file(file: str | Path | None) -> Path | None:
    if file is None:
        return Path(FILE_NAME) if Path(FILE_NAME).is_file() else None
    if not Path(file).is_file():
        raise ConfigError(f"There is no configuration file {file}. Create it or drop the option.")
    return Path(file)


def _toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Make it readable for payonce.") from error
    except ValueError as error:  # TOML, UTF-8, or a number too long to convert
        raise ConfigError(f"{path} is not valid TOML: {error}. Nothing was started.") from error
    if table.get("version") != 1:
        raise ConfigError(f"{path}: the first line must be `version = 1`.")
    return table


def _value(s: Setting, flags: Mapping[str, Any], env: Mapping[str, str], toml: Mapping[str, Any], file: str) -> Value:
    section, _, name = s.key.partition(".")
    if flags.get(s.key) is not None:
        return _checked(s, flags[s.key], "flag")
    for variable in s.env:
        if env.get(variable, "") != "":
            return _checked(s, env[variable], f"environment {variable}")
    table = toml.get(section, {})
    if isinstance(table, dict) and name in table:
        return _checked(s, table[name], file)
    return Value(s.default, "default")


def _checked(s: Setting, raw: object, origin: str) -> Value:
    def bad(rule: str) -> ConfigError:
        return ConfigError(f"{s.key} ({origin}) {_ended(rule)} Nothing was started.")

    if isinstance(s.default, int):
        digits = str(raw) if isinstance(raw, str) or type(raw) is int else ""
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= DIGITS_MAX and s.low <= int(digits) <= s.high):
            raise bad(f"must be a whole number from {s.low} to {s.high}")
        return Value(int(digits), origin)
    if not isinstance(raw, str):
        raise bad("must be a string")
    if s.choices:
        raw = raw.lower()
        if raw not in s.choices:
            raise bad(f"must be one of {', '.join(s.choices)}" + _suggest(raw, s.choices))
    elif s.default and not raw.strip():
        raise bad("must not be empty")
    return Value(raw, origin)


def _refuse_unknown_env(env: Mapping[str, str]) -> None:
    known = {"PAYONCE_CONFIG", *(name for s in SETTINGS for name in s.env)}
    for name in env:
        if name.startswith("PAYONCE_") and name not in known and not name.startswith("PAYONCE_SECRET_"):
            raise ConfigError(f"The environment variable {name} {_unknown(name, known)} Unset or correct it.")


def _refuse_unknown_toml(toml: Mapping[str, Any], file: str) -> None:
    sections: dict[str, set[str]] = {}
    for s in SETTINGS:
        section, _, name = s.key.partition(".")
        sections.setdefault(section, set()).add(name)
    for section, table in toml.items():
        if section in ("version", "providers"):
            continue
        if section not in sections:
            raise ConfigError(f"{file}: [{section}] {_unknown(section, [*sections, 'providers'])}")
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {section} must be a table: [{section}].")
        for name in table:
            if name not in sections[section]:
                raise ConfigError(f"{file}: {section}.{name} {_unknown(name, sections[section])}")


def _suggest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _unknown(word: str, known: Any) -> str:
    return _ended(f"is not known{_suggest(word, known)}")


def _ended(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a broken address
        return False


def _provider(name: str, table: object, mode: Mode, origin: str) -> ProviderConfig:
    where = f"{origin}: providers.{name}"
    if not isinstance(table, dict) or not all(isinstance(v, str | int) and not isinstance(v, bool) for v in table.values()):
        raise ConfigError(f"{where} must be a table of strings and whole numbers.")
    account_mode = str(table.get("mode", mode))
    if account_mode not in ("test", "live"):
        raise ConfigError(f"{where}.mode must be test or live.")
    base_url = str(table.get("base_url", "")).rstrip("/")
    sandboxed = base_url in ("", "sandbox") or base_url.startswith(SANDBOX_URL)
    if sandboxed and account_mode == "live":
        raise ConfigError(f"{where}: the sandbox is refused in live mode. Give the provider's base_url and credentials.")
    if _is_http(base_url) and urlsplit(base_url).username is not None:
        raise ConfigError(f"{where}.base_url must not hold a user or password: it is stored with every payment.")
    if account_mode == "live" and not base_url.startswith("https://"):
        raise ConfigError(f"{where}.base_url must begin with https:// in live mode. Nothing was started.")
    if not sandboxed and not _is_http(base_url):
        raise ConfigError(f"{where}.base_url must begin with http:// or https:// and name a host. Nothing was started.")
    adapter = str(table.get("adapter", name.removesuffix("_mock")))
    credentials = {k: str(v) for k, v in table.items() if k not in PROVIDER_KEYS}
    for key, value in credentials.items():
        require_reference(value, f"{where}.{key}")
    terms = dict(SANDBOX_TERMS) if sandboxed else {}
    for key, field in (
        ("timeout_ms", "call_timeout_ms"),
        ("horizon_s", "horizon_s"),
        ("watch_s", "watch_s"),
        ("settle_s", "settle_s"),
    ):
        if key in table:
            if account_mode == "live" and key != "timeout_ms":
                raise ConfigError(f"{where}.{key} can be changed in test mode only: in live mode the provider's facts count.")
            most = CALL_TIMEOUT_MS_MAX if key == "timeout_ms" else TERM_S_MAX
            if not isinstance(table[key], int) or not 1 <= table[key] <= most:
                raise ConfigError(f"{where}.{key} must be a whole number from 1 to {most}.")
            terms[field] = table[key]
    return ProviderConfig(
        name=name,
        adapter=adapter,
        mode="live" if account_mode == "live" else "test",
        base_url=f"{SANDBOX_URL}/{adapter}" if sandboxed else base_url,
        credential_id=str(table.get("credential_id", "sandbox" if sandboxed else ",".join(sorted(credentials.values())))),
        credentials=credentials,
        terms=terms,
        origin=origin,
    )
