"""docs/limits.md says what the code does: every number of its tables, every code, and no row too many."""

import re
from pathlib import Path
from typing import Final

import pytest

from payonce import httpd
from payonce.api import door, endpoints, feed, incoming, payments
from payonce.config import SETTINGS
from payonce.core import idempotency
from payonce.core.errors import PROBLEMS
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.core.payment import OPERATIONS_MAX
from payonce.dashboard import downloading, signing_in
from payonce.dashboard.pages import export
from payonce.mail import WEBHOOK_BYTES_MAX
from payonce.merchants import sessions
from payonce.outbound.endpoints import ENDPOINTS_MAX
from payonce.outbound.endpoints import OVERLAP_S_MAX as OVERLAP_S_MAX_KEPT
from payonce.shown import endpoints as shown

from .service import GOOD, Service, problem_of, serving

PAGE: Final = Path(__file__).parents[2] / "docs" / "limits.md"
TEXT: Final = PAGE.read_text(encoding="utf-8")
CLOSED: Final = "the connection is closed"
CUT: Final = "it is cut, and its last line says so"
DEFAULT: Final = {s.key: s.default for s in SETTINGS}

# What a row says -> the number in the code, and what is answered beyond it.
ROWS: Final[dict[str, tuple[float | str, str]]] = {
    "request line and headers": (incoming.HEAD_BYTES_MAX, "headers_too_large"),
    "headers": (incoming.HEADERS_MAX, "headers_too_large"),
    "body": (incoming.BODY_BYTES_MAX, "body_too_large"),
    "body of a provider's webhook": (WEBHOOK_BYTES_MAX, "webhook_too_large"),
    "one request as sent, with the wrapping of its chunks": (httpd.REQUEST_BYTES_MAX, CLOSED),
    "depth of nested JSON": (incoming.NESTING_MAX, "body_invalid"),
    "times that a name stands in one JSON object": (1, "body_invalid"),
    "query parameters": (incoming.QUERY_FIELDS_MAX, "validation_failed"),
    "characters of a query parameter": (incoming.TEXT_CHARS_MAX, "validation_failed"),
    "characters of an idempotency key": (idempotency.KEY_CHARS_MAX, "idempotency_key_invalid"),
    "characters of a Request-Id": (64, "another one is made"),
    "characters of the Authorization header": (door.AUTHORIZATION_CHARS_MAX, "key_invalid"),
    "amount, in minor units": (AMOUNT_MINOR_MAX, "validation_failed"),
    "characters of clientId, provider, description, token": (idempotency.TEXT_CHARS_MAX, "validation_failed"),
    "characters of returnUrl": (idempotency.URL_CHARS_MAX, "validation_failed"),
    "entries of metadata": (idempotency.METADATA_KEYS_MAX, "validation_failed"),
    "characters of a name in metadata": (idempotency.METADATA_KEY_CHARS_MAX, "validation_failed"),
    "characters of a value in metadata": (idempotency.METADATA_VALUE_CHARS_MAX, "validation_failed"),
    "seconds of actionExpiresIn": (idempotency.ACTION_S[1], "validation_failed"),
    "operations of a payment, its attempts taken off": (OPERATIONS_MAX, "operation_not_possible"),
    "payments on a page": (payments.LIST_LIMIT_MAX, "validation_failed"),
    "entries of a history on a page": (payments.HISTORY_LIMIT_MAX, "validation_failed"),
    "events on a page": (feed.EVENTS_LIMIT_MAX, "validation_failed"),
    "deliveries on a page": (endpoints.DELIVERIES_LIMIT_MAX, "validation_failed"),
    "endpoints of a merchant and mode": (ENDPOINTS_MAX, "endpoints_too_many"),
    "characters of an endpoint's URL": (shown.URL_CHARS_MAX, "validation_failed"),
    "characters of its description": (shown.DESCRIPTION_CHARS_MAX, "validation_failed"),
    "types that it names": (shown.TYPES_MAX, "validation_failed"),
    "seconds that a replaced secret goes on signing": (shown.OVERLAP_S_MAX, "validation_failed"),
    "seconds for a request head to come": (httpd.HEAD_S, CLOSED),
    "seconds for a body to come": (incoming.BODY_S, "body_timeout"),
    "seconds for a client to read an answer": (httpd.UNREAD_S, CLOSED),
    "seconds of rest between two requests on a connection": (httpd.IDLE_S, CLOSED),
    "requests a second with one key (`limits.key_rate_per_s`, or the key's own rate)": (
        DEFAULT["limits.key_rate_per_s"],
        "rate_limited",
    ),
    "requests of a key at once after a rest, as seconds of its rate": (door.BURST_S, "rate_limited"),
    "requests handled at once (`limits.requests_max`)": (DEFAULT["limits.requests_max"], "over_capacity"),
    "those of them that need no key: one in": (door.STRANGERS_SHARE, "over_capacity"),
    "connections at once (`limits.connections_max`)": (DEFAULT["limits.connections_max"], "over_capacity"),
    "payments overdue (`limits.backlog_max`)": (DEFAULT["limits.backlog_max"], "over_capacity"),
    "downloads of a process at once, one for each caller": (downloading.AT_ONCE, "over_capacity"),
    "payments in a download": (export.ROWS_MAX, CUT),
    "seconds for a whole download": (downloading.LAST_S, CUT),
    "people signed in at once": (sessions.SESSIONS_MAX, "validation_failed"),
    "of them, kept for who comes with an address from `payonce dashboard`: one in": (
        sessions.TICKETS_SHARE,
        "a key with a session gives up its oldest, one without is refused",
    ),
    "sessions of one key": (sessions.KEY_SESSIONS_MAX, "its oldest one ends"),
    "addresses to sign in with that nobody has opened": (sessions.TICKETS_MAX, "validation_failed"),
    "keys that open nothing, tried one after another, over all visitors": (
        signing_in.TRIES_BURST,
        "the page says to wait; a right key opens all the same",
    ),
}


