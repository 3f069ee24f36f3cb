"""The paths of figures, provider accounts, what needs somebody, and workers, as the OpenAPI document tells them."""

from typing import Any, Final

from payonce.api.incoming import BODY_BYTES_MAX, BODY_S, TEXT_CHARS_MAX
from payonce.api.stats import WINDOW
from payonce.shown.bodies import CURRENCIES, EXAMPLE_ID
from payonce.shown.house_bodies import (
    Attention,
    DrainRequest,
    ProviderBody,
    ProviderList,
    ResumeRequest,
    Workers,
)
from payonce.shown.stats_bodies import WINDOWS, DeclineList, Stats

from .endpoints import EXAMPLE_DELIVERY
from .events import READING
from .examples import SETTLED_PAYMENT
from .parts import curl, ok, parameter, problems, request_id

Document = dict[str, Any]

TAKEN: Final = (DrainRequest, ResumeRequest)
SHOWN: Final = (Stats, DeclineList, ProviderBody, ProviderList, Attention, Workers)
TAGS: Final = (
    {"name": "figures", "description": "How many payments, with what end, how fast, at which account."},
    {"name": "care", "description": "Provider accounts, what needs somebody, and workers."},
)

HOUSE: Final = "For the merchant who runs this payonce (`mer_default`) only; to any other this path is not there."
EXAMPLE_ACCOUNT: Final = "razorpay_mock"
_AT: Final = "2026-11-24T09:16:00.000000Z"
_SUMS: Final[Document] = {
    "accepted": 120,
    "settled": 119,
    "succeeded": 110,
    "authorized": 2,
    "failed": 6,
    "canceled": 1,
    "inDoubt": 0,
    "approvalRate": 0.9492,
    "settleP50Ms": 312.5,
    "settleP95Ms": 1840.0,
    "calls": 240,
    "errors": 2,
    "errorRate": 0.0083,
}
_PROVIDER_SUMS: Final[Document] = {
    "account": EXAMPLE_ACCOUNT,
    "approved": 112,
    "declined": 6,
    "attempts": 118,
    "successRate": 0.9492,
    "share": 1.0,
    "calls": 240,
    "errors": 2,
    "callP50Ms": 120.4,
    "callP95Ms": 410.2,
    "previous": {"successRate": 0.95, "errors": 0, "calls": 210, "callP95Ms": 402.7},
}
_STATS: Final[Document] = {
    "window": "15m",
    "from": _AT,
    "before": "2026-11-24T09:31:00.000000Z",
    "previousFrom": "2026-11-24T09:01:00.000000Z",
    "stepS": 60,
    "asOf": "2026-11-24T09:30:12.123456Z",
    "complete": True,
    "since": None,
    "now": _SUMS,
    "previous": _SUMS,
    "standing": {"PENDING": 1, "REQUIRES_ACTION": 0, "AUTHORIZED": 2, "IN_DOUBT": 0, "attention": 0, "max": 10_000},
    "series": [{"at": _AT, "accepted": 8, "succeeded": 8, "failed": 0, "canceled": 0, "inDoubt": 0, "calls": 16, "errors": 0}],
    "providers": [_PROVIDER_SUMS],
    "amounts": [{"currency": "INR", "accepted": 126_000, "taken": 115_500, "held": 2_100}],
}
_DECLINES: Final[Document] = {
    "window": "15m",
    "from": _AT,
    "before": "2026-11-24T09:31:00.000000Z",
    "complete": True,
    "data": [
        {
            "code": "insufficient_funds",
            "message": "The account has not enough money. No other provider is tried; ask the customer.",
            "hard": False,
            "account": EXAMPLE_ACCOUNT,
            "currency": "INR",
            "count": 4,
            "previous": 1,
        }
    ],
}
_PROVIDER: Final[Document] = {
    "account": EXAMPLE_ACCOUNT,
    "adapter": "razorpay",
    "mode": "test",
    "sandbox": True,
    "merchants": "*",
    "callsMax": 8,
    "inFlight": 1,
    "drain": None,
    "breaker": None,
    "mayDrain": True,
    "sums": _PROVIDER_SUMS,
    "series": [{"at": _AT, "calls": 16, "errors": 0, "approved": 8, "declined": 0}],
}
_DRAINED: Final[Document] = {
    **_PROVIDER,
    "drain": {"reason": "their maintenance", "by": "key_01kav0q8t03x9m2c7h5n@10.0.0.7", "since": "2026-11-24T09:30:00.123456Z"},
}
_ATTENTION: Final[Document] = {
    "held": False,
    "trouble": None,
    "inDoubt": {"count": 1, "more": False, "data": [SETTLED_PAYMENT]},
    "overdue": {
        "count": 1,
        "more": False,
        "data": [
            {
                "transactionId": EXAMPLE_ID,
                "status": "PENDING",
                "amount": 1050,
                "currency": "INR",
                "dueAt": "2026-11-24T09:28:45.123456Z",
                "lateS": 75,
            }
        ],
    },
    "webhooks": {
        "count": 1,
        "more": False,
        "data": [
            {
                "id": "wh_5t0c2d9e81b7a3460d1e",
                "account": EXAMPLE_ACCOUNT,
                "kind": "payment.captured",
                "state": "parked",
                "receivedAt": "2026-11-24T09:29:00.123456Z",
                "tries": 2,
                "deliveries": 1,
                "dueAt": "2026-11-24T09:39:00.123456Z",
            }
        ],
    },
    "deliveries": {"count": 1, "more": False, "data": [{**EXAMPLE_DELIVERY, "state": "failed", "lastStatus": 500}]},
    "deadLetters": {"known": False, "count": 0, "data": []},
}
_QUIET: Final[Document] = {"now": 0, "overdue": 0, "oldestS": None, "nextAt": None}
_WORKERS: Final[Document] = {
    "version": "0.8.0",
    "startedAt": "2026-11-24T08:00:00.123456Z",
    "asOf": "2026-11-24T09:30:12.123456Z",
    "store": "payonce-data/payments.db",
    "held": False,
    "worker": True,
    "due": {"now": 1, "overdue": 0, "oldestS": 0, "nextAt": "2026-11-24T09:30:12.023456Z"},
    "webhooksDue": _QUIET,
    "notices": _QUIET,
    "deliveriesDue": _QUIET,
    "deliveries": {"pending": 0, "delivered": 99, "failed": 0, "canceled": 0},
    "inbox": {"new": 0, "matched": 99, "parked": 0, "unmatched": 0},
    "accounts": [{"account": EXAMPLE_ACCOUNT, "inFlight": 1, "callsMax": 8}],
    "backlogMax": 50_000,
    "trouble": None,
}
_WITH_BODY: Final = ("scope_missing", "not_found", "body_timeout", "body_too_large", "media_type_unsupported", *READING)


