"""What can go wrong with a payment, numbered, and how often the simulation did it. A long run in which one of these never
happened has not shown what it claims, and fails. What cannot happen here says why, and where it is shown instead."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from payonce.core.states import TRANSITIONS

from .fate import POINTS


class Row(Struct, frozen=True):
    """``shown`` are names of counters, of which one must have counted; a trailing * stands for any end. ``elsewhere``
    says why the row cannot happen in the simulation, and what shows it."""

    number: int
    what: str
    shown: tuple[str, ...] = ()
    elsewhere: str = ""


NO_QUEUE: Final = "there is no queue in the simulation: work is found by its due time; tests/aws has the queue"
ROWS: Final[tuple[Row, ...]] = (
    Row(1, "the post never arrives", ("post lost",)),
    Row(2, "the API dies before the commit of an acceptance", ("crash_before at commit",)),
    Row(3, "accepted, and the 202 is lost", ("202 lost",)),
    Row(4, "the same key is posted twice at once", ("replayed",)),
    Row(5, "the same key with another body, racing", ("key misused, refused",)),
    Row(6, "the commit of an acceptance is unclear", ("error_after at commit",)),
    Row(7, "a transaction is cancelled by another one", ("conflict at cloud_transact",)),
    Row(8, "a request token that ages", ("freeze at cloud_transact",)),
    Row(9, "accepted, and the wake-up is lost", ("hint lost",)),
    Row(10, "a wake-up comes twice", ("replayed", "webhook")),
    Row(11, "messages of a queue are doubled, reordered, or come back", elsewhere=NO_QUEUE),
    Row(12, "a call outlasts its lease, and another worker comes", ("thaw at fire", "thaw at capture", "freeze at fire")),
    Row(13, "a worker dies before its claim is written", ("crash_before at commit",)),
    Row(14, "a worker dies after its claim, before the first byte", ("crash_before at fire",)),
    Row(15, "a worker dies after the provider charged", ("crash_after at fire", "crash_after at capture")),
    Row(16, "the answer is lost, late, or cut", ("error_after at fire", "garbage at fire", "5xx_after at fire")),
    Row(17, "a request is held up and arrives long after we gave up", ("stall at fire",)),
    Row(18, "a server error after the charge", ("5xx_after at fire",)),
    Row(19, "rate limits, with odd ideas of when to come back", ("429 at fire",)),
    Row(20, "two charges for one payment", ("seen two charges, one given back",)),
    Row(21, "another amount or currency than asked for", ("wrong_amount at *", "seen mismatch")),
    Row(22, "the provider has forgotten the key", ("seen key outlived",)),
    Row(23, "a card token is made anew between two tries", ("seen replay",)),
    Row(24, "the next provider is tempting while the first is unknown", ("seen unanswered step",)),
    Row(25, "news comes before its own answer", ("webhook matched",)),
    Row(26, "news is out of order, doubled, or days old", ("webhook delayed", "webhook repeated")),
    Row(27, "forged news", ("webhook forged, refused",)),
    Row(28, "news never comes", ("seen found by a read",)),
    Row(29, "a charge after FAILED was said", ("seen reversal", "edge FAILED Observed SUCCESS")),
    Row(30, "the result cannot be written", ("error_before at commit", "store away")),
    Row(31, "news to merchants is lost or doubled", ("news taken, and its answer lost", "news told again")),
    Row(32, "a row or an answer that this code cannot work on", ("deploy",)),
    Row(33, "one failure in a batch", ("partial at cloud_read",)),
    Row(34, "a process freezes in the middle of a call, and thaws", ("freeze at fire", "thaw at fire")),
    Row(35, "a process is told to stop during calls", elsewhere="tests/cli/test_processes.py stops real processes"),
    Row(36, "two versions, and a forgotten worker", ("deploy",)),
    Row(37, "clocks that are wrong or jump", ("clock jump",)),
    Row(38, "reads that are older than the last write", ("an index is behind",)),
    Row(39, "the store is busy", ("error_before at get", "error_before at commit")),
    Row(40, "the disk is full, broken or read-only", elsewhere="payonce.testing.powerloss"),
    Row(41, "power is lost", elsewhere="payonce.testing.powerloss"),
    Row(42, "a backup is put back", ("restored",)),
    Row(43, "a refund is doubled or lost", ("error_after at refund", "stall at refund", "duplicate at refund")),
    Row(44, "everybody comes back at once after an outage", ("weather outage",)),
    Row(45, "a settlement file twice, or not at all", elsewhere="no settlement files are read"),
    Row(46, "live money in a test", elsewhere="there are no sockets here; tests/test_accounts.py"),
    # what can go wrong after the charge, and with customers
    Row(47, "a capture is lost, doubled or late", ("error_after at capture", "stall at capture", "duplicate at capture")),
    Row(48, "a void is lost, doubled or late", ("error_after at void", "stall at void", "duplicate at void")),
    Row(49, "more is asked back than was taken", ("refused amount_exceeds_available",)),
    Row(50, "capture and void at once", ("refused operation_in_progress",)),
    Row(51, "something is asked for that cannot be", ("refused operation_not_possible",)),
    Row(52, "an operation under the key of another one", ("refused idempotency_key_reused",)),
    Row(53, "an operation is asked for twice under its key", ("operation replayed",)),
    Row(54, "a refund that was done fails later", ("seen refund failed later",)),
    Row(55, "several refunds of one charge", ("seen several refunds",)),
    Row(56, "less is captured than was held", ("seen captured in part",)),
    Row(57, "a hold lapses, sooner than was said", ("seen hold lapsed",)),
    Row(58, "a void before anything is held", ("seen voided before it was held",)),
    Row(59, "a customer acts too late, or never", ("customer is late", "seen action expired")),
    Row(60, "news for another account", ("webhook parked", "webhook unmatched")),
    Row(61, "news never comes, and others do", ("webhook lost",)),
)  # fmt: skip

# Words of fate that a point knows and never meets: (point or *, word) -> why.
NEVER: Final[Mapping[tuple[str, str], str]] = {
    ("cloud_read", "old"): "the store reads its tables consistently, always; that indexes are behind is another count",
}
# Edges of states that nothing leads to here: people decide on operations in doubt in tests/machine only.
NOT_YET: Final = frozenset({("AUTHORIZED", "Resolved", "SUCCESS"), ("AUTHORIZED", "Resolved", "CANCELED")})


def edges() -> list[str]:
    """The state edges that the simulation has to reach."""
    wanted = [t for t in TRANSITIONS if (t.before, t.event, t.after) not in NOT_YET]
    return [f"edge {t.before or '-'} {t.event} {t.after}" for t in wanted]


def faults() -> list[str]:
    """Every fault at every point that it can meet."""
    return [
        f"{word} at {point}"
        for point, words in POINTS.items()
        for word in words
        if (point, "*") not in NEVER and (point, word) not in NEVER
    ]


def seen(row: Row, counts: Mapping[str, int]) -> int:
    """How often the row happened."""
    return sum(n for name, n in counts.items() for s in row.shown if name == s or (s.endswith("*") and name.startswith(s[:-1])))


def never(counts: Mapping[str, int]) -> list[str]:
    """What has not happened and should have: rows, faults, edges."""
    rows = [f"row {row.number}: {row.what}" for row in ROWS if row.shown and not seen(row, counts)]
    return rows + [name for name in (*faults(), *edges()) if not counts.get(name)]