def rows() -> dict[str, tuple[float, str]]:
    """The rows of all tables of the page: what, its number, and what happens beyond."""
    found: dict[str, tuple[float, str]] = {}
    for what, most, beyond in re.findall(r"^\| (?!What|---)(.+?) \| ([\d,]+)(?: bytes)? \| (.+?) \|$", TEXT, re.MULTILINE):
        assert what not in found, what
        found[what] = (float(most.replace(",", "")), beyond.strip("`"))
    return found


def test_the_page_says_what_the_code_does() -> None:
    """Each row has the number of the code and its answer; each row of the code stands there, and nothing else."""
    expected = {what: (float(most), beyond) for what, (most, beyond) in ROWS.items()}
    assert rows() == expected
    assert len(re.findall(r"^\| (?!What|---)", TEXT, re.MULTILINE)) == len(expected)


def test_the_codes_exist() -> None:
    """Whatever stands in backticks in the last column is a problem that the API answers with."""
    assert set(re.findall(r"\| `(\w+)` \|$", TEXT, re.MULTILINE)) <= set(PROBLEMS)


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    """The grid, when a payment is overdue, how often it is looked, and how long a number may be."""
    assert f"multiple of {door.GRID_US // 1000} ms" in TEXT
    assert f"overdue {door.OVERDUE_US // 1_000_000} s after" in TEXT
    assert door.SAMPLE_US == 1_000_000
    assert "each second at most" in TEXT
    assert (door.SAMPLE_SHARE, "at most a twentieth of the time" in TEXT) == (20, True)
    assert f"more than {incoming.INT_DIGITS_MAX} digits" in TEXT
    assert f"rests {downloading.REST_S * 1000:g} ms after each {export.PAGE} payments" in TEXT
    assert OVERLAP_S_MAX_KEPT == shown.OVERLAP_S_MAX


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"metadata": {f"k{n}": n for n in range(50)}}, None),
        ({"metadata": {f"k{n}": n for n in range(51)}}, "validation_failed"),
        ({"metadata": {"k" * 40: "v" * 500}}, None),
        ({"metadata": {"k" * 41: "v"}}, "validation_failed"),
        ({"metadata": {"k": "v" * 501}}, "validation_failed"),
        ({"description": "d" * 255, "clientId": "c" * 255}, None),
        ({"description": "d" * 256}, "validation_failed"),
        ({"clientId": "c" * 256}, "validation_failed"),
        ({"amount": 999_999_999_999}, None),
        ({"amount": 1_000_000_000_000}, "validation_failed"),
        ({"returnUrl": "https://shop.example/" + "x" * 479}, None),
        ({"returnUrl": "https://shop.example/" + "x" * 480}, "validation_failed"),
    ],
)
def test_what_a_payment_holds_ends_where_the_page_says(fields: dict[str, object], code: str | None) -> None:
    """The last that fits is taken, the first that does not is refused."""

    async def check(s: Service) -> None:
        answer = await s.post({**GOOD, **fields})
        assert answer.status_code == (202 if code is None else PROBLEMS[code].status), answer.text
        assert code is None or problem_of(answer)["code"] == code

    serving(check)


@pytest.mark.parametrize(("path", "most"), [("/payments", 100), ("/events", 100)])
def test_pages_end_where_the_page_says(path: str, most: int) -> None:
    """The largest page is given, one more is refused."""

    async def check(s: Service) -> None:
        assert (await s.get(path, limit=str(most))).status_code == 200
        assert problem_of(await s.get(path, limit=str(most + 1)))["code"] == "validation_failed"

    serving(check)


def test_a_longer_request_id_is_replaced() -> None:
    """64 characters come back, 65 do not."""

    async def check(s: Service) -> None:
        for length, kept in ((64, True), (65, False)):
            answer = await s.client.get("/livez", headers={"request-id": "r" * length})
            assert (answer.headers["request-id"] == "r" * length) == kept

    serving(check)
