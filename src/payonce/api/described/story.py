"""The paths of a payment's story, of a look at its provider, of a decision, and of the search, as the OpenAPI document tells
them."""

from typing import Any, Final

from payonce.api.incoming import BODY_BYTES_MAX, BODY_S
from payonce.shown.bodies import EXAMPLE_ID
from payonce.shown.story_bodies import SEARCH_CHARS_MAX, CheckRequest, ResolveRequest, SearchResult, Story

from .examples import EXAMPLE_EVENT, EXAMPLE_PAYMENT, SETTLED_PAYMENT
from .parts import curl, ok, parameter, payment_id, problems, ref, request_id

Document = dict[str, Any]

TAKEN: Final = (CheckRequest, ResolveRequest)
SHOWN: Final = (Story, SearchResult)
BODY_PROBLEMS: Final = ("body_timeout", "body_too_large", "media_type_unsupported", "validation_failed", "card_number_refused")

_AT: Final = "2026-11-24T09:30:00.654321Z"
_TRIED: Final[Document] = {
    **SETTLED_PAYMENT,
    "status": "FAILED",
    "captured": 0,
    "providerRef": None,
    "reason": "not_charged",
    "operations": [{**SETTLED_PAYMENT["operations"][0], "status": "FAILED", "reason": "not_charged"}],
}
_CALL: Final[Document] = {
    "attempt": 1,
    "operation": None,
    "kind": "fire",
    "account": "razorpay_mock",
    "method": "POST",
    "url": "http://127.0.0.1:8080/sandbox/razorpay/v1/payments/create/json",
    "request": {"amount": 1050, "currency": "INR"},
    "answer": {
        "type": "Succeeded",
        "ref": "pay_00000000000042",
        "reference": f"{EXAMPLE_ID[4:]}0100",
        "amount_minor": 1050,
        "currency": "INR",
        "mode": "test",
    },
    "outcome": "Succeeded",
    "tookMs": 120,
}
_LINE: Final[Document] = {
    "seq": 1,
    "at": "2026-11-24T09:30:00.123456Z",
    "afterMs": 0,
    "actor": "api",
    "requestId": "req_5f0c2d9e81b7a3460d1e",
    "kind": "Accepted",
    "where": "",
    "text": "accepted: 10.50 INR, test mode",
    "status": "PENDING",
    "changed": True,
    "waited": "",
    "waitedMs": 0,
    "hash": EXAMPLE_EVENT["hash"],
    "note": "",
    "call": None,
}
_SENT: Final[Document] = {
    **_LINE,
    "seq": 2,
    "afterMs": 100,
    "actor": "worker",
    "requestId": "",
    "kind": "Planned",
    "where": "attempt 1 razorpay_mock fire",
    "text": "the charge is sent to razorpay_mock (first of the route)",
    "changed": False,
    "call": _CALL,
}
_BAR: Final[Document] = {
    "seq": 2,
    "row": "attempt 1 razorpay_mock",
    "kind": "call",
    "label": "fire",
    "fromMs": 100,
    "untilMs": 220,
    "tone": "ok",
    "text": "the charge is sent to razorpay_mock (first of the route): charged 10.50 INR (pay_00000000000042)",
}
EXAMPLE_STORY: Final[Document] = {
    "payment": SETTLED_PAYMENT,
    "money": "10.50 INR was taken, once (pay_00000000000042).",
    "next": "Nothing: it is settled.",
    "due": None,
    "dueAt": None,
    "actions": [
        {"action": "refund", "allowed": True, "why": "", "maxAmount": 1050, "decisions": []},
        {
            "action": "void",
            "allowed": False,
            "why": f"{EXAMPLE_ID} is SUCCESS: there is nothing to void. Its money was taken: refund it.",
            "maxAmount": None,
            "decisions": [],
        },
    ],
    "route": {"by": "rule inr", "candidates": SETTLED_PAYMENT["route"]},
    "lines": [_LINE, _SENT],
    "bars": [_BAR],
    "webhooks": [
        {
            "id": "wh_5t0c2d9e81b7a3460d1e",
            "account": "razorpay_mock",
            "kind": "payment.captured",
            "receivedAt": _AT,
            "state": "matched",
            "deliveries": 1,
        }
    ],
    "deliveries": [],
}


_NULL: Final[Document] = {"type": "null"}
# what goes with which decision
_SHAPES: Final[tuple[Document, ...]] = (
    {
        "properties": {
            "decision": {"const": "charged"},
            "operationId": _NULL,
            "providerRef": {"type": "string"},
            "amount": {"type": "integer"},
        },
        "required": ["providerRef", "amount"],
    },
    {
        "properties": {
            "decision": {"enum": ["not-charged", "reversed"]},
            **dict.fromkeys(("operationId", "providerRef", "amount", "acceptAmount"), _NULL),
        }
    },
    {
        "properties": {
            "decision": {"enum": ["done", "not-done"]},
            "operationId": {"type": "string"},
            **dict.fromkeys(("providerRef", "amount", "acceptAmount"), _NULL),
        },
        "required": ["operationId"],
    },
)


