"""What every store does alike: the check of a change before it is written, the columns that are derived from a
payment, and the cursor of a listing. Pure."""

import base64
import binascii

from payonce.core.errors import InvariantViolated
from payonce.core.events import digest
from payonce.core.payment import Payment
from payonce.figures import declines_on
from payonce.mail import DELIVERY_CHARS_MAX, WEBHOOK_BYTES_MAX, WEBHOOK_CHARS_MAX, WEBHOOK_NAMES_MAX, Delivery, Webhook
from payonce.ports import RECORD_BYTES_MAX, Change, Filters, Scope

LIMIT_MAX = 100  # rows of one page
PLACE_DIGITS = 18  # of a place in a feed: it fits in 63 bits


def check_change(change: Change, expected_version: int) -> None:
    """Half of the pair assertion: the entries continue ``expected_version`` without a gap, each names the hash of
    the one before, and the row is where they end. Raises InvariantViolated; nothing is written then."""
    p, entries = change.payment, change.entries
    _require(bool(entries), "a change has at least one event")
    prev = entries[0].envelope.prev
    for seq, entry in enumerate(entries, expected_version + 1):
        _require(entry.envelope.seq == seq, f"event {entry.envelope.seq} of {p.id} stands where {seq} belongs")
        _require(entry.envelope.prev == prev, f"event {seq} of {p.id} does not name the hash of the event before")
        _require(entry.hash == digest(entry.raw), f"event {seq} of {p.id} has another hash than its bytes")
        prev = entry.hash
    _require(p.version == entries[-1].envelope.seq, f"the row of {p.id} is not at the version of its last event")
    _require(p.head == prev, f"the row of {p.id} does not end in the hash of its last event")
    for sha256, body in change.bodies.items():
        _require(sha256 == digest(body), f"a body of {p.id} has another digest than its name")
    last = expected_version
    for seq in change.news:
        _require(last < seq <= p.version, f"news {seq} of {p.id} is out of order, or of an event that is not new")
        last = seq
    _require(bool(change.news) or not change.notify, f"{p.id} is to be told of and has no news")


def check_continues(change: Change, head: str) -> None:
    """The other half, where the row is known: the first new event names the row's head."""
    first = change.entries[0].envelope
    _require(first.prev == head, f"event {first.seq} of {change.payment.id} does not continue the stored chain")


def provider_of(p: Payment) -> str:
    """The account of the winner, else of the youngest attempt, else nothing."""
    if p.winner is not None:
        return next(a.account for a in p.attempts if a.n == p.winner)
    return p.attempts[-1].account if p.attempts else ""


def needs_eyes(p: Payment) -> bool:
    return p.status == "IN_DOUBT" or p.attention != ""


def matches(p: Payment, f: Filters, metadata: frozenset[str]) -> bool:
    """Whether a listing with these filters shows the payment, whose metadata has these values."""
    return (
        f.status in (None, p.status)
        and f.provider in (None, provider_of(p))
        and f.currency in (None, p.currency)
        and f.client_id in (None, p.client_id)
        and (f.metadata is None or f.metadata in metadata)
        and (f.decline_code is None or f.decline_code in declines_on(p))
        and (f.created_from_us is None or p.created_us >= f.created_from_us)
        and (f.created_before_us is None or p.created_us < f.created_before_us)
        and (not f.attention or needs_eyes(p))
    )


def cursor_after(created_us: int, payment_id: str) -> str:
    """An opaque cursor that continues after this row."""
    return base64.urlsafe_b64encode(f"{created_us},{payment_id}".encode()).decode("ascii").rstrip("=")


def cursor_position(cursor: str) -> tuple[int, str]:
    """Where a cursor stands. Raises ValueError for one that is not ours."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        created, _, payment_id = base64.b64decode(padded, b"-_", validate=True).decode().partition(",")
        position = int(created), payment_id
    except (ValueError, binascii.Error):
        raise ValueError("not a cursor of this listing") from None
    if not payment_id or not 0 <= position[0] < 2**63 or cursor_after(*position) != cursor:
        raise ValueError("not a cursor of this listing")
    return position


def feed_after(scope: Scope, at_us: int, place: int) -> str:
    """An opaque cursor of a scope's feed that continues after this place."""
    return cursor_after(at_us, f"{place},{_mark(scope)}")


def feed_position(scope: Scope, cursor: str) -> tuple[int, int]:
    """Where a cursor of a feed stands. Raises ValueError for one that is not ours, or is of another scope's feed."""
    at_us, rest = cursor_position(cursor)
    place, _, mark = rest.partition(",")
    if mark != _mark(scope) or not place.isascii() or not place.isdigit() or len(place) > PLACE_DIGITS:
        raise ValueError("not a cursor of this feed")
    return at_us, int(place)


def _mark(scope: Scope) -> str:
    return digest(f"feed {scope.mode} {scope.merchant_id}".encode())[:16]


def check_limit(limit: int) -> None:
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(f"limit is 1 to {LIMIT_MAX}")


def check_record(value: bytes | None, expected_version: int) -> None:
    """Refuse what no registry takes. Raises ValueError; nothing is written then."""
    if value is None and expected_version == 0:
        raise ValueError("a record that does not exist cannot be deleted")
    if value is not None and len(value) > RECORD_BYTES_MAX:
        raise ValueError(f"a record has at most {RECORD_BYTES_MAX} bytes")


def check_webhook(webhook: Webhook) -> None:
    """Refuse what no inbox takes. Raises ValueError; nothing is written then."""
    texts = (webhook.id, webhook.account, webhook.event, webhook.kind, *webhook.references, *webhook.refs)
    if len(webhook.body) > WEBHOOK_BYTES_MAX:
        raise ValueError(f"the body of a webhook has at most {WEBHOOK_BYTES_MAX} bytes")
    if max(len(webhook.references), len(webhook.refs), len(webhook.headers)) > WEBHOOK_NAMES_MAX:
        raise ValueError(f"a webhook has at most {WEBHOOK_NAMES_MAX} references, ids and headers each")
    if any(len(text) > WEBHOOK_CHARS_MAX for text in (*texts, *(t for pair in webhook.headers for t in pair))):
        raise ValueError(f"a text of a webhook has at most {WEBHOOK_CHARS_MAX} characters")


def check_delivery(delivery: Delivery) -> None:
    """Refuse what no outbox takes. Raises ValueError; nothing is written then."""
    d = delivery
    texts = (d.id, d.endpoint_id, d.merchant_id, d.event_id, d.type, d.payment_id, d.said)
    if any(len(text) > DELIVERY_CHARS_MAX for text in texts):
        raise ValueError(f"a text of a delivery has at most {DELIVERY_CHARS_MAX} characters")


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise InvariantViolated(f"{rule}. Nothing was written; this is a bug, please report it.")
