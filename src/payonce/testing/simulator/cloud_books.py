"""What was asked of a store on DynamoDB, and what really was written: taken down at the moment when it was."""

import copy
from typing import TYPE_CHECKING, NamedTuple

from payonce.core.events import Entry
from payonce.ports import Change, Fed, KeyRow, Ref, Scope

if TYPE_CHECKING:
    from .processes import Process


class Asked(NamedTuple):
    """A change that was given to the store once. Two that come at one moment under one key may be the same to the last byte."""

    process: "Process"
    change: Change
    refused: list[str]  # what the store said, where that promises that it is not written, now or later


class Deferral:
    """A due time that was asked for a row. ``began``, ``ended``: in the order of all; ``ended`` 0 while it goes on."""

    def __init__(self, due_us: int | None, began: int) -> None:
        self.due_us, self.began, self.ended, self.held = due_us, began, 0, False


class Books:
    """What was asked for, and what is written, by payment."""

    def __init__(self) -> None:
        self.asked: dict[tuple[str, int, str], list[Asked]] = {}  # by payment, version and head
        self.deferrals: dict[tuple[str, int], list[Deferral]] = {}  # of a row at this version
        self.history: dict[str, list[Entry]] = {}
        self.due: dict[str, int | None] = {}
        self.refs: dict[str, set[Ref]] = {}
        self.bodies: dict[str, dict[str, bytes]] = {}
        self.keys: dict[str, list[KeyRow]] = {}
        self.news: dict[Scope, set[Fed]] = {}

    def copied(self) -> "Books":
        """As they are now, without what is only asked for."""
        books = Books()
        for name in ("history", "due", "refs", "bodies", "keys", "news"):
            setattr(books, name, {id: copy.copy(held) for id, held in getattr(self, name).items()})
        return books

    def may_be_due(self, id: str, version: int, due_us: int | None) -> bool:
        """Whether it was asked for, and nobody was told since that another one holds."""
        asked = self.deferrals.get((id, version), [])
        return any(
            one.due_us == due_us and not (one.ended and any(other.held and other.began > one.ended for other in asked))
            for one in asked
        )

    def wrote(self, change: Change) -> None:
        id = change.payment.id
        self.history.setdefault(id, []).extend(change.entries)
        self.due[id] = change.due_us
        self.refs.setdefault(id, set()).update(change.refs)
        self.bodies.setdefault(id, {}).update(change.bodies)
        p = change.payment
        self.news.setdefault(Scope(p.merchant_id, p.mode), set()).update(Fed(p.id, seq) for seq in change.news)
        if change.key is not None:
            self.keys.setdefault(id, []).append(change.key)


def place_of(change: Change) -> tuple[str, int, str]:
    return change.payment.id, change.payment.version, change.payment.head
