"""Configuration: flags > environment > payonce.toml > default. Every value knows its origin; unknown names are errors.

One table (SETTINGS) is the source of the environment names, ``payonce config show`` and docs/reference/settings.md.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from .accounts import (
    AWS_KINDS,
    PROVIDER_KEYS,
    SANDBOX_TERMS,
    SANDBOX_URL,
    SECRET_KINDS,
    ProviderConfig,
    read_accounts,
    resolve_secret,
)
from .core.errors import ConfigError
from .core.payment import Mode
from .core.routing import Rules
from .rules import merchant_warnings, read_high_value, read_rules
from .rules import warnings as rule_warnings
from .tomlfile import FILE_NAME, TomlFile, ended, read, shipped, suggest, unknown

__all__ = [
    "PROVIDER_KEYS",
    "SANDBOX_TERMS",
    "SANDBOX_URL",
    "SETTINGS",
    "TABLES",
    "ProviderConfig",
    "Setting",
    "Settings",
    "Value",
    "in_one_process",
    "is_loopback",
    "load",
    "resolve_secret",
    "warnings_of",
]

ELSEWHERE: Final = ("version", "providers", "rules", "routing")  # parts of the file that are no plain settings
DIGITS_MAX: Final = 18  # of a whole number; Python refuses to convert very long ones
PUBLIC_URL: Final = re.compile(r"https?://(?:[A-Za-z0-9.-]{1,200}|\[[0-9A-Fa-f:.]{2,50}\])(?::[0-9]{1,5})?(?:/[!-~]{0,100})?")
# Settings that are such addresses, with an example of each.
URLS: Final = {
    "server.public_url": "https://pay.example.com",
    "sandbox.url": "http://127.0.0.1:8090",
    "wake.queue_url": "https://sqs.example.com/123456789012/payonce",
    "wake.dead_letter_url": "https://sqs.example.com/123456789012/payonce-dead",
    "wake.deliveries_url": "https://sqs.example.com/123456789012/payonce-deliveries",
}
TABLES: Final = ("store.transactions_table", "store.idempotency_table", "store.registry_table")
ELSEWHERE_KEYS: Final = (
    *TABLES,
    "wake.queue_url",
    "wake.dead_letter_url",
    "wake.deliveries_url",
    "sandbox.url",
)  # what is not of this machine


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
    Setting(
        "server.public_url",
        ("PAYONCE_PUBLIC_URL",),
        "",
        "where customers' browsers reach this server, to come back to from a provider; empty = `payonce serve` gives its own "
        "address in test mode, else they go straight to the merchant",
    ),
    Setting(
        "server.keys",
        ("PAYONCE_KEYS",),
        "auto",
        "who needs an API key: auto (everybody, once there is a key of this mode; without any, whoever is on this machine is "
        "mer_default) or required (everybody, always); in live mode always required",
        choices=("auto", "required"),
    ),
    Setting(
        "server.dashboard",
        ("PAYONCE_DASHBOARD",),
        "on",
        "pages for people under /dashboard: on, or off (nothing is there)",
        choices=("on", "off"),
    ),
    Setting(
        "server.loop",
        ("PAYONCE_LOOP",),
        "auto",
        "event loop of processes that stay: auto (uvloop where it is installed), asyncio or uvloop",
        choices=("auto", "asyncio", "uvloop"),
    ),
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
    Setting(
        "store.transactions_table",
        ("PAYONCE_TRANSACTIONS_TABLE", "TRAN_TABLE"),
        "",
        "DynamoDB table of the payments; named, payments are kept there and not in a file",
    ),
    Setting(
        "store.idempotency_table",
        ("PAYONCE_IDEMPOTENCY_TABLE", "IDEM_TABLE"),
        "",
        "DynamoDB table of the idempotency keys; needed with store.transactions_table",
    ),
    Setting(
        "store.registry_table",
        ("PAYONCE_REGISTRY_TABLE",),
        "",
        "DynamoDB table of drain switches, breakers and the hold; needed with store.transactions_table",
    ),
    Setting(
        "store.index_shards",
        ("PAYONCE_INDEX_SHARDS",),
        16,
        "partitions over which DynamoDB's indexes are spread; may be raised at any time, never lowered",
        1,
        100,
    ),
    Setting(
        "wake.queue_url",
        ("PAYONCE_QUEUE_URL", "SQS_QUEUE_URL"),
        "",
        "SQS queue that is told which payments are due, by processes that have no worker of their own; it needs "
        "store.transactions_table",
    ),
    Setting(
        "wake.dead_letter_url",
        ("PAYONCE_DEAD_LETTER_URL",),
        "",
        "SQS queue of messages that no worker could handle, for `payonce dlq`",
    ),
    Setting(
        "wake.deliveries_url",
        ("PAYONCE_DELIVERIES_URL",),
        "",
        "SQS queue that is told which news and deliveries are due; without it they wait for the next sweep",
    ),
    Setting(
        "webhooks.signing_key",
        ("PAYONCE_WEBHOOK_SIGNING_KEY",),
        "",
        "where the key lies from which endpoints' secrets are derived: env:NAME, file:PATH, aws-secret:NAME or aws-ssm:NAME; "
        "empty = webhook-signing.key in the data folder, made when the first endpoint is registered (a store "
        "in DynamoDB needs one named)",
    ),
    Setting(
        "webhooks.allow_hosts",
        ("PAYONCE_WEBHOOK_ALLOW_HOSTS",),
        "",
        "hosts and networks, with commas between, that endpoints may have although they are private, and http too: "
        "127.0.0.1,localhost,10.1.0.0/16; empty = public addresses alone",
    ),
    Setting("webhooks.concurrency", ("PAYONCE_WEBHOOK_CONCURRENCY",), 16, "deliveries under way at once per process", 1, 1024),
    Setting("webhooks.timeout_ms", ("PAYONCE_WEBHOOK_TIMEOUT_MS",), 15_000, "how long an endpoint may take", 100, 30_000),
    Setting(
        "limits.key_rate_per_s",
        ("PAYONCE_KEY_RATE_PER_S",),
        100,
        "requests a second that one API key may make of one process, where the key says nothing else; a burst may have twice "
        "as many",
        1,
        100_000,
    ),
    Setting("limits.requests_max", ("PAYONCE_REQUESTS_MAX",), 1000, "requests handled at once per process", 1, 100_000),
    Setting("limits.connections_max", ("PAYONCE_CONNECTIONS_MAX",), 4000, "connections held open at once", 1, 100_000),
    Setting(
        "limits.backlog_max",
        ("PAYONCE_BACKLOG_MAX",),
        10_000,
        "payments overdue at which new ones are refused until workers have caught up; 0 = never",
        0,
        1_000_000,
    ),
    Setting(
        "sandbox.url",
        ("PAYONCE_SANDBOX_URL",),
        "",
        "where the sandbox runs as a server of its own (`payonce sandbox`), in test mode; empty = in this process",
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
    Setting(
        "payments.action_expires_s",
        ("PAYONCE_ACTION_EXPIRES_S",),
        1800,
        "how long a customer may act at a provider, where the request does not say",
        60,
        86_400,
    ),
)


class Value(NamedTuple):
    value: str | int
    origin: str


class Settings(Struct, frozen=True, kw_only=True):
    """Everything configured, each value with its origin."""

    values: dict[str, Value]
    providers: tuple[ProviderConfig, ...]
    file: str
    rules: Rules = Rules()
    rules_origin: str = ""
    high_value_origin: str = ""

    def text(self, key: str) -> str:
        return str(self.values[key].value)

    def number(self, key: str) -> int:
        return int(self.values[key].value)

    @property
    def mode(self) -> Mode:
        return "live" if self.text("server.mode") == "live" else "test"

    @property
    def return_to(self) -> str:
        """Where customers come back to from a provider, in front of the reference of their attempt; empty = not configured."""
        public_url = self.text("server.public_url").rstrip("/")
        return f"{public_url}/return/" if public_url else ""

    @property
    def data_dir(self) -> Path:
        return Path(self.text("store.data_dir"))

    @property
    def store_path(self) -> Path:
        return Path(self.text("store.path") or self.data_dir / "payments.db")

    @property
    def on_dynamodb(self) -> bool:
        """Payments are kept in DynamoDB's tables; else in the file ``store_path``."""
        return bool(self.text("store.transactions_table"))

    @property
    def kept_at(self) -> str:
        """Where payments are, in words for people."""
        table = self.text("store.transactions_table")
        return f"the DynamoDB table {table}" if table else str(self.store_path)

    @property
    def sandboxed(self) -> bool:
        """Some account pays at the sandbox."""
        return any(p.base_url.startswith(SANDBOX_URL) for p in self.providers)

    @property
    def sandbox_here(self) -> bool:
        """The sandbox runs in this process."""
        return self.sandboxed and not self.text("sandbox.url")

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
    toml = read(_file(file or env.get("PAYONCE_CONFIG") or None))
    values = {s.key: _value(s, flags or {}, env, toml) for s in SETTINGS}
    _refuse_unknown_env(env)
    _refuse_unknown_toml(toml)
    _refuse_half(values)
    return _routed(values, toml)