def paths() -> Document:
    """Each path with its methods, in the order of the document."""
    return {
        "/stats": {"get": _stats()},
        "/stats/declines": {"get": _declines()},
        "/providers": {"get": _providers()},
        "/providers/{account}": {"get": _provider()},
        "/providers/{account}/drain": {"post": _drain()},
        "/providers/{account}/resume": {"post": _resume()},
        "/attention": {"get": _attention()},
        "/workers": {"get": _workers()},
    }


def _stats() -> Document:
    return {
        "operationId": "getStats",
        "tags": ["figures"],
        "summary": "See how your payments go",
        "description": "Counts, rates and times of a window and of the one before, of your payments only. They are counted as "
        "payments are written, and are for people: nothing is decided by them.",
        "parameters": [_window(), request_id()],
        "responses": {"200": ok("The figures.", "Stats", _STATS)} | problems("not_found", *READING),
        "x-codeSamples": curl("curl 'http://127.0.0.1:8080/stats?window=24h'"),
    }


def _declines() -> Document:
    text = {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX, "pattern": "^[^\\u0000-\\u001F\\u007F]+$"}
    return {
        "operationId": "getDeclines",
        "tags": ["figures"],
        "summary": "See why attempts were declined",
        "description": "One payment may be declined at several accounts: attempts are counted, not payments.",
        "parameters": [
            _window(),
            parameter("provider", "query", "Only those at this account.", text, EXAMPLE_ACCOUNT),
            parameter(
                "currency", "query", "ISO 4217 code; lower case is taken too.", {"type": "string", "enum": CURRENCIES}, "INR"
            ),
            request_id(),
        ],
        "responses": {"200": ok("The reasons.", "DeclineList", _DECLINES)} | problems("not_found", *READING),
        "x-codeSamples": curl("curl 'http://127.0.0.1:8080/stats/declines?window=24h'"),
    }


