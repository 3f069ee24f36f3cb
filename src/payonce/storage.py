"""Where payments are kept: one SQLite file, or the tables of DynamoDB, as the settings say. What each needs is loaded when it
is opened, so that a process pays only for what it uses."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec import Struct

from .awsapi import Aws, Busy, Denied, Done, Lost
from .awsclient.opening import NOTHING, open_aws, unusable
from .config import Settings
from .core.errors import ConfigError, StoreUnavailable
from .core.events import Entry
from .core.payment import Payment
from .figures import Figures
from .hold import FileHold, Hold, RecordHold
from .mail import Inbox, Outbox
from .ports import Clock, FeedPage, Filters, KeyRow, Page, Registry, Scope, Store

if TYPE_CHECKING:
    from .stores.dynamodb.tables import Role, Tables

SETTING_OF: Final[Mapping[str, str]] = {
    "transactions": "store.transactions_table",
    "idempotency": "store.idempotency_table",
    "registry": "store.registry_table",
}
SHARDS_KIND: Final = "store"  # of the record in the registry that says over how many shards the indexes were ever spread
SHARDS_NAME: Final = "shards"
RACES_MAX: Final = 20


class ReadStore(Protocol):
    """What whoever only looks may ask; see ``ports.Store``. ``registry``, ``inbox``, ``outbox`` and ``figures`` need
    not take writes."""

    @property
    def registry(self) -> Registry: ...
    @property
    def inbox(self) -> Inbox: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def figures(self) -> Figures: ...

    async def get(self, payment_id: str) -> Payment | None: ...
    async def find_key(self, scope: Scope, key: str) -> KeyRow | None: ...
    async def find_ref(self, value: str, account: str | None = None) -> tuple[str, ...]: ...
    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]: ...
    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]: ...
    async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page: ...
    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage: ...
    async def next_due(self) -> int | None: ...
    async def due_of(self, payment_id: str) -> int | None:
        """When a worker will look at the payment; None when nothing is owed any more."""

    async def counts(self) -> Mapping[str, int]: ...
    async def check(self) -> str:
        """ "ok", or what is wrong with the file or the tables."""

    async def close(self) -> None: ...


class OpenStore(Store, ReadStore, Protocol):
    """An open store: payments, and what a process needs beside them."""

    async def retry_trouble(self) -> str:
        """Why the last write was refused, after another try that changes nothing; "" when writes are taken."""


class Kept(Struct, frozen=True):
    """An open store with the mark that holds its processes, and the client where it is at AWS."""

    store: OpenStore
    hold: Hold
    aws: Aws | None = None


class Shown(Struct, frozen=True):
    """The same, opened to look only."""

    store: ReadStore
    hold: Hold
    aws: Aws | None = None


@asynccontextmanager
async def opened(settings: Settings, clock: Clock, aws: Aws | None = None, *, checked: bool = True) -> AsyncIterator[Kept]:
    """Open the store until the block ends; a file that is not there is made. ``aws``: a client that is open already, and stays
    open. ``checked`` False: tables are not looked at first, so what is wrong with them shows at the first use.

    Raises ConfigError, NewerSchema, StoreUnavailable: nothing was started then."""
    async with AsyncExitStack() as stack:
        if settings.on_dynamodb:
            door = await stack.enter_async_context(aws_client(clock)) if aws is None else aws
            kept = await _dynamodb(settings, clock, door, checked=checked)
        else:
            kept = await _sqlite(settings)
        stack.push_async_callback(kept.store.close)
        if settings.on_dynamodb and checked:
            await keep_shards(kept.store.registry, settings)
        yield kept


@asynccontextmanager
async def opened_to_read(settings: Settings, clock: Clock) -> AsyncIterator[Shown]:
    """Open the store that is there, to look only: a read-only backup of the file does. Raises ConfigError, NewerSchema,
    StoreUnavailable."""
    if settings.on_dynamodb:
        async with aws_client(clock) as aws, AsyncExitStack() as stack:
            kept = await _dynamodb(settings, clock, aws, checked=True)
            stack.push_async_callback(kept.store.close)
            await require_shards(kept.store.registry, settings)
            yield Shown(kept.store, kept.hold, kept.aws)
        return
    from .stores.sqlite import open_to_read

    store = await open_to_read(settings.store_path, busy_timeout_ms=settings.number("store.busy_timeout_ms"))
    try:
        yield Shown(store, FileHold(settings.store_path, settings.mode))
    finally:
        await store.close()


@asynccontextmanager
async def aws_client(clock: Clock) -> AsyncIterator[Aws]:
    """A client until the block ends."""
    aws = open_aws(clock)
    try:
        yield aws
    finally:
        await aws.close()


async def _sqlite(settings: Settings) -> Kept:
    from .stores.sqlite import open_store

    make_folder(settings, settings.store_path.parent)
    store = await open_store(settings.store_path, busy_timeout_ms=settings.number("store.busy_timeout_ms"))
    return Kept(store, FileHold(settings.store_path, settings.mode))


def make_folder(settings: Settings, *folders: Path) -> None:
    """The data folder, and others. Raises ConfigError."""
    try:
        for folder in (settings.data_dir, *folders):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"store.data_dir: cannot make {settings.data_dir}: {error.strerror}. Name another folder.") from error


# --- DynamoDB -----------------------------------------------------------------------------------------------------------


def tables_of(settings: Settings) -> "Tables":
    """The names that the settings give."""
    from .stores.dynamodb.tables import Tables

    names = {role: settings.text(key) for role, key in SETTING_OF.items()}
    return Tables(**names, shards=settings.number("store.index_shards"))


async def _dynamodb(settings: Settings, clock: Clock, aws: Aws, *, checked: bool) -> Kept:
    from .stores.dynamodb import open_store

    tables = tables_of(settings)
    if checked:
        await check_tables(aws, tables)
    store = open_store(aws, clock, tables)
    return Kept(store, RecordHold(store.registry, clock, settings.mode), aws)


async def require_shards(registry: Registry, settings: Settings) -> tuple[int, int]:
    """The largest number of shards with which the tables were ever opened to be written, and the version of the record that
    says so; 0 and 0 when none does. Raises ConfigError when the settings have fewer: what lies in the others would not be
    seen. Raises StoreUnavailable."""
    most, version = 0, 0
    for record in await registry.all(SHARDS_KIND):
        if record.name == SHARDS_NAME:
            try:
                most, version = msgspec.json.decode(record.value, type=int), record.version
            except msgspec.DecodeError as error:
                raise ConfigError(f"The registry's record {SHARDS_KIND}/{SHARDS_NAME} is no number. {NOTHING}") from error
    configured = settings.number("store.index_shards")
    if configured < most:
        raise ConfigError(
            f"store.index_shards is {configured} and was {most}; set PAYONCE_INDEX_SHARDS={most} or more: with fewer, part of "
            f"the payments would not be seen. {NOTHING}"
        )
    return most, version


async def keep_shards(registry: Registry, settings: Settings) -> None:
    """The same, and the record is raised to the number of the settings. For who writes; where tables are not looked at when
    they are opened (``checked`` False) somebody has to call it later. Raises ConfigError, StoreUnavailable."""
    configured = settings.number("store.index_shards")
    for _ in range(RACES_MAX):
        most, version = await require_shards(registry, settings)
        if configured == most or await registry.put(SHARDS_KIND, SHARDS_NAME, msgspec.json.encode(configured), version):
            return
    raise StoreUnavailable(f"The record of the number of shards is being changed by others all the time. {NOTHING} Try again.")


async def check_tables(aws: Aws, tables: "Tables") -> None:
    """Each table is there, has the right keys, and may be read. It reads a row that cannot exist: no right is needed for it
    that payonce does not need anyway. Raises ConfigError, StoreUnavailable."""
    from .stores.dynamodb.tables import CREATE

    async def look(role: "Role") -> None:
        definition = CREATE[role]
        types = {each["AttributeName"]: each["AttributeType"] for each in definition["AttributeDefinitions"]}
        nobody = {"S": "payonce: is the table there?", "B": b"?", "N": "0"}
        names = [each["AttributeName"] for each in definition["KeySchema"]]
        params = {"TableName": tables.named(role), "Key": {n: {types[n]: nobody[types[n]]} for n in names}}
        answer = await aws.call("dynamodb", "GetItem", params)
        if isinstance(answer, Busy | Lost) and unusable(answer) is None:  # once more, for what a network does
            answer = await aws.call("dynamodb", "GetItem", params)
        if error := unusable(answer):
            raise error
        match answer:
            case Denied():
                raise _wrong(role, tables.named(role), answer)
            case Busy(code=why) | Lost(reason=why):
                raise StoreUnavailable(f"DynamoDB does not answer ({why}). {NOTHING} Check the network and AWS_ENDPOINT_URL.")
            case Done():
                return

    await asyncio.gather(*(look(role) for role in CREATE))


def _wrong(role: str, name: str, answer: Denied) -> ConfigError:
    at = f"{SETTING_OF[role]}: the DynamoDB table {name}"
    if answer.code == "ResourceNotFoundException":
        return ConfigError(
            f"{at} is not there in this account and region. Correct the name or the region, or deploy the template. {NOTHING}"
        )
    if answer.code == "ValidationException":
        return ConfigError(f"{at} has other keys than payonce's {role} table: it is another table. Correct the name. {NOTHING}")
    if answer.code in ("AccessDeniedException", "AccessDenied"):
        return ConfigError(f"{at} may not be read with these credentials: allow dynamodb:GetItem on it. {NOTHING}")
    return ConfigError(f"{at} cannot be used: {answer.code}: {answer.message} {NOTHING}")