def in_one_process(settings: Settings, origin: str) -> Settings:
    """The same settings on this machine alone: the file and the sandbox in process, whatever tables, queues and servers are
    configured."""
    away = list(ELSEWHERE_KEYS)
    if settings.text("webhooks.signing_key").partition(":")[0] in AWS_KINDS:
        away.append("webhooks.signing_key")
    return replace(settings, values={**settings.values, **{key: Value("", origin) for key in away}})


def _refuse_half(values: Mapping[str, Value]) -> None:
    """One table without the others would keep payments without their keys; a sandbox takes no real money."""
    missing = [key for key in TABLES if not values[key].value]
    if missing and len(missing) < len(TABLES):
        there = next(key for key in TABLES if values[key].value)
        names = {s.key: s.env[0] for s in SETTINGS}
        wanted = " and ".join(f"{key} ({names[key]})" for key in missing)
        raise ConfigError(
            f"{there} ({values[there].origin}) is set, and {wanted} is not: payments on DynamoDB need all three tables. "
            "Name the missing one, or none. Nothing was started."
        )
    if values["sandbox.url"].value and values["server.mode"].value == "live":
        raise ConfigError(
            f"sandbox.url ({values['sandbox.url'].origin}) is refused in live mode: the sandbox moves no money. "
            "Unset it, or use test mode. Nothing was started."
        )


