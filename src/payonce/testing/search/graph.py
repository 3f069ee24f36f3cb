"""The moves of every state: two workers, two providers, what is under way between them, and one clock that jumps.

A worker does what ``engine`` does: it reads the row and plans, writes its claim if nobody wrote since, sends, hears or
gives up, and records what it heard on whatever row there is by then.
"""

from collections.abc import Iterator

from payonce.core.errors import InvariantViolated
from payonce.core.outcome import AnyOutcome, NotSent, Rejected, Unknown, Unreadable

from .rows import START_US, Row, Rows, _Broken, moments
from .states import CLOCK, FAULTS, OUTSIDE, Bounds, Change, Hand, Left, Move, Pool, State
from .truth import Truth
from .vendors import Boxes, Kind, Request, dead, handle, turns

NEVER_US = 1 << 60
IDLE = Hand("idle")
BUSY = ("planned", "claimed", "answer")


class Graph:
    """See the module docstring. ``conditional`` False is a store that writes whatever it is given: for mutants."""

    def __init__(self, kinds: tuple[Kind, Kind], bounds: Bounds, *, conditional: bool = True) -> None:
        self.kinds, self.bounds, self.conditional = kinds, bounds, conditional
        self.rows, self.hands, self.nets = Rows(kinds), Pool[Hand](), Pool[tuple[Request, ...]]()
        self.books, self.lefts = Pool[Boxes](), Pool[Left]()
        self.idle, self.quiet = self.hands.number(IDLE), self.nets.number(())
        self.truth = Truth(kinds, self.rows, self.hands, self.nets, self.books)
        self._done: dict[tuple[int, int, int, tuple[int, int] | None], tuple[Change, ...]] = {}
        self._spent: dict[tuple[int, str], int] = {}
        self._kept: dict[tuple[int, tuple[int, int]], int] = {}
        self._heard: dict[tuple[Request, int, int], list[tuple[str, int]]] = {}
        self._turned: dict[tuple[int, int, int], list[tuple[str, int]]] = {}

    def first(self) -> State:
        """An accepted payment, two idle workers, nothing under way, every fault to come."""
        left = self.lefts.number(Left(**{name: getattr(self.bounds, name) for name in Left._fields}))
        nothing = self.books.number(())
        return State(self.rows.first().n, START_US, (self.idle, self.idle), self.quiet, (nothing, nothing), left)

    def moves(self, s: State) -> Iterator[Move]:
        """Everything that can happen next."""
        yield from self._worker(s, 0)
        if s.hands[0] != s.hands[1]:
            yield from self._worker(s, 1)
        if s.net != self.quiet:
            yield from self._deliveries(s)
        yield from self._turns(s)
        yield from self._clock(s)

    # --- workers --------------------------------------------------------------------------------------------------

    def _worker(self, s: State, w: int) -> Iterator[Move]:
        hand, other = s.hands[w], s.hands[1 - w]
        if hand == self.idle and self._rests(s):
            return
        key = (s.row, s.now_us, hand, s.books if self.hands[hand].does == "claimed" else None)
        changes = self._done.get(key)
        if changes is None:
            changes = self._done[key] = tuple(self._changes(s, self.hands[hand]))
        for c in changes:
            if c.broken:
                yield Move(c.what, w, s.hands, s, "", c.broken)
                continue
            left = self._spend(s.left, c.fault) if c.fault else s.left
            if not left:
                continue
            books = s.books if c.account < 0 else (c.book, s.books[1]) if c.account == 0 else (s.books[0], c.book)
            net = s.net
            if c.adds or (net != self.quiet and c.account >= 0):
                net = self._net(net, books, add=c.adds)
            if c.fault == "duplicates" and net == s.net:
                continue  # the copy can have no effect any more
            row, beside = s.row, other
            if c.row >= 0 and c.row != row:
                row = c.row
                if self.conditional and self.hands[other].does == "planned":
                    beside = self.idle  # its write will be refused: as if it had not read yet
            hands = (c.hand, beside) if w == 0 else (beside, c.hand)
            yield Move(c.what, w, hands, State(row, s.now_us, _ordered(hands), net, books, left), c.fault)

    def _changes(self, s: State, hand: Hand) -> Iterator[Change]:
        try:
            match hand.does:
                case "idle":
                    at_us = self.rows.due(self.rows.all[s.row], s.now_us).at_us
                    if at_us is not None and at_us <= s.now_us:
                        yield self._plan(s)
                case "planned":
                    yield self._commit(hand)
                case "claimed":
                    yield from self._send(s, hand)
                case "answer":
                    yield self._record(s, hand)
        except (_Broken, InvariantViolated) as broken:
            yield Change(hand.does, broken=str(broken))
        if hand.does != "idle" and (hand.does != "planned" or hand.frozen):  # who has just read loses nothing
            yield Change(f"crashes ({hand.does}) and starts again", self.idle, fault="crashes")

    def _plan(self, s: State) -> Change:
        claim = self.rows.claim(self.rows.all[s.row], s.now_us)
        after = claim.after
        hand = Hand("planned", row=s.row, after=after.n, seq=after.p.version, request=claim.request, at_us=claim.send_by_us)
        return Change(f"reads and plans: {claim.what}", self.hands.number(hand))

    def _commit(self, hand: Hand) -> Change:
        claimed = Hand("claimed", seq=hand.seq, request=hand.request, at_us=hand.at_us) if hand.request else IDLE
        what = f"writes claim {hand.seq}" if hand.request else f"writes judgement {hand.seq}"
        fault = "aftermath" if self.rows.all[hand.row].settled else ""
        return Change(what, self.hands.number(claimed), row=hand.after, fault=fault)

    def _send(self, s: State, hand: Hand) -> Iterator[Change]:
        asked = hand.request
        assert asked is not None
        if s.now_us > hand.at_us:
            yield Change("is past the send deadline, sends nothing", self._holds(hand, NotSent(reason="deadline")))
            return
        if self.rows.all[s.row].open.get(hand.seq) != asked.kind:
            raise _Broken(f"a {asked.kind} leaves that is not on record")
        n, reads = asked.account, asked.kind == "read"
        name = f"{asked.kind} to {self.rows.names[n]}"
        for answer in handle(self.kinds[n], self.books[s.books[n]], asked, s.now_us, self.bounds.words):
            told, book = self._holds(hand, answer.outcome), self.books.number(answer.boxes)
            what = f"sends {name}, hears {_said(answer.outcome)}"
            yield Change(what, told, account=n, book=book)
            if self._copied(asked):
                what += "; a copy stays under way"
                yield Change(what, told, adds=asked, account=n, book=book, fault="duplicates")
        timeout_us = self.rows.accounts[n].terms.call_timeout_ms * 1000
        waits = self.hands.number(Hand("waiting", seq=hand.seq, request=asked, at_us=s.now_us + timeout_us))
        yield Change(f"sends {name}, which is held up", waits, adds=None if reads else asked, fault="losses")
        if not reads:
            yield Change(f"sends {name}, hears Rejected (401)", self._holds(hand, Rejected(reason="401")), fault="refusals")

    def _record(self, s: State, hand: Hand) -> Change:
        assert hand.outcome is not None
        after = self.rows.observed(self.rows.all[s.row], hand.seq, hand.outcome, s.now_us)
        what = f"records {_said(hand.outcome)} of step {hand.seq}"
        return Change(what if after else f"{what}: known already", self.idle, row=after.n if after else -1)

    def _holds(self, hand: Hand, outcome: AnyOutcome) -> int:
        return self.hands.number(Hand("answer", seq=hand.seq, outcome=outcome))

    def _rests(self, s: State) -> bool:
        """What happens after the end is followed only so far."""
        return self.rows.all[s.row].settled and not self.lefts[s.left].aftermath

    # --- what happens outside -------------------------------------------------------------------------------------

    def _copied(self, asked: Request) -> bool:
        """Whether a copy of a request may go astray: a charge only where its provider promises to know it again, or where
        firing only holds. Where it does not, nothing on our side could help: a stated limit, see ``unkeyed_copies``."""
        plain = self.kinds[asked.account] in ("closable", "keyless") and asked.kind == "fire"
        return asked.kind != "read" and (not plain or self.bounds.unkeyed_copies)

    def _deliveries(self, s: State) -> Iterator[Move]:
        for asked in dict.fromkeys(self.nets[s.net]):
            n = asked.account
            key = (asked, s.books[n], s.now_us if self.kinds[n] == "keyed" or "may_turn" in self.bounds.words else 0)
            answers = self._heard.get(key)
            if answers is None:
                answers = self._heard[key] = list(self._arrives(s, asked))
            for what, book in answers:
                books = (book, s.books[1]) if n == 0 else (s.books[0], book)
                net = self._net(s.net, books, drop=asked)
                yield Move(what, OUTSIDE, s.hands, State(s.row, s.now_us, s.hands, net, books, s.left))
                if self._copied(asked) and (left := self._spend(s.left, "duplicates")):
                    both = self._net(s.net, books)
                    if both != net:
                        told = f"{what}; a copy stays under way"
                        after = State(s.row, s.now_us, s.hands, both, books, left)
                        yield Move(told, OUTSIDE, s.hands, after, "duplicates")

    def _arrives(self, s: State, asked: Request) -> Iterator[tuple[str, int]]:
        boxes, name = self.books[s.books[asked.account]], self.rows.names[asked.account]
        for answer in handle(self.kinds[asked.account], boxes, asked, s.now_us, self.bounds.words):
            if answer.boxes != boxes:  # without effect: the same as still under way
                yield f"{asked.kind} arrives late at {name}: {_said(answer.outcome)}", self.books.number(answer.boxes)

    def _turns(self, s: State) -> Iterator[Move]:
        for n, kind in enumerate(self.kinds):
            key = (n, s.books[n], s.now_us if "may_turn" in self.bounds.words else 0)
            found = self._turned.get(key)
            if found is None:
                now = turns(kind, self.books[s.books[n]], s.now_us)
                found = [(f"{self.rows.names[n]} decides {what}", self.books.number(boxes)) for what, boxes in now]
                self._turned[key] = found
            for what, book in found:
                books = (book, s.books[1]) if n == 0 else (s.books[0], book)
                net = s.net if s.net == self.quiet else self._net(s.net, books)
                yield Move(what, OUTSIDE, s.hands, State(s.row, s.now_us, s.hands, net, books, s.left))

    def _clock(self, s: State) -> Iterator[Move]:
        """On to the next moment at which somebody acts. Time passes over who could act now only where he stands still, or
        where idle workers sleep: then to any moment at which something changes."""
        row, now, hands, left, fault = self.rows.all[s.row], s.now_us, [self.hands[h] for h in s.hands], s.left, ""
        for h in hands:
            if h.does in BUSY and not h.frozen and left:
                left, fault = self._spend(left, "freezes"), "freezes"
        due_us = self._due_us(s, row) if left else NEVER_US
        if due_us <= now and left and any(h.does == "idle" for h in hands):
            left, fault = self._spend(left, "sleeps"), "sleeps"
        if not left:
            return
        ahead = moments(row, now) if due_us <= now else [due_us] if due_us < NEVER_US else []
        ends = [h.at_us for h in hands if h.does == "waiting"]
        ends += [h.at_us + 1 for h in hands if h.does == "claimed" and h.at_us >= now]
        soonest = min(ends, default=NEVER_US)
        ahead = sorted({at for at in ahead if at < soonest} | ({soonest} if ends else set()))
        for then in ahead if due_us <= now else ahead[:1]:
            waking = tuple(self.hands.number(_later(h, then)) for h in hands)
            unordered = (waking[0], waking[1])
            net = s.net
            if net != self.quiet:
                net = self.nets.number(tuple(r for r in self.nets[net] if not r.lapses_us or r.lapses_us >= then))
            after = State(s.row, then, _ordered(unordered), net, s.books, left)
            yield Move(f"{(then - now) / 1e6:g} s pass", CLOCK, unordered, after, fault)

    # --- the next state -------------------------------------------------------------------------------------------

    def _due_us(self, s: State, row: Row) -> int:
        if row.settled and not self.lefts[s.left].aftermath:
            return NEVER_US
        try:
            at_us = self.rows.due(row, s.now_us).at_us
        except _Broken:
            return NEVER_US  # told by the worker that looks at it
        return NEVER_US if at_us is None else at_us

    def _spend(self, left: int, fault: str) -> int:
        """The number of what is left after one more of these; 0 when there is none left."""
        n = self._spent.get((left, fault))
        if n is None:
            was, n = self.lefts[left], 0
            mine = getattr(was, fault)
            if mine and (was.faults or fault not in FAULTS):
                n = self.lefts.number(was._replace(**{fault: mine - 1}, faults=was.faults - (fault in FAULTS)))
            self._spent[left, fault] = n
        return n

    def _net(self, net: int, books: tuple[int, int], *, add: Request | None = None, drop: Request | None = None) -> int:
        """What is under way now, without the requests that can never have an effect any more."""
        if drop or add:
            under_way = list(self.nets[net])
            if drop:
                under_way.remove(drop)
            net = self.nets.number(tuple(sorted([*under_way, add] if add else under_way)))
        n = self._kept.get((net, books))
        if n is None:
            kept = (r for r in self.nets[net] if not dead(self.kinds[r.account], self.books[books[r.account]], r))
            n = self._kept[net, books] = self.nets.number(tuple(kept))
        return n


def _later(hand: Hand, then_us: int) -> Hand:
    """What a worker holds when time has passed."""
    if hand.does == "waiting" and hand.at_us <= then_us:
        assert hand.request is not None
        reads = hand.request.kind == "read"
        return Hand("answer", seq=hand.seq, outcome=Unreadable(reason="timeout") if reads else Unknown(reason="timeout"))
    return hand._replace(frozen=True) if hand.does in BUSY else hand


def _ordered(hands: tuple[int, int]) -> tuple[int, int]:
    return hands if hands[0] <= hands[1] else (hands[1], hands[0])


def _said(outcome: AnyOutcome) -> str:
    tries, name = getattr(outcome, "tries", None), type(outcome).__name__
    if tries is None:
        return name
    container = getattr(outcome, "container", "none")
    box = "" if container == "none" else f"container {container}, "
    return f"{name} ({box}{', '.join(type(t).__name__ for t in tries) or 'no tries'})"
