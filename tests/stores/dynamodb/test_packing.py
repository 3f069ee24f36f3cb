"""Packed bytes: small, exact, and readable for ever."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import Entry, digest
from payonce.stores.dynamodb import packing
from payonce.testing.store_changes import accept, fire_event, grow, note_event, success_event

PINNED = "8cea0b6d2ec7ff6ef242348308d101da2ed0ad20061688cb1ba9abadb903bee9"


def entries() -> tuple[Entry, ...]:
    """A plain success."""
    first = accept(1, key="order-1")
    fired = grow(first.payment, fire_event(first.payment))
    paid = grow(fired.payment, success_event(fired.payment))
    return (*first.entries, *fired.entries, *paid.entries)


def test_the_dictionary_never_changes() -> None:
    """Everything that was ever packed in version 1 needs these very bytes. To change them, add version 2 and keep this one."""
    assert packing.VERSION == 1
    assert digest(packing.DICTIONARY) == PINNED
    assert len(packing.DICTIONARY) <= 32_768  # what DEFLATE can look back to


def test_what_was_packed_once_can_be_read() -> None:
    """Bytes that an earlier run of this version made."""
    once = bytes.fromhex("012375bcd85ca91600")
    assert packing.unpack(once) == b'{"payment_method":"tok_ok","description":"Order 7"}'


@given(st.binary(max_size=5000))
@settings(max_examples=200)
def test_any_bytes_come_back(data: bytes) -> None:
    """pack and unpack are each other's inverse, for what is no event, too."""
    assert packing.unpack(packing.pack(data)) == data


def test_a_log_keeps_the_exact_bytes() -> None:
    """Only the hashes that follow from the bytes before them are left out, and they come back."""
    chain = entries()
    log = packing.lines(chain, first=True)
    assert packing.raws(log) == tuple((e.raw, e.hash) for e in chain)
    later = packing.lines(chain[1:], first=True)
    assert packing.raws(later) == tuple((e.raw, e.hash) for e in chain[1:])
    joined = packing.lines(chain[:1], first=True) + b"\n" + packing.lines(chain[1:], first=False)
    assert joined == log
    assert all(e.hash.encode() not in log for e in chain)


def test_a_plain_success_is_small() -> None:
    """What a row of 1 KB is built on: three events in at most 400 bytes, a quarter of their size."""
    chain = entries()
    assert len(packing.pack(packing.lines(chain, first=True))) <= 400
    assert sum(len(e.raw) for e in chain) > 1_500


def test_an_event_that_names_another_one_before_is_refused() -> None:
    """What would come back as other bytes is not packed."""
    first = accept(1)
    (entry,) = grow(first.payment, note_event()).entries
    odd = Entry(entry.raw + b" ", digest(entry.raw + b" "), entry.envelope)
    with pytest.raises(InvariantViolated, match="Nothing was written"):
        packing.lines((first.entries[0], odd), first=True)


def test_damage_is_seen() -> None:
    """Cut, lengthened and altered bytes are damage, or unpack to something else, which the hashes then show."""
    packed = packing.pack(b"x" * 100 + bytes(range(200)))
    for broken in (b"", b"\x00", packed[:-1], packed[:5], packed + b"\x00", b"\x01" + b"\xff" * 20):
        with pytest.raises(InvariantViolated, match="payonce verify"):
            packing.unpack(broken)


def test_a_later_version_is_left_alone() -> None:
    """Bytes of a version that is not known here: NewerSchema."""
    with pytest.raises(NewerSchema, match="newer payonce"):
        packing.unpack(bytes((packing.VERSION + 1,)) + packing.pack(b"x")[1:])


def test_bytes_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that unpack to more than is ever stored are not unpacked to the end."""
    monkeypatch.setattr(packing, "UNPACKED_MAX", 1_000)
    with pytest.raises(InvariantViolated):
        packing.unpack(packing.pack(bytes(100_000)))


def test_the_dictionary_holds_nobodys_data() -> None:
    """No digest, no id, no reference: nothing that belongs to one payment or merchant."""
    text = packing.DICTIONARY.decode("ascii")
    squeezed = zlib.compress(packing.DICTIONARY, 9)
    assert len(squeezed) > 1_500  # it is words, not repetition
    assert not [word for word in text.replace('"', " ").split() if len(word) >= 24 and word.isalnum() and not word.isalpha()]
