"""What a change makes of a row: pure, from what is stored to what is written."""

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from payonce.core import ids
from payonce.core.events import Observed
from payonce.core.payment import SCHEMA, Payment
from payonce.figures import metadata_in
from payonce.ports import Change, Ref, Scope
from payonce.stores.rows import needs_eyes, provider_of

from . import items, packing
from .asking import binary, number, text, update
from .beside import extended, part_of
from .items import Row, due_columns
from .reading import shown
from .tables import Tables, spread

# The newest events of a payment lie in its row and cost with every write; when they would pass this, all older ones move into
# an item of their own, for one write. Two KB: a usual payment never gets there, and a long one pays 2 units a write at most.
LOG_MAX: Final = 1_400  # bytes of the packed log in the row
CLAIM: Final = "Planned"  # the event that is followed by the answer to its call
SLACK_US: Final = 60_000_000  # how much earlier than the due time a row may stand in the due index


class Written(Struct, frozen=True):
    """``early`` are the puts that have to be done before, ``update`` is the write, ``row`` what is stored after it."""

    row: Row
    early: list[dict[str, Any]]
    update: dict[str, Any]


def written(change: Change, before: Row | None, tables: Tables) -> Written:
    """The write of a change that continues ``before`` (None: a new payment)."""
    p, table = change.payment, tables.transactions
    log, log_from, early = _log(change, before, table)
    own = shown(p)
    refs = tuple(r for r in change.refs if (r.account, r.kind, r.value) not in own)
    beside, puts = extended(table, p.id, before.beside if before else b"", change.bodies, refs)
    early += puts + [items.ref_put(table, ref, p.id) for ref in _unseen(change, before)]
    row = Row(
        id=p.id,
        version=p.version,
        head=p.head,
        log=log,
        log_from=log_from,
        beside=beside,
        due_us=change.due_us,
        due_at_us=_due_at(before, change.due_us, claim=change.entries[-1].envelope.kind == CLAIM),
        status=p.status,
        provider=_said_provider(p, before),
    )
    columns = _columns(row, p) | due_columns(row, tables.shards)
    columns |= _notice(change, tables.shards)
    kept = {"noticeFrom": number(change.news[0])} if change.notify else {}  # what was not told yet stays
    given: dict[str, Any] = {}
    if before is None:
        early += [items.label_put(tables, p, value) for value in sorted(metadata_in(change))]
        columns = {name: value for name, value in columns.items() if value is not None} | _born(p, tables)
        condition = "attribute_not_exists(#transactionId)"
    else:
        condition = "#version = :was AND #schema <= :known"
        given = {"was": number(before.version), "known": number(SCHEMA)}
        if beside == before.beside:
            del columns["beside"]  # whoever takes a body out of it meanwhile is not undone
        elif before.beside:
            condition, given = condition + " AND #beside = :beforeBeside", given | {"beforeBeside": binary(before.beside)}
        else:
            condition += " AND attribute_not_exists(#beside)"
    return Written(row, early, update(table, items.row_key(p.id), columns, condition, given, kept=kept))


def deferred(row: Row, due_us: int | None) -> Row:
    """The row with another due time."""
    return replace(row, due_us=due_us, due_at_us=_due_at(row, due_us, claim=False))


def _log(change: Change, before: Row | None, table: str) -> tuple[bytes, int, list[dict[str, Any]]]:
    if before is None:
        return packing.pack(packing.lines(change.entries, first=True)), 1, []
    longer = packing.pack(packing.unpack(before.log) + b"\n" + packing.lines(change.entries, first=False))
    if len(longer) <= LOG_MAX:
        return longer, before.log_from, []
    moved = items.segment_put(table, before.id, before.log_from, before.version, before.log)
    return packing.pack(packing.lines(change.entries, first=True)), before.version + 1, [moved]


def _due_at(before: Row | None, due_us: int | None, *, claim: bool) -> int | None:
    """Where the due index has the row: where it was, if that is at most a little too early; moving it costs two writes. A
    claim leaves it in any case: the answer moves it again, seconds later."""
    if due_us is None:
        return None
    was = before.due_at_us if before else None
    if was is None or was > due_us:
        return due_us
    return was if claim or due_us <= was + SLACK_US else due_us


def _notice(change: Change, shards: int) -> dict[str, Any]:
    if not change.notify:
        return {}
    told = next(e.envelope.at_us for e in change.entries if e.envelope.seq == change.news[-1])
    return items.notice_columns(change.payment.id, told, shards)


def _said_provider(p: Payment, before: Row | None) -> str:
    """What the list index says of the provider: it is told along with the status, and says nothing rather than something
    old. Rows that say nothing are looked at."""
    now = provider_of(p)
    if before is None or before.status != p.status:
        return now
    return now if before.provider == now else ""


def _columns(row: Row, p: Payment) -> dict[str, Any]:
    return {
        "version": number(row.version),
        "head": binary(bytes.fromhex(row.head)),
        "schema": number(p.schema),
        "log": binary(row.log),
        "logFrom": number(row.log_from) if row.log_from > 1 else None,
        "beside": binary(row.beside) if row.beside else None,
        "status": text(row.status),
        "provider": text(row.provider) if row.provider else None,
        "eyes": text(items.list_scope(Scope(p.merchant_id, p.mode))) if needs_eyes(p) else None,
    }


def _born(p: Payment, tables: Tables) -> dict[str, Any]:
    """What never changes."""
    scope = items.list_scope(Scope(p.merchant_id, p.mode))
    return {
        "listKey": text(f"{scope}#{spread(p.id, tables.shards):02d}"),
        "listed": binary(items.listed_at(p.created_us, p.id)),
        "currency": text(p.currency),
    } | ({"client": text(p.client_id)} if p.client_id else {})


def _unseen(change: Change, before: Row | None) -> list[Ref]:
    """Those that have no item yet to be found by: our own references need none, because they name their payment."""
    p = change.payment
    answered = frozenset(e.envelope.data.about for e in change.entries if isinstance(e.envelope.data, Observed))
    known = shown(p, but=answered) | set(part_of(before.beside).refs if before else ())
    new = dict.fromkeys(change.refs)
    return [r for r in new if (r.account, r.kind, r.value) not in known and ids.payment_of(r.value) != p.id]
