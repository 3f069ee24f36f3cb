"""One payment's rows as a form to be filled in: whatever differs between copies of a history has a place in its texts. And what
copies are called: ids, keys, references, by arithmetic alone."""

import re
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Final

import apsw
import msgspec
from msgspec.structs import replace

from payonce.core.payment import Payment
from payonce.figures import SPAN_US, of_payment
from payonce.stores.sqlite import tallies as counting

from .examples import START_US

DAY_US: Final = 24 * SPAN_US["hour"]
SPREAD_US: Final = 30 * DAY_US  # from the first payment to the last
END_US: Final = START_US + SPREAD_US
DIGITS: Final = 12  # of a provider's reference
# What differs between copies, as it stands in an example's texts.
WORDS: Final = re.compile(
    rb"(?P<id>0[0-9a-hjkmnp-tv-z]{19}(?=\d{4}\b|\b))|(?P<us>\b17[5-9]\d{13}\b)|(?P<s>\b17[5-9]\d{7}\b)|(?P<hash>\b[0-9a-f]{64}\b)"
    rb"|(?P<ref>ch_\d{12})|(?P<key>key-\d{28})|(?P<void>void-\d{27})|(?P<order>order-\d{9})"
    rb"|(?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b)"
)
ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
TWO: Final = [a + b for a in ALPHABET for b in ALPHABET]  # the digits of ten bits

Make = Callable[[list[Any]], bytes]
Rows = list[tuple[Any, ...]]


