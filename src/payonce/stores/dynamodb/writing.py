"""Writing one change: one conditional write of the row, or one transaction of the row and an idempotency key.

    what the change names (older events, big bodies, references)      any number of times, harmless without the change
    where its news stand in the feed (see ``feed``)                   the same
    the row, if it is still at the version that the change expects    once; with a key: the row and the free key, or neither

A write whose answer is lost is sent again as it is. What became of it shows at the next answer: done, or refused because the
row has moved, and then the row's own events say by whom. The version only grows and no key is ever freed, so a copy of the
request that was held up on its way cannot be done a second time, or after somebody else's."""

import hashlib
from typing import Any, Final

import msgspec

from payonce.awsapi import PAUSE_S, TRIES_MAX, Busy, Denied, Done, Lost, insist
from payonce.core.errors import InvariantViolated, PayonceError, StoreUnavailable
from payonce.core.payment import SCHEMA
from payonce.ports import Change, Committed, Conflict, KeyRow, Scope, Unclear
from payonce.stores.rows import check_change, check_continues

from . import items
from .asking import CANCELED, CONDITION, NOTHING, Item, get_item, number, passing, put_early, reasons, refused, update
from .changing import Written, deferred, written
from .feed import Feed
from .items import Row
from .reading import Reading, entries_of

AGE_MAX_US: Final = 120_000_000  # of one call of commit: later its caller is gone
LOST_MAX: Final = 3  # lost answers to one write; each may have taken a whole timeout
ROUNDS_MAX: Final = 4  # new starts of one write, because what lies beside the log was changed under it
TOKEN_CHARS: Final = 36  # of a ClientRequestToken at most (API reference, TransactWriteItems, read 2026-11)


class Writing:
    """Writes of one store."""

    def __init__(self, reading: Reading, feed: Feed) -> None:
        self._aws, self._clock, self._tables, self._reading = reading.aws, reading.clock, reading.tables, reading
        self._feed, self._calls = feed, 0

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        """See ``payonce.ports.Store.commit``."""
        check_change(change, expected_version)
        self._calls += 1
        attempt = _Attempt(self._reading, self._feed, change, expected_version, self._calls)
        try:
            return await attempt.run()
        except PayonceError:
            if attempt.lost:  # whatever is wrong now: an earlier request may be done, or may be yet
                return Unclear()
            raise

    async def defer(self, payment_id: str, version: int, due_us: int | None) -> bool:
        """See ``payonce.ports.Store.defer``. It holds only while the due time is the one seen here: a copy of the request that
        comes late does not undo a later one."""
        known = self._reading.known.get(payment_id)
        row = known.row if known is not None and known.row.version == version else await self._reading.row(payment_id)
        for _ in range(ROUNDS_MAX):
            if row is None or row.version != version:
                return False
            after = deferred(row, due_us)
            request = self._deferral(row, after)
            match await insist(self._aws, self._clock, "dynamodb", "UpdateItem", request):
                case Done():
                    self._reading.known.keep(after)
                    return True
                case Denied(code=code, body=body) if code == CONDITION:
                    row = self._reading.seen(body["Item"]) if body.get("Item") else None
                    if row is not None and row.version == version and row.due_us == due_us:
                        return True  # by an earlier copy of this very request, or as it was already
                case Denied() as denied:
                    raise refused(denied, "UpdateItem")
        raise StoreUnavailable("The due time is being moved by others all the time. It was not moved here; try again.")

    def _deferral(self, row: Row, after: Row) -> dict[str, Any]:
        condition, given = "#version = :was AND #schema <= :schema", {"was": number(row.version)}
        given["schema"] = number(SCHEMA)
        condition += " AND attribute_not_exists(#due)" if row.due_us is None else " AND #due = :wasDue"
        if row.due_us is not None:
            given["wasDue"] = number(row.due_us)
        columns = items.due_columns(after, self._tables.shards)
        return update(self._tables.transactions, items.row_key(row.id), columns, condition, given)