def _routed(values: dict[str, Value], toml: TomlFile) -> Settings:
    """The accounts and rules beside the plain settings. In test mode the shipped ones stand in for what the file has
    not: accounts, and rules where the accounts are the shipped ones. In live mode nothing is shipped."""
    mode: Mode = "live" if values["server.mode"].value == "live" else "test"
    providers, rules_from = read_accounts(toml, mode), toml
    if not providers and mode == "test":
        providers = read_accounts(shipped(), mode)
        rules_from = toml if "rules" in toml.table else shipped()
    rules = read_rules(rules_from, {p.name: p.mode for p in providers}, mode)
    per_currency, default = read_high_value(toml)
    return Settings(
        values=values,
        providers=providers,
        file=toml.name,
        rules=Rules(rules=rules, high_value_minor=per_currency, high_value_default_minor=default),
        rules_origin=rules_from.name if rules else "none: accounts in the order of the configuration",
        high_value_origin=toml.name if "routing" in toml.table else "default",
    )


def warnings_of(settings: Settings) -> list[str]:
    """What is allowed and probably not meant, each in one sentence or two for whoever starts the server."""
    found = []
    host = settings.text("server.host")
    if not is_loopback(host):
        found.append(
            f"server.host is {host}: API keys and payments travel in the clear on the way to it. Put something in front that "
            "speaks TLS, or bind 127.0.0.1."
        )
        if settings.sandbox_here:
            found.append(
                f"server.host is {host}, and the sandbox runs in this process: whoever reaches this port can act as the "
                "customer at its pages. It holds no real money."
            )
    if settings.mode == "live" and not any(p.mode == "live" for p in settings.providers):
        found.append(
            "server.mode is live and there is no live provider account: every payment will be refused (no_route). "
            "Add [providers.NAME] to payonce.toml, or use test mode."
        )
    if settings.on_dynamodb and settings.values["store.path"].value:
        found.append("store.path is not used: payments are kept in DynamoDB. Unset it, or the three tables.")
    if not settings.on_dynamodb and settings.text("wake.queue_url"):
        found.append("wake.queue_url is not used: payments are kept in a file, whose own workers find what is due.")
    if settings.mode == "live" and settings.text("webhooks.allow_hosts"):
        found.append(
            "webhooks.allow_hosts is set in live mode: merchants can have webhooks sent to these private hosts. Name only what "
            "is meant for them."
        )
    here = [p for p in settings.providers if p.mode == settings.mode]
    found += [
        f"The account {p.name} serves nobody (merchants = []): it takes no new payments. What is under way there is settled."
        for p in here
        if p.merchants == ()
    ]
    whose = {p.name: p.merchants for p in here}
    return found + rule_warnings(settings.rules, [p.name for p in here]) + merchant_warnings(settings.rules, whose)