class Numbers:
    """What the ``n``-th of ``count`` payments is called, all by arithmetic."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.step = next(k for k in range(int(count * 0.618) | 1, 10 * count + 3, 2) if coprime(k, count))
        self.back = pow(self.step, -1, count) if count > 1 else 0

    def at_us(self, n: int) -> int:
        return START_US + SPREAD_US * n // self.count

    def id(self, n: int) -> str:
        """Without ``pay_``: 48 bits of milliseconds, then bits that look like chance."""
        number = (self.at_us(n) // 1000) << 52 | (n * 0x9E3779B97F4A7) & (1 << 52) - 1
        return "".join([TWO[number >> bits & 1023] for bits in (90, 80, 70, 60, 50, 40, 30, 20, 10, 0)])

    def place(self, n: int) -> int:
        """Where its key and its references are in their order."""
        return n * self.step % self.count

    def at_place(self, place: int) -> int:
        return place * self.back % self.count

    def key(self, place: int) -> str:
        return f"key-{place * (10**28 // self.count):028d}"

    def void(self, place: int) -> str:
        return f"void-{place * (10**27 // self.count):027d}"

    def ref(self, place: int, which: int) -> str:
        return f"ch_{place * (10**DIGITS // self.count) + which:012d}"


def coprime(a: int, b: int) -> bool:
    while b:
        a, b = b, a % b
    return a == 1


# --- one example ----------------------------------------------------------------------------------------------------------


class Slots:
    """The places of one example's texts where copies differ, numbered."""

    def __init__(self, id: str, refs: list[str], began_us: int) -> None:
        self.id, self.began_us = id.encode(), began_us
        self.names: dict[tuple[str, Any], int] = {}
        for name in ("id", "key", "void", "order"):
            self.number(name)
        for which in range(len(refs)):
            self.number("ref", which)
        self.refs = {ref.encode(): which for which, ref in enumerate(refs)}
        self.hashes: dict[bytes, tuple[str, Any]] = {}

    def number(self, name: str, what: Any = "") -> int:
        return self.names.setdefault((name, what), len(self.names))

    def text(self, raw: bytes) -> Make:
        """What writes a copy of these bytes, given the values of all slots."""
        numbers, parts, end = list[int](), list[bytes](), 0
        for found in WORDS.finditer(raw):
            slot = self._slot(str(found.lastgroup), found[0], raw[max(0, found.start() - 3) : found.start()])
            if slot is None:
                continue
            parts += [raw[end : found.start()].replace(b"%", b"%%"), b"%d" if found.lastgroup in ("us", "s") else b"%b"]
            numbers.append(slot)
            end = found.end()
        form = b"".join(parts) + raw[end:].replace(b"%", b"%%")
        if not numbers:
            return lambda _: raw
        if len(numbers) == 1:
            only = numbers[0]
            return lambda values: form % values[only]
        pick = itemgetter(*numbers)
        return lambda values: form % pick(values)

    def _slot(self, kind: str, word: bytes, before: bytes) -> int | None:
        if kind == "id":
            return self.number("id") if word == self.id else self.number("op", word) if before == b"op_" else None
        if kind == "us":
            return self.number("us", int(word) - self.began_us)
        if kind == "s":
            return self.number("s", int(word) - self.began_us // 1_000_000)
        if kind == "hash":
            return self.number(*self.hashes[word]) if word in self.hashes else None
        if kind == "ref":
            return self.number("ref", self.refs[word])
        return self.number(kind, word[:24] if kind == "uuid" else "")


class Stamp:
    """An example with all of its rows, ready to be copied."""

    def __init__(self, connection: apsw.Connection, id: str) -> None:
        def rows(table: str, columns: str, order: str = "1") -> Rows:
            name = "id" if table in ("payments", "due") else "payment_id"
            return list(connection.execute(f"SELECT {columns} FROM {table} WHERE {name} = ? ORDER BY {order}", (id,)))  # noqa: S608

        (self.row,) = rows("payments", "*")
        self.payment = p = msgspec.json.decode(self.row[-1], type=Payment)
        self.own = (p.merchant_id, p.mode)
        refs = rows("refs", "value, account, kind")
        self.theirs = [ref for ref in refs if ref[0].startswith("ch_")]
        slots = Slots(id[4:], [ref[0] for ref in self.theirs], p.created_us)
        bodies, events = rows("bodies", "sha256, bytes", "rowid"), rows("events", "seq, raw, hash, news", "seq")
        slots.hashes = {name.encode(): ("body", k) for k, (name, _) in enumerate(bodies)}
        slots.hashes |= {hash.encode(): ("hash", seq) for seq, _, hash, _ in events}
        self.bodies = [(slots.number("body", k), slots.text(raw)) for k, (_, raw) in enumerate(bodies)]
        self.events = [(seq, slots.number("hash", seq), slots.text(raw), bool(news)) for seq, raw, _, news in events]
        self.document = slots.text(self.row[-1])
        self.ours = [(slots.text(ref[0].encode()), *ref[1:]) for ref in refs if ref not in self.theirs]
        self.keys = [
            (operation, v, slots.text(key.encode()), slots.text(request))
            for key, operation, v, request in rows("keys", "key, operation, request_v, request")
        ]
        self.is_due = bool(rows("due", "id"))
        asked = msgspec.json.decode(rows("keys", "request", "operation")[0][0])
        words = asked["details"]["metadata"].values()
        self.labels = [counting.label(word) for word in words if not word.startswith("order-")]
        self.declines = [code for (code,) in rows("declines", "code")]
        self.updated_us = p.updated_us - p.created_us
        self.news = sum(news for *_, news in self.events)
        self.size = len(slots.names)
        self.times = [(slot, name, of) for (name, of), slot in slots.names.items() if name in ("us", "s")]
        self.uuids = [(slot, of) for (name, of), slot in slots.names.items() if name == "uuid"]
        self.operations = [slot for (name, _), slot in slots.names.items() if name == "op"]
        self.tallies = [replace(t, at_us=t.at_us - p.created_us) for t in of_payment(p)]

    def values(self, numbers: Numbers, n: int, id: str, at_us: int) -> list[Any]:
        """Of all slots but those of digests."""
        place = numbers.place(n)
        values: list[Any] = [b""] * self.size
        values[0], values[1], values[2] = id.encode(), numbers.key(place).encode(), numbers.void(place).encode()
        values[3] = b"order-%09d" % n
        for which in range(len(self.theirs)):
            values[4 + which] = numbers.ref(place, which).encode()
        for slot, name, of in self.times:
            values[slot] = at_us + of if name == "us" else at_us // 1_000_000 + of
        for slot, start in self.uuids:
            values[slot] = b"%b%012x" % (start, n)
        for k, slot in enumerate(self.operations):
            values[slot] = (id[:10] + (id[10 + k :] + id[10 : 10 + k])[::-1]).encode()
        return values

    def counted(self, at_us: int) -> "Iterator[counting.Added]":
        return counting.added(self.payment, (replace(t, at_us=t.at_us + at_us) for t in self.tallies))
