"""The journal beside what it tells of: each merchant, key and endpoint on record was made by an act that the journal has, and
is what that act said. A record that was put in, changed or revived without an act is found, and so is a journal that was cut.

What a key's secret is the journal does not say, nor where an endpoint's messages go now: changes of those are not found.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from payonce.core.redact import mask
from payonce.merchants import KIND as MERCHANT
from payonce.merchants import read as merchant_of
from payonce.merchants.issuing import time_of
from payonce.merchants.journal import Act, Looked, look
from payonce.merchants.keys import KIND as KEY
from payonce.merchants.keys import ApiKey
from payonce.merchants.keys import read as key_of
from payonce.outbound.endpoints import KIND as ENDPOINT
from payonce.outbound.endpoints import SCHEMA, Endpoint
from payonce.ports import Clock, Record, Registry

from .output import counted

KINDS: Final = (MERCHANT, KEY, ENDPOINT)
UNDER_WAY_US: Final = 60_000_000  # an act may be on the journal so long before it is done; also for clocks that differ
SAID_MAX: Final = 100  # differences that are told; the rest is only counted
SHOWN_CHARS: Final = 80  # of a value on record, which may be anything

Acts = Mapping[str, Sequence[Act]]  # by what they were done to


class Compared(Struct, frozen=True):
    """``looked`` is the journal; ``problems`` are those of its chain and what its entries and the records disagree about."""

    looked: Looked
    problems: tuple[str, ...]


async def compared(registry: Registry, clock: Clock) -> Compared:
    """Read all of it. Others may write meanwhile: the records are read first, so that their entries are there. Raises
    StoreUnavailable."""
    records = [(kind, await registry.all(kind)) for kind in KINDS]
    looked = await look(registry)
    acts: dict[str, list[Act]] = {}
    for entry in looked.entries:
        acts.setdefault(entry.act.subject, []).append(entry.act)
    said = [
        problem for kind, found in records for record in found for problem in _differing(kind, record, acts, clock.now_us())
    ]
    told = said[:SAID_MAX] + ([f"{len(said) - SAID_MAX} more differ"] if len(said) > SAID_MAX else [])
    held = sum(len(found) for _, found in records)
    empty = [f"it is empty, and {counted(held, 'record')} that it should tell of are there: it was removed"]
    return Compared(looked, (*looked.problems, *(empty if held and not looked.head else []), *told))


def _differing(kind: str, record: Record, acts: Acts, now_us: int) -> Iterator[str]:
    """What a record and its acts disagree about."""
    name, own = f"{kind} {record.name[:SHOWN_CHARS]}", acts.get(mask(record.name), ())
    found = _read(kind, record)
    if found is None:
        yield f"{name}: its record is damaged or of a newer payonce, and was not compared"
        return
    made = next((act for act in own if act.what == f"{kind}.created"), None)  # the first: no later one makes it anew
    if made is None:
        yield f"{name}: it is on record, and there is no entry that it was created"
    else:
        for what, here, there in _pairs(found, made):
            if here != there:
                yield f"{name}: {what} {here[:SHOWN_CHARS]!r} on record, {there[:SHOWN_CHARS]!r} when it was created"
    if isinstance(found, ApiKey):
        for says in _end(found, own, now_us):
            yield f"{name}: {says}"


def _read(kind: str, record: Record) -> object | None:
    """What a record holds; None when that cannot be read here."""
    if kind == KEY:
        return key_of(record)
    if kind == MERCHANT:
        return merchant_of(record)
    try:
        endpoint = msgspec.json.decode(record.value, type=Endpoint)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return endpoint if endpoint.v <= SCHEMA and endpoint.id == record.name else None


def _pairs(found: object, made: Act) -> Iterator[tuple[str, str, str]]:
    """What may never change: its name, as on record, as it was made."""
    if isinstance(found, ApiKey | Endpoint):
        yield "merchant", found.merchant_id, made.merchant_id
        yield "mode", found.mode, made.mode
    if isinstance(found, ApiKey):
        yield "scopes", ",".join(found.scopes), str(made.data.get("scopes", ""))
        yield "expiry", _time(found.expires_us), str(made.data.get("expires_at", ""))
        yield "rate", str(found.rate_per_s), str(made.data.get("rate_per_s", ""))


def _end(key: ApiKey, own: Sequence[Act], now_us: int) -> Iterator[str]:
    """What is wrong with a key's end. It only ever moves closer, and a revocation ends the key at once."""
    revoked = [act for act in own if act.what == "key.revoked"]
    rotated = [act for act in own if act.what == "key.rotated"]
    ends = _time(key.ends_us)
    if key.ends_us:
        by_rotation = any(act.data.get("ends_at") == ends for act in rotated)
        if not by_rotation and not any(key.ends_us <= act.at_us + UNDER_WAY_US for act in revoked):
            yield f"it ends at {ends}, and there is no entry that it was revoked or rotated so"
    if key.successor and all(act.data.get("successor") != mask(key.successor) for act in rotated):
        yield f"its successor is {key.successor[:SHOWN_CHARS]!r}, and there is no entry of that rotation"
    done = [act for act in (*revoked, *rotated) if act.at_us + UNDER_WAY_US < now_us]
    if done and not key.ends_us:
        yield f"entry {done[0].seq} says {done[0].what}, and on record it has no end: revoke it"
    elif any(act.at_us + UNDER_WAY_US < min(key.ends_us, now_us) for act in revoked):
        yield f"it was revoked, and on record it ends at {ends} only: revoke it"


def _time(at_us: int) -> str:
    """As the journal writes it; what is no time, which damage may make, as it is."""
    try:
        return time_of(at_us)
    except (OverflowError, ValueError, OSError):
        return str(at_us)