def is_loopback(host: str) -> bool:
    """Only this machine reaches it. A name that is not localhost may resolve to anything."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _file(file: str | Path | None) -> Path | None:
    path = Path(FILE_NAME if file is None else file)
    if path.is_file():
        return path
    if path.exists() or path.is_symlink():
        what = "a folder" if path.is_dir() else "no file that can be read"
        raise ConfigError(
            f"{path} is {what}: the configuration must be a file. Rename it or name another. Nothing was started."
        )
    if file is not None:
        raise ConfigError(f"There is no configuration file {file}. Create it or drop the option.")
    return None


def _value(s: Setting, flags: Mapping[str, Any], env: Mapping[str, str], toml: TomlFile) -> Value:
    section, _, name = s.key.partition(".")
    if flags.get(s.key) is not None:
        return _checked(s, flags[s.key], "flag")
    for variable in s.env:
        if env.get(variable, "") != "":
            return _checked(s, env[variable], f"environment {variable}")
    table = toml.table.get(section, {})
    if isinstance(table, dict) and name in table:
        return _checked(s, table[name], toml.name)
    return Value(s.default, "default")


def _checked(s: Setting, raw: object, origin: str) -> Value:
    def bad(rule: str) -> ConfigError:
        return ConfigError(f"{s.key} ({origin}) {ended(rule)} Nothing was started.")

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
            raise bad(f"must be one of {', '.join(s.choices)}" + suggest(raw, s.choices))
    elif s.default and not raw.strip():
        raise bad("must not be empty")
    elif s.key in URLS and raw and ("?" in raw or "#" in raw or not PUBLIC_URL.fullmatch(raw)):
        raise bad(f"must be an http or https URL without user, query and fragment, such as {URLS[s.key]}")
    elif s.key == "webhooks.signing_key" and raw and raw.partition(":")[0] not in SECRET_KINDS:
        kinds = ", ".join(f"{kind}:NAME" for kind in SECRET_KINDS)
        raise bad(f"must be a reference ({kinds}); what stands there may be the key itself and is not repeated")
    return Value(raw, origin)


def _refuse_unknown_env(env: Mapping[str, str]) -> None:
    known = {"PAYONCE_API_KEY", "PAYONCE_CONFIG", "PAYONCE_VENDOR_SPECS", *(name for s in SETTINGS for name in s.env)}
    for name in env:
        if name.startswith("PAYONCE_") and name not in known and not name.startswith("PAYONCE_SECRET_"):
            raise ConfigError(f"The environment variable {name} {unknown(name, known)} Unset or correct it.")


def _refuse_unknown_toml(toml: TomlFile) -> None:
    sections: dict[str, set[str]] = {}
    for s in SETTINGS:
        section, _, name = s.key.partition(".")
        sections.setdefault(section, set()).add(name)
    for section, table in toml.table.items():
        if section in ELSEWHERE:
            continue
        if section not in sections:
            known = [*sections, *ELSEWHERE]
            raise ConfigError(f"{toml.place(section)}: [{section}] {unknown(section, known)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{toml.place(section)}: {section} must be a table: [{section}].")
        for name in table:
            if name not in sections[section]:
                raise ConfigError(f"{toml.place(section, name)}: {section}.{name} {unknown(name, sections[section])}")
