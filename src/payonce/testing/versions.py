"""Another release's code beside today's, in one interpreter: so that an old and a new process can run on one payments file.

    old = load("tests/releases/0.1.0/code.zip")
    new = today()
    store = await old.open_store(path, executor="inline")
    engine = old.Engine(old.Ports(store=store, ...), old.accounts, old.Policy(), rules=old.rules, health=old.Health(...))

Everything that a process is built from must come from one code: a class of the one is never a class of the other, though
both are called ``payonce...``. What a transport answers an old engine must be the old ``Response`` or ``Lost``.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

PACKAGE: Final = "payonce"
# module below payonce -> the names that a process is built from; each is a field of ``Code``
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "bootstrap": ("App",),
    "dispatch": ("Account",),
    "engine": ("Engine", "Policy", "Ports"),
    "health": ("Health",),
    "process": ("Worker",),
    "ports": ("Committed", "Conflict", "Lost", "Response", "Scope", "Unclear"),
    "stores.sqlite": ("open_store",),
    "core.errors": ("ConfigError", "InvariantViolated", "NewerSchema", "Refused", "StoreUnavailable"),
    "core.idempotency": ("Details", "NewPayment"),
    "core.events": ("Planned",),
    "core.payment": ("Terms",),
    "core.routing": ("Rule", "Rules", "When"),
    "core.apply": ("fold",),
}


class Code(Struct, frozen=True, kw_only=True, eq=False):
    """One release. Its names are untyped here: they are another package's, of the same shape as far as the releases agree."""

    version: str
    file_schema: int  # the newest payments file that it opens: how many migrations it knows
    row_schema: int  # the newest payment and event that it reads
    accounts: Mapping[str, Any]  # name -> Account: the shipped ones, at the sandbox
    rules: Any  # Rules: the shipped ones
    modules: Mapping[str, ModuleType]  # everything that was imported, by full name: for what has no field here

    App: Any
    Account: Any
    Engine: Any
    Policy: Any
    Ports: Any
    Health: Any
    Worker: Any
    Committed: Any
    Conflict: Any
    Lost: Any
    Response: Any
    Scope: Any
    Unclear: Any
    open_store: Any
    ConfigError: Any
    InvariantViolated: Any
    NewerSchema: Any
    Refused: Any
    StoreUnavailable: Any
    Details: Any
    NewPayment: Any
    Planned: Any
    Terms: Any
    Rule: Any
    Rules: Any
    When: Any
    fold: Any

    def __repr__(self) -> str:
        return f"Code({self.version!r})"


@cache
def today() -> Code:
    """The package that runs now."""
    return _collect()


def load(path: str | Path) -> Code:
    """Import the release that ``path`` holds: a zip of its ``src``, or that folder. Today's modules are what they were
    afterwards. Takes half a second, once for each path. Not while another thread imports.

    Raises ImportError when there is no payonce, or when it lacks a name that a process is built from."""
    return _load(str(Path(path).resolve()))


@cache
def _load(path: str) -> Code:
    with _in_place_of_today(path):
        return _collect()


@contextmanager
def _in_place_of_today(path: str) -> Iterator[None]:
    """``import payonce`` means what is in ``path`` until the end; its modules stay alive in whoever holds them."""
    ours = _take_out()
    sys.path.insert(0, path)
    invalidate_caches()
    try:
        found = import_module(PACKAGE)
        if not Path(str(found.__file__)).is_relative_to(path):
            raise ImportError(f"{path} holds no package {PACKAGE}: {found.__file__} was found instead. Nothing was loaded.")
        yield
    finally:
        sys.path.remove(path)
        _take_out()
        sys.modules.update(ours)


def _take_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]
    return {name: sys.modules.pop(name) for name in names}


def _collect() -> Code:
    named = {name: getattr(_module(home), name, None) for home, names in NAMES.items() for name in names}
    if missing := [name for name, value in named.items() if value is None]:
        raise ImportError(f"this {PACKAGE} has no {', '.join(missing)}: say in NAMES where they are now. Nothing was loaded.")
    # What is read from the package's own folder by name has to be read now: later that name is today's again.
    scripts = _module("stores.sqlite.schema").migrations()
    accounts, rules = _shipped()
    found = {name: module for name, module in sys.modules.items() if name == PACKAGE or name.startswith(PACKAGE + ".")}
    return Code(
        version=import_module(PACKAGE).__version__,
        file_schema=len(scripts),
        row_schema=_module("core.payment").SCHEMA,
        accounts=accounts,
        rules=rules,
        modules=found,
        **named,
    )


def _module(name: str) -> Any:
    return import_module(f"{PACKAGE}.{name}")


def _shipped() -> tuple[dict[str, Any], Any]:
    """The accounts and rules of this package's own payonce.toml. Adapters are its own modules: the entry points of this
    environment name today's."""
    file = _module("tomlfile").shipped()
    configured = _module("accounts").read_accounts(file, "test")
    per_currency, default = _module("rules").read_high_value(file)
    rules = _module("core.routing").Rules(
        rules=_module("rules").read_rules(file, {p.name: p.mode for p in configured}, "test"),
        high_value_minor=per_currency,
        high_value_default_minor=default,
    )
    return {p.name: _account(p) for p in configured}, rules


def _account(p: Any) -> Any:
    adapter = _module(f"providers.{p.adapter}").ADAPTER
    return _module("dispatch").Account(
        name=p.name,
        adapter=adapter,
        mode=p.mode,
        base_url=p.base_url,
        credential_id=p.credential_id,
        credentials=adapter.credentials_of(adapter.SANDBOX_CREDENTIALS),
        terms=replace(adapter.CAPABILITIES.terms, **p.terms),
    )
