"""What must hold of the tables when a world on DynamoDB is over: read from the model itself, item by item, against the books of
what was committed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from payonce.awsapi import Answer, Done, Service
from payonce.core import ids
from payonce.core.payment import Payment
from payonce.ports import Fed, Ref, Scope
from payonce.stores.dynamodb import open_store, packing
from payonce.stores.dynamodb.items import EVENT, ref_put
from payonce.testing.amazon import Item, Table, item_size

from .cloud import Cloud, Plainly, WorldClock
from .cloud_books import Books

if TYPE_CHECKING:
    from .world import World

ITEM_BYTES_MAX: Final = 100_000  # nothing comes near the 400 KB of AWS
STRAYS_MAX: Final = 3
EVER_US: Final = 2**62
LATER_US: Final = 864_000_000_000  # ten days: no clock of a world is as wrong


async def judge_cloud(world: "World") -> None:
    """Histories, due times, references, keys, bodies, sizes, and the feed."""
    cloud = world.cloud_of()
    books, table = cloud.books, cloud.model.dynamodb.tables[cloud.tables.transactions]
    items = [item for _, item in table.all()]
    for item in items:
        if item_size(item) > ITEM_BYTES_MAX:
            world.violate(f"{item['item']['S']} has {item_size(item)} bytes", item["transactionId"]["S"])
    rows = cloud.rows()
    if rows.keys() != books.history.keys():
        world.violate(f"I2: rows without a commit, or commits without a row: {sorted(rows.keys() ^ books.history.keys())}")
        return
    for id, row in rows.items():
        _judge_log(world, books, row, [i for i in items if i["transactionId"]["S"] == id and i["item"]["S"].startswith(EVENT)])
        if (int(row["due"]["N"]) if "due" in row else None) != books.due[id]:
            world.violate(f"I13: it is due at {books.due[id]}, and the row says otherwise", id)
        held = await cloud.reader.bodies([(id, name) for name in books.bodies[id]])
        if held != {(id, name): body for name, body in books.bodies[id].items()}:
            world.violate("I8: a body that was committed is not kept", id)
        if any(i["item"]["S"].startswith(EVENT) for i in items if i["transactionId"]["S"] == id):
            await _judge_torn(world, cloud, id)
    await _judge_due(world, books, rows, table)
    await _judge_refs(world, cloud, items)
    await _judge_keys(world, cloud)
    await _judge_feed(world, cloud)


def _judge_log(world: "World", books: Books, row: Item, segments: list[Item]) -> None:
    """The log in the row, with its older parts, is the committed history, byte for byte, once."""
    id, found, logs = row["transactionId"]["S"], dict[int, bytes](), list[tuple[int, bytes]]()
    logs += [(int(each["item"]["S"].removeprefix(EVENT)), each["log"]["B"]) for each in segments]
    logs.append((int(row["logFrom"]["N"]) if "logFrom" in row else 1, row["log"]["B"]))
    for first, log in logs:
        for seq, (raw, _) in enumerate(packing.raws(packing.unpack(log)), first):
            if found.setdefault(seq, raw) != raw:
                world.violate(f"I14: event {seq} lies there twice, and differs", id)
    wanted = {entry.envelope.seq: entry.raw for entry in books.history[id]}
    if found != wanted:
        wrong = sorted(seq for seq in found.keys() | wanted.keys() if found.get(seq) != wanted.get(seq))
        world.violate(f"I14: the stored history is not the committed one: events {wrong}", id)
    world.counts["a log in parts"] += bool(segments)


class _Torn(Plainly):
    """Its first query of a payment misses the newest of the older parts: they were read just before it was written."""

    torn = False

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        answer = await super().call(service, operation, params)
        if self.torn or operation != "Query" or not isinstance(answer, Done):
            return answer
        self.torn = True
        items = answer.body["Items"]
        return Done({**answer.body, "Items": [*items[:-2], items[-1]]})


async def _judge_torn(world: "World", cloud: Cloud, id: str) -> None:
    """A history that moves while it is read is read again."""
    store = open_store(_Torn(cloud), WorldClock(world), cloud.tables)
    found = [entry.raw for entry in await store.history(id)]
    if found != [entry.raw for entry in cloud.books.history[id]][:1000]:
        world.violate("I14: a history that moves while it is read is read wrong", id)


async def _judge_due(world: "World", books: Books, rows: dict[str, Item], table: Table) -> None:
    """Whoever is due stands in the index, at that time or before it, and nobody else; and is found."""
    stands = {}
    for _, entry in table.indexes["due"].entries(world.now_us()):
        if (id := entry["transactionId"]["S"]) in rows:
            stands[id] = int(entry["dueAt"]["N"])
    wanted = {id: due_us for id, due_us in books.due.items() if due_us is not None}
    for id in sorted(stands.keys() | wanted.keys()):
        if id not in wanted or id not in stands or stands[id] > wanted[id]:
            world.violate(f"I13: due at {wanted.get(id)}, and the due index says {stands.get(id)}", id)
    reader = world.cloud_of().reader
    found = [(due.due_us, due.payment_id) for due in await reader.due(EVER_US, len(wanted) + 1)]
    if found != sorted((due_us, id) for id, due_us in wanted.items()):
        world.violate(f"I13: due are {sorted(wanted)}, and found are {[id for _, id in found]}")
    if await reader.next_due() != min(wanted.values(), default=None):
        world.violate("I13: the next due time is another one")


async def _judge_refs(world: "World", cloud: Cloud, items: list[Item]) -> None:
    """Each reference leads home; an item that names a payment which never took the reference leads nowhere."""
    home: dict[tuple[str, str], set[str]] = {}
    for id, refs in cloud.books.refs.items():
        for ref in refs:
            home.setdefault((ref.account, ref.value), set()).add(id)
    for (account, value), wanted in home.items():
        found = set(await cloud.reader.find_ref(value, account))
        if missing := wanted - found:
            world.violate(f"it is not found under {value} at {account}", min(missing))
        if strange := [id for id in sorted(found - wanted) if id != ids.payment_of(value)]:
            world.violate(f"it is found under {value} at {account}, which it never took", strange[0])
    await _judge_strays(world, cloud, home)
    for item in items:
        pk, sk = item["transactionId"]["S"], item["item"]["S"]
        if not pk.startswith("ref#"):
            continue
        value, id = pk.removeprefix("ref#"), sk.rpartition("#")[2]
        if id not in {home_id for (_, v), there in home.items() if v == value for home_id in there}:
            world.counts["a reference of nobody"] += 1
            if id in await cloud.reader.find_ref(value):
                world.violate(f"it is found under {value}, which no commit gave it", id)


async def _judge_strays(world: "World", cloud: Cloud, home: Mapping[tuple[str, str], set[str]]) -> None:
    """What a process leaves behind that died before its commit: the item of a reference, and no row that has it."""
    for (account, value), wanted in list(home.items())[:STRAYS_MAX]:
        stray = next((id for id in sorted(cloud.books.history) if id not in wanted and id != ids.payment_of(value)), None)
        if stray is not None:
            cloud.model.table_call("PutItem", ref_put(cloud.tables.transactions, Ref(account, "charge", value), stray))
            if stray in await cloud.reader.find_ref(value, account):
                world.violate(f"it is found under {value} at {account}, because of an item that no commit followed", stray)


async def _judge_keys(world: "World", cloud: Cloud) -> None:
    """As many keys as were committed, each with its payment."""
    table = cloud.model.dynamodb.tables[cloud.tables.idempotency]
    stored = sorted(item["paymentId"]["S"] for _, item in table.all())
    if stored != sorted(id for id, keys in cloud.books.keys.items() for _ in keys):
        world.violate(f"I6: the keys of {stored} are stored, others were committed")
    for id, keys in cloud.books.keys.items():
        p: Payment | None = await cloud.reader.get(id)
        if p is None:
            world.violate("I6: a key stands for a payment that is not there", id)
            continue
        for key in keys:
            scope = Scope(p.merchant_id, p.mode)
            if await cloud.reader.find_key(scope, key.key) != key:
                world.violate(f"I6: the key {key.key} does not stand for what was committed", id)


class _Later(WorldClock):
    """When nothing that was announced can be under way any more."""

    def now_us(self) -> int:
        return super().now_us() + LATER_US


async def _judge_feed(world: "World", cloud: Cloud) -> None:
    """Whoever reads the feed sees each event that was committed with news, and nothing that never was."""
    reader = open_store(Plainly(cloud), _Later(world), cloud.tables)
    for scope, wanted in cloud.books.news.items():
        page = await reader.feed(scope, 100)
        found = set[Fed](page.entries)
        while page.more:
            page = await reader.feed(scope, 100, page.next)
            found |= set(page.entries)
        for fed in sorted(found ^ wanted, key=lambda fed: (fed.payment_id, fed.seq)):
            says = "it has no place in the feed" if fed in wanted else "the feed shows what nobody committed"
            world.violate(f"event {fed.seq}: {says}", fed.payment_id)
        world.counts["places in the feed"] += len(found)
