"""What lies beside a payment's log: bodies (customer data, request bodies) and the references it is known under. Bodies can be
taken out of it without touching the log, which holds their digests only.

Small ones travel in the row; a body that is big, even packed, gets an item of its own. When the row's part grows too big it is
moved into an item as a whole, and the row's next part names it: a chain, walked only for what is not found in the row."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from payonce.core.errors import InvariantViolated
from payonce.core.events import digest
from payonce.ports import Ref

from . import packing
from .items import beside_key, body_key, packed_put

# A body in the row costs a little at every write after it, an item of its own one write unit once. The row of a plain success
# stays below 1 KB with these; see docs/aws.md for the count.
INLINE_MAX: Final = 256  # bytes of a packed body
PART_MAX: Final = 1024  # bytes of the packed part in the row
NAME_CHARS: Final = 32
ITEM_BODY_MAX: Final = 380_000  # bytes of a packed body: an item has at most 400 KB


class Part(Struct, frozen=True, array_like=True):
    """``bodies`` by content, their names follow from it; ``away``: digests of bodies in items of their own; ``refs`` are
    (account, kind, value); ``older`` names the part before."""

    bodies: tuple[bytes, ...] = ()
    away: tuple[bytes, ...] = ()
    refs: tuple[tuple[str, str, str], ...] = ()
    older: str = ""

    def named(self) -> dict[str, bytes]:
        """The bodies in it under their names."""
        return {digest(body): body for body in self.bodies}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Part).decode


def part_of(packed: bytes) -> Part:
    """Raises NewerSchema, InvariantViolated for damage."""
    if not packed:
        return Part()
    try:
        return _decode(packing.unpack(packed))
    except msgspec.MsgspecError as e:
        raise InvariantViolated(f"what lies beside a log is unreadable: {e}. Run `payonce verify`.") from e


def extended(
    table: str, payment_id: str, packed: bytes, bodies: Mapping[str, bytes], refs: tuple[Ref, ...]
) -> tuple[bytes, list[dict[str, Any]]]:
    """The row's part with more in it, and what has to be put before it is written; without anything new it is the same
    bytes."""
    part = part_of(packed)
    kept, names = part.named(), {name.hex() for name in part.away}
    inline: list[bytes] = []
    away: list[bytes] = []
    puts: list[dict[str, Any]] = []
    for sha256, body in bodies.items():
        if sha256 in kept or sha256 in names:
            continue
        small = packing.pack(body)
        if len(small) <= INLINE_MAX:
            inline.append(body)
            continue
        if len(small) > ITEM_BODY_MAX:
            raise InvariantViolated(
                f"a body of {payment_id} has {len(body)} bytes, too many to be stored. Nothing was written."
            )
        away.append(bytes.fromhex(sha256))
        puts.append(packed_put(table, body_key(payment_id, sha256), small))
    new = [(r.account, r.kind, r.value) for r in dict.fromkeys(refs) if (r.account, r.kind, r.value) not in part.refs]
    if not inline and not away and not new:
        return packed, []
    add = Part(tuple(inline), tuple(away), tuple(new))
    whole = packing.pack(_encode(_joined(part, add)))
    if len(whole) <= PART_MAX or not packed:
        return whole, puts
    name = digest(packed)[:NAME_CHARS]
    puts.append(packed_put(table, beside_key(payment_id, name), packed))
    return packing.pack(_encode(Part(add.bodies, add.away, add.refs, name))), puts


def _joined(part: Part, add: Part) -> Part:
    return Part((*part.bodies, *add.bodies), (*part.away, *add.away), (*part.refs, *add.refs), part.older)


def naming(value: str, account: str | None) -> Callable[[Part], bool]:
    """Whether a part has this reference."""
    return lambda part: any(v == value and account in (None, a) for a, _, v in part.refs)
