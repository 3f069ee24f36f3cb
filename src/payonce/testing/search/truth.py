"""The oracle: what has to hold in every state by what the providers have and what is under way to them. It never asks
the core for its verdict."""

from payonce.core.payment import MONEY_STEPS

from .rows import Rows
from .states import Hand, Pool, State
from .vendors import Boxes, Kind, Request, charges, handle, may_take_alone

HOLDS_STEP = ("claimed", "waiting", "answer")


class Truth:
    """Looks at states of one graph."""

    def __init__(
        self,
        kinds: tuple[Kind, Kind],
        rows: Rows,
        hands: Pool[Hand],
        nets: Pool[tuple[Request, ...]],
        books: Pool[Boxes],
    ) -> None:
        self.kinds, self.rows, self.hands, self.nets, self.books = kinds, rows, hands, nets, books
        self._known: dict[tuple[int, ...], str] = {}

    def broken(self, s: State) -> str:
        """The rule that this state breaks; empty when all hold."""
        one, other = self.hands[s.hands[0]], self.hands[s.hands[1]]
        if one.does in HOLDS_STEP and other.does in HOLDS_STEP and one.seq == other.seq:
            return f"both workers hold step {one.seq}"
        leaving = tuple(n for n, h in zip(s.hands, (one, other), strict=True) if h.does == "claimed" and s.now_us <= h.at_us)
        key = (s.row, s.now_us, s.net, *s.books, *leaving)
        found = self._known.get(key)
        if found is None:
            requests = [r for n in leaving if (r := self.hands[n].request)]
            found = self._known[key] = self._broken(s, [*self.nets[s.net], *requests])
        return found

    def _broken(self, s: State, coming: list[Request]) -> str:
        p = self.rows.all[s.row].p
        taken = [n for number in s.books for n in charges(self.books[number])]
        if len(taken) > 1:
            return f"charged {len(taken)} times"
        if p.status == "SUCCESS" and not taken:
            return "SUCCESS without a charge"
        ended = p.status in ("FAILED", "CANCELED")
        for a in p.attempts if ended else p.attempts[:-1]:
            why = "was charged" if a.n in taken else "may still be charged" if self._may_take(s, a.n, coming) else ""
            if why:
                return f"{p.status}, but attempt {a.n + 1} {why}" if ended else f"attempt {a.n + 1} was left, but it {why}"
        return ""

    def _may_take(self, s: State, attempt: int, coming: list[Request]) -> bool:
        """Whether a pending try, or a request that is under way or about to leave, may still take money."""
        for account, number in enumerate(s.books):
            kind, boxes = self.kinds[account], self.books[number]
            if may_take_alone(kind, boxes, attempt, s.now_us):
                return True
            for asked in coming:
                if asked.account != account or asked.attempt != attempt or asked.kind not in MONEY_STEPS:
                    continue
                for answer in handle(kind, boxes, asked, s.now_us, ("yes", "processing")):
                    more = len(charges(answer.boxes)) > len(charges(boxes))
                    if more or may_take_alone(kind, answer.boxes, attempt, s.now_us):
                        return True
        return False