def _providers() -> Document:
    return {
        "operationId": "listProviders",
        "tags": ["care"],
        "summary": "See the provider accounts",
        "description": "Those that take your payments, whether they are drained, whether their circuit breaker is closed, and "
        "your figures there. An account that does not take them any more, and has figures, is shown with `adapter` null.",
        "parameters": [_window(), request_id()],
        "responses": {"200": ok("All of them.", "ProviderList", {"data": [_PROVIDER]})} | problems("not_found", *READING),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/providers"),
    }


def _provider() -> Document:
    return {
        "operationId": "getProvider",
        "tags": ["care"],
        "summary": "See one provider account",
        "parameters": [_account(), _window(), request_id()],
        "responses": {"200": ok("As it is now.", "ProviderBody", _PROVIDER)} | problems("not_found", *READING),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/providers/{EXAMPLE_ACCOUNT}"),
    }


def _drain() -> Document:
    return {
        "operationId": "drainProvider",
        "tags": ["care"],
        "summary": "Keep new payments away from an account",
        "description": "In every process, within about a second. What has begun there goes on: it is read, closed, captured "
        "and given back as before. New payments take the next account of their route, or wait. Sent again, the reason changes. "
        "An account that others use too can be drained by an `admin` of who runs this payonce only.",
        "parameters": [_account(), request_id()],
        "requestBody": _body("DrainRequest", {"reason": "their maintenance until 14:00"}),
        "responses": {"200": ok("It is drained.", "ProviderBody", _DRAINED)} | problems(*_WITH_BODY, reads=False),
        "x-codeSamples": curl(
            f"curl http://127.0.0.1:8080/providers/{EXAMPLE_ACCOUNT}/drain \\\n  -H 'Content-Type: application/json' \\\n"
            '  -d \'{"reason": "their maintenance until 14:00"}\''
        ),
    }


def _resume() -> Document:
    return {
        "operationId": "resumeProvider",
        "tags": ["care"],
        "summary": "Let new payments use an account again",
        "description": "An account that is not drained stays as it is, and nothing is put on record. An open circuit breaker "
        "heals by itself: the next payment after its pause tries the provider; `closeBreaker` does not wait for that.",
        "parameters": [_account(), request_id()],
        "requestBody": _body("ResumeRequest", {"reason": "maintenance is over", "closeBreaker": False}),
        "responses": {"200": ok("It is not drained.", "ProviderBody", _PROVIDER)} | problems(*_WITH_BODY, reads=False),
        "x-codeSamples": curl(
            f"curl http://127.0.0.1:8080/providers/{EXAMPLE_ACCOUNT}/resume \\\n  -H 'Content-Type: application/json' \\\n"
            '  -d \'{"reason": "maintenance is over"}\''
        ),
    }


def _attention() -> Document:
    return {
        "operationId": "getAttention",
        "tags": ["care"],
        "summary": "See what needs somebody",
        "description": "Payments whose outcome is not known, payments that are overdue, webhooks that led nowhere or did not "
        "arrive, and dead letters: of your own, and as far as your key may see them.",
        "parameters": [request_id()],
        "responses": {"200": ok("What there is.", "Attention", _ATTENTION)} | problems("not_found", *READING),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/attention"),
    }


def _workers() -> Document:
    return {
        "operationId": "getWorkers",
        "tags": ["care"],
        "summary": "See how the work goes",
        "description": f"What is due, what waits, and what the answering process does. {HOUSE}",
        "parameters": [request_id()],
        "responses": {"200": ok("As it is now.", "Workers", _WORKERS)} | problems("not_found", *READING),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/workers"),
    }


def _window() -> Document:
    said = f"Which window; `{WINDOW}` when absent."
    return parameter("window", "query", said, {"type": "string", "enum": list(WINDOWS)}, "24h")


def _account() -> Document:
    return parameter("account", "path", "Name of the account.", {"type": "string"}, EXAMPLE_ACCOUNT)


def _body(schema: str, example: Document) -> Document:
    return {
        "required": True,
        "description": f"At most {BODY_BYTES_MAX} bytes of JSON, sent whole within {BODY_S:g} seconds.",
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}},
    }
