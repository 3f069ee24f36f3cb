"""The releases as they were kept (tools/release.py), and what must hold of their payments in every later version."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from payonce.core.apply import fold
from payonce.core.errors import InvariantViolated
from payonce.core.events import Entry, digest, unseal
from payonce.core.payment import Payment
from payonce.ports import Filters, Scope
from payonce.testing.judge import net_charges, of_payment, wrong_with_history, wrong_with_holds
from payonce.testing.versions import Code, load

from .world import World

HERE = Path(__file__).parent
MERCHANTS = ("mer_default", "mer_other")
AT_REST = ("SUCCESS", "FAILED", "CANCELED", "IN_DOUBT")


class Kept(NamedTuple):
    """One release: its folder, where and when it stopped, and each of its payments as it saw them."""

    folder: Path
    facts: Mapping[str, Any]
    payments: tuple[Mapping[str, Any], ...]

    @property
    def version(self) -> str:
        return str(self.facts["version"])

    @property
    def now_us(self) -> int:
        return int(self.facts["now_us"])

    def code(self) -> Code:
        return load(self.folder / "code.zip")

    def copy(self, folder: Path) -> Path:
        """Its files in a data folder of today's; the path of the payments file."""
        for name in ("payments.db", "sandbox-ledger.db"):
            shutil.copyfile(self.folder / name, folder / name)
        return folder / "payments.db"

    def of_key(self, key: str) -> Mapping[str, Any]:
        return next(each for each in self.payments if each["asked"]["key"] == key)


def releases() -> tuple[Kept, ...]:
    """Oldest first."""
    folders = [path.parent for path in HERE.glob("*/release.json")]
    return tuple(_read(f) for f in sorted(folders, key=lambda f: [int(n) for n in f.name.split(".")]))


def _read(folder: Path) -> Kept:
    lines = (folder / "histories.jsonl").read_text(encoding="utf-8").splitlines()
    facts = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    return Kept(folder, facts, tuple(json.loads(line) for line in lines))


# --- nothing was changed ------------------------------------------------------------------------------------------------


async def changed(store: Any, kept: Iterable[Mapping[str, Any]]) -> list[str]:
    """What an open store of today says otherwise than the release did: each event's bytes and hash, the row, and that the
    history still is the row."""
    found: list[str] = []
    for each in kept:
        entries = await store.history(each["id"], limit=1000)
        p = await store.get(each["id"])
        if [(e.raw, e.hash) for e in entries] != [(e["raw"].encode(), e["hash"]) for e in each["events"]]:
            found.append(f"{each['id']}: the bytes of its history")
        found += [f"{each['id']}: hash of event {e.envelope.seq}" for e in entries if digest(e.raw) != e.hash]
        found += [f"{each['id']}: event {e.envelope.seq}" for e in entries if unseal(e.raw, e.hash) != e]
        if p is None or _folded(entries) != p:
            found.append(f"{each['id']}: its history is not its row")
        for name, value in each["view"].items():
            if p is None or getattr(p, name) != value:
                found.append(f"{each['id']}: {name}")
        if p is not None and [a.account for a in p.attempts] != each["accounts"]:
            found.append(f"{each['id']}: its accounts")
        if await store.due_of(each["id"]) != each["due_us"]:
            found.append(f"{each['id']}: when it is due")
        row = await store.find_key(Scope(each["asked"]["merchant"], "test"), each["asked"]["key"])
        if row is None or row.payment_id != each["id"]:
            found.append(f"{each['id']}: what its key leads to")
    return found


def _folded(entries: Sequence[Entry]) -> Payment | None:
    """What today's rules make of a history; None when they forbid it."""
    try:
        return fold(entries)
    except InvariantViolated:
        return None


async def listed(store: Any) -> list[str]:
    """Every payment that the listings of all merchants show, in the order of their ids."""
    ids: list[str] = []
    for merchant in MERCHANTS:
        cursor = None
        while True:
            page = await store.list(Scope(merchant, "test"), Filters(), 7, cursor)
            ids += [p.id for p in page.payments]
            if (cursor := page.next) is None:
                break
    return sorted(ids)


# --- the books agree ----------------------------------------------------------------------------------------------------


async def judged(w: World, store: Any, ids: Iterable[str]) -> dict[str, Payment]:
    """Every payment at rest, after what must hold whatever happened. ``store`` is one of today's."""
    movements, found = w.movements(), {}
    assert wrong_with_holds(movements) == []
    for payment_id in ids:
        entries = await store.history(payment_id, limit=10_000)
        p, wrong = wrong_with_history(entries)
        ours, kept = of_payment(movements, payment_id), net_charges(movements, payment_id)
        assert wrong == [], payment_id
        assert p == await store.get(payment_id), f"{payment_id}: its history is not its row"
        assert len(kept) <= 1, (payment_id, ours)
        assert p.status in AT_REST, (payment_id, p.status)
        if p.status == "SUCCESS":
            vendor = p.attempts[p.winner or 0].account.removesuffix("_mock")
            assert [(m["provider"], m["amount"], m["currency"]) for m in kept] == [(vendor, p.captured_minor, p.currency)], p.id
            assert p.captured_minor == p.amount_minor or p.attention == "amount_accepted", p.id
        if p.status in ("FAILED", "CANCELED"):
            assert kept == [], (payment_id, ours)
        found[payment_id] = p
    return found