def paths() -> Document:
    """Each path with its methods, in the order of the document."""
    return {
        "/payments/{id}/story": {"get": _story()},
        "/payments/{id}/check": {"post": _check()},
        "/payments/{id}/resolve": {"post": _resolve()},
        "/search": {"get": _search()},
    }


def _story() -> Document:
    return {
        "operationId": "getPaymentStory",
        "tags": ["payments"],
        "summary": "See what happened to a payment, why, and what can be done",
        "description": "The history in words, with each call to a provider (masked), the state of the money in a sentence, "
        "what is due next, and the actions that are possible now. `payonce show` tells the same. Made for people: the words "
        "may change between versions; programs read `GET /payments/{id}` and `/history`.",
        "parameters": [payment_id(), request_id()],
        "responses": {"200": ok("The story.", "Story", EXAMPLE_STORY)}
        | problems("not_found", "validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/payments/{EXAMPLE_ID}/story"),
    }


def _check() -> Document:
    return {
        "operationId": "checkPayment",
        "tags": ["operations"],
        "summary": "Look at the provider now",
        "description": "Everything that is not known to its end is read at once instead of at its next time; the answer is in "
        "the story a moment later. It can do nothing but read, so no key is needed. Refused when a look would tell nothing "
        f"new, or is asked for already. The body may be left out; it has at most {BODY_BYTES_MAX} bytes and arrives within "
        f"{BODY_S:g} seconds.",
        "parameters": [payment_id(), request_id()],
        "requestBody": {
            "required": False,
            "description": "One JSON object in UTF-8; application/*+json is taken too.",
            "content": {"application/json": {"schema": ref("CheckRequest"), "example": {"note": "the customer called"}}},
        },
        "responses": {"202": ok("It is on record, and will be read.", "PaymentBody", {**EXAMPLE_PAYMENT, "attempts": 1})}
        | problems(*BODY_PROBLEMS, "not_found", "operation_not_possible", "retry_same_key", "not_ready", reads=False),
        "x-codeSamples": curl(f"curl -i -X POST http://127.0.0.1:8080/payments/{EXAMPLE_ID}/check"),
    }


def _resolve() -> Document:
    return {
        "operationId": "resolvePayment",
        "tags": ["operations"],
        "summary": "Record what you found at the provider",
        "description": "For a payment that is `IN_DOUBT` or needs attention, or, with `operationId`, for its capture, void or "
        "refund in doubt. `actions` of its story says which decisions there are. It sends nothing to any provider; what a "
        "provider proves later still counts: a charge that turns up after `not-charged` is given back. A decision that stands "
        f"is not taken twice. The body has at most {BODY_BYTES_MAX} bytes and arrives within {BODY_S:g} seconds.",
        "parameters": [payment_id(), request_id()],
        "requestBody": {
            "required": True,
            "description": "One JSON object in UTF-8; application/*+json is taken too.",
            "content": {
                "application/json": {
                    "schema": {**ref("ResolveRequest"), "oneOf": list(_SHAPES)},
                    "example": {"decision": "not-charged", "reason": "their support says so, ticket 4711"},
                }
            },
        },
        "responses": {"200": ok("It is on record.", "PaymentBody", _TRIED)}
        | problems(
            *BODY_PROBLEMS,
            "not_found",
            "nothing_to_resolve",
            "resolution_incomplete",
            "retry_same_key",
            "not_ready",
            reads=False,
        ),
        "x-codeSamples": curl(
            f"curl -i http://127.0.0.1:8080/payments/{EXAMPLE_ID}/resolve \\\n  -H 'Content-Type: application/json' \\\n"
            '  -d \'{"decision": "not-charged", "reason": "ticket 4711"}\''
        ),
    }


def _search() -> Document:
    text = {"type": "string"}
    return {
        "operationId": "search",
        "tags": ["payments"],
        "summary": "Find a payment by any of its names",
        "description": "A payment's id, the reference or id that a provider knows it by, an idempotency key, the id of an "
        "operation or of an event, or a value of its metadata: whole, exactly as it is written, spaces around it aside. Only "
        "your own payments are found; a text that is none of this finds nothing, which is no error.",
        "parameters": [
            parameter("q", "query", f"What to look for; beyond {SEARCH_CHARS_MAX} characters nothing is found.", text, "ch_42"),
            request_id(),
        ],
        "responses": {
            "200": ok(
                "What is known under it.",
                "SearchResult",
                {"q": "pay_00000000000042", "data": [{"matched": "provider_ref", "payment": SETTLED_PAYMENT}]},
            )
        }
        | problems("validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": curl("curl 'http://127.0.0.1:8080/search?q=order-1001'"),
    }