class _Attempt:
    """One call of ``commit``. ``lost``: at least one request went out that may be done without our knowing."""

    def __init__(self, reading: Reading, feed: Feed, change: Change, expected: int, ordinal: int) -> None:
        self._aws, self._clock, self._tables, self._reading = reading.aws, reading.clock, reading.tables, reading
        self._feed, self._announced = feed, False
        self._change, self._expected, self._number = change, expected, ordinal
        p = change.payment
        self._scope = Scope(p.merchant_id, p.mode)
        self.lost = False
        self._began = self._clock.now_us(), self._clock.monotonic_us()

    async def run(self) -> Committed | Conflict | Unclear:
        change = self._change
        row = await self._before()
        for _ in range(ROUNDS_MAX):
            if (row.version if row else 0) != self._expected:
                return await self._moved(row)
            check_continues(change, row.head if row else "")
            new = written(change, row, self._tables)
            for put in new.early:
                await put_early(self._aws, self._clock, put)
            if change.news and not self._announced:
                await self._feed.announce(change)
                self._announced = True
            answer = await self._send(new)
            match answer:
                case Done():
                    self._reading.known.keep(new.row, change.payment)
                    return Committed()
                case Denied():
                    outcome, row = await self._refused(answer)
                    if outcome is not None:
                        return outcome
                case str():
                    raise StoreUnavailable(f"DynamoDB is busy ({answer}). {NOTHING} Send it again.")
        raise StoreUnavailable(f"The row of {change.payment.id} is being changed by others all the time. {NOTHING}")

    async def _before(self) -> Row | None:
        """The row that the change continues, as far as it is known; a new payment has none."""
        if self._expected == 0:
            return None
        known = self._reading.known.get(self._change.payment.id)
        at = (self._expected, self._change.entries[0].envelope.prev)
        if known is not None and (known.row.version, known.row.head) == at:
            return known.row
        return await self._reading.row(self._change.payment.id)

    async def _send(self, new: Written) -> Done | Denied | str:
        """Send until there is an answer, at most a few times; else why there is none."""
        operation, request = self._request(new)
        pause_s, said, losses = PAUSE_S, "", 0
        for tried in range(1, TRIES_MAX + 1):
            match await self._aws.call("dynamodb", operation, request):
                case Done() as done:
                    return done
                case Denied() as denied if passing(denied, 2):
                    said = denied.code
                case Denied() as denied:
                    return denied
                case Busy(code=code):
                    said = code
                case Lost(reason=reason):
                    self.lost, said, losses = True, reason, losses + 1
            if losses == LOST_MAX or tried == TRIES_MAX:
                break
            await self._clock.sleep(pause_s)
            pause_s *= 2
            if self._aged():
                break
        return said

    def _aged(self) -> bool:
        """It began so long ago, by either clock (a freeze), that nobody waits for it any more: nothing is sent again."""
        aged = (now - then for now, then in zip((self._clock.now_us(), self._clock.monotonic_us()), self._began, strict=True))
        return max(aged) > AGE_MAX_US

    def _request(self, new: Written) -> tuple[str, dict[str, Any]]:
        if self._change.key is None:
            return "UpdateItem", new.update
        put = items.key_put(self._tables.idempotency, self._scope, self._change.key)
        actions = [{"Update": new.update}, {"Put": put}]
        return "TransactWriteItems", {"TransactItems": actions, "ClientRequestToken": self._token(actions)}

    def _token(self, actions: list[dict[str, Any]]) -> str:
        """The same for every copy of one request, another for any other: DynamoDB does what has one token once, and refuses
        it with another content (for ten minutes; conditions hold for ever)."""
        seen = hashlib.sha256(msgspec.msgpack.encode(actions, order="deterministic"))
        seen.update(f"{self._number} {self._clock.now_us()}".encode())  # two calls that ask the same are two
        return seen.hexdigest()[:TOKEN_CHARS]

    async def _refused(self, answer: Denied) -> tuple[Committed | Conflict | Unclear | None, Row | None]:
        """What a refusal means: the end of this call, or None and the row to start again from."""
        row_said, key_said = self._said(answer)
        if key_said is not None and self._change.key is not None:
            return await self._taken(self._change.key, key_said), None
        if row_said is None:
            raise refused(answer, "the change")
        item = row_said.get("Item")
        row = self._reading.seen(item) if item else None
        first = self._change.entries[0].envelope
        if row is not None and row.version == self._expected and row.head == first.prev:
            return None, row  # only what lies beside the log was changed
        return await self._moved(row), None

    def _said(self, answer: Denied) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """What failed: the row's condition, the key's condition, with the items that were there."""
        if answer.code == CONDITION:
            return answer.body, None
        if answer.code != CANCELED:
            return None, None
        row, key = (r if r.get("Code") == "ConditionalCheckFailed" else None for r in reasons(answer, 2))
        return row, key

    async def _moved(self, row: Row | None) -> Committed | Conflict:
        """The row is at another version. A taken key counts more than that."""
        if self.lost and await self._ours(row):
            return Committed()
        if self._change.key is not None:
            taken = await self._reading.find_key(self._scope, self._change.key.key)
            if taken is not None:
                return Conflict(key=taken)
        return Conflict(payment=None if row is None else await self._reading.payment(row))

    async def _taken(self, wanted: KeyRow, reason: dict[str, Any]) -> Committed | Conflict:
        """The key stands for something. After a lost answer that may be this very change."""
        taken = await self._key(wanted.key, reason.get("Item"))
        mine = self._change.payment.id
        if self.lost and taken.payment_id == mine and await self._ours(await self._reading.row(mine)):
            return Committed()
        return Conflict(key=taken)

    async def _key(self, key: str, item: Item | None) -> KeyRow:
        if item is None:
            item = await get_item(self._aws, self._clock, self._tables.idempotency, items.key_key(self._scope, key))
        if item is None:
            raise InvariantViolated("an idempotency key that was taken is free again. Nothing was written; please report it.")
        return items.key_of(key, item)

    async def _ours(self, row: Row | None) -> bool:
        """Whether the last event of this change is in the stored history."""
        p = self._change.payment
        if row is None or row.version < p.version:
            return False
        if row.version == p.version:
            return row.head == p.head
        if p.version >= row.log_from:
            return entries_of(row.id, row.log, row.log_from)[p.version - row.log_from].hash == p.head
        found = await self._reading.history(p.id, p.version - 1, 1)
        return bool(found) and found[0].hash == p.head
