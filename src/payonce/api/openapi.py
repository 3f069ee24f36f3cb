"""The OpenAPI 3.1 document, made from the structs that are encoded and the table of problems; built once, then cached."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, get_args

import msgspec

from payonce import __version__
from payonce.core.errors import PROBLEMS
from payonce.core.payment import PaymentStatus

from .bodies import (
    CURRENCIES,
    EXAMPLE_ID,
    PAYMENT_ID,
    History,
    Live,
    NewPaymentRequest,
    PaymentBody,
    PaymentList,
    Readiness,
)
from .incoming import BODY_BYTES_MAX, BODY_S, TEXT_CHARS_MAX, Request
from .payments import AFTER_MAX, HISTORY_LIMIT, HISTORY_LIMIT_MAX, LIST_LIMIT, LIST_LIMIT_MAX
from .problems import TOLD_READERS, Answer, Problem

Document = dict[str, Any]

HEADER_KEY: Final = '^(?:[!#-~][!-~]{0,254}|"|"[!#-~]|"[!-~]{2,254})$'  # bare or a quoted string, but not two quotes

EXAMPLE_PAYMENT: Final[Document] = {
    "transactionId": EXAMPLE_ID,
    "status": "PENDING",
    "amount": 1050,
    "currency": "INR",
    "attempts": 0,
    "provider": None,
    "providerRef": None,
    "lastError": None,
    "reason": None,
    "attention": None,
    "rule": None,
    "route": [],
    "clientId": "shop-7",
    "paymentMethod": {"type": None, "token": "tok_ok"},
    "description": "Order 1001",
    "metadata": {"orderId": "1001"},
    "captureMethod": "automatic",
    "idempotencyKey": "order-1001",
    "captured": 0,
    "refunded": 0,
    "reversed": 0,
    "mode": "test",
    "createdAt": "2026-11-24T09:30:00.123456Z",
    "updatedAt": "2026-11-24T09:30:00.123456Z",
}
SETTLED_PAYMENT: Final[Document] = {
    **EXAMPLE_PAYMENT,
    "status": "SUCCESS",
    "attempts": 1,
    "provider": "razorpay_mock",
    "providerRef": "pay_00000000000042",
    "rule": "inr",
    "route": [
        {"account": "razorpay_mock", "taken": True, "why": "rule inr: currency INR"},
        {"account": "mock", "taken": True, "why": "fallback: takes INR"},
        {"account": "cashfree_mock", "taken": True, "why": "fallback: takes INR"},
    ],
    "captured": 1050,
    "updatedAt": "2026-11-24T09:30:00.654321Z",
}
EXAMPLE_EVENT: Final[Document] = {
    "id": f"evt_{EXAMPLE_ID[4:]}000001",
    "seq": 1,
    "at": "2026-11-24T09:30:00.123456Z",
    "actor": "api",
    "requestId": "req_5f0c2d9e81b7a3460d1e",
    "kind": "Accepted",
    "data": {"type": "Accepted", "amount_minor": 1050, "currency": "INR"},
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "prev": "",
}
EXAMPLE_REQUEST: Final[Document] = {
    "amount": 1050,
    "currency": "INR",
    "paymentMethod": "tok_ok",
    "clientId": "shop-7",
    "description": "Order 1001",
    "metadata": {"orderId": "1001"},
}

INTRODUCTION: Final = (
    "One API in front of many payment providers. `POST /payments` answers 202 once the payment is durably written; it is then "
    "settled in the background, and never charged twice. Every request that creates something carries an idempotency key: "
    "send the same request with the same key as often as you like.\n\n"
    "Amounts are integers in minor units. Times are RFC 3339 in UTC. Every answer has a Request-Id. Whatever is not accepted "
    "is answered with `application/problem+json`: a stable `code`, what state the money is in, and what to do next. Only bytes "
    "that are no HTTP request (broken or contradictory framing, a request head that grows beyond 16 KiB) get a bare 400 in "
    "plain text from the server in front, and the connection is closed: nothing of them was read as a payment. So is a "
    "connection on which a request head does not arrive within 10 seconds, without an answer."
)


@cache
def document() -> Document:
    """The document. Do not change it: it is shared."""
    structs = (NewPaymentRequest, PaymentBody, PaymentList, History, Problem, Live, Readiness)
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    schemas["Problem"]["properties"]["code"]["x-problems"] = {
        code: {"status": p.status, "title": p.title, "money": p.money, "next": p.next} for code, p in PROBLEMS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "payonce",
            "version": __version__,
            "summary": "Settles every accepted payment and never charges twice.",
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "security": [],
        "tags": [
            {"name": "payments", "description": "Accept payments and see what became of them."},
            {"name": "service", "description": "The state of the service, and these documents."},
        ],
        "paths": {
            "/payments": {"post": _create(), "get": _list()},
            "/payments/{id}": {"get": _get()},
            "/payments/{id}/history": {"get": _history()},
            "/livez": {"get": _livez()},
            "/readyz": {"get": _readyz()},
            "/openapi.json": {"get": _plain("getOpenapi", "This document", "application/json", {"type": "object"})},
            "/docs": {"get": _plain("getDocs", "This document for people", "text/html", {"type": "string"})},
            "/docs/style.css": {"get": _plain("getDocsStyle", "The style of /docs", "text/css", {"type": "string"})},
        },
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


@cache
def encoded() -> bytes:
    return msgspec.json.encode(document())


async def serve(_request: Request) -> Answer:
    return Answer(200, encoded(), headers=((b"cache-control", b"no-cache"),))


def codes_of(operation: Document) -> set[str]:
    """Every problem code that an operation of the document can answer."""
    contents = (r.get("content", {}).get("application/problem+json") for r in operation["responses"].values())
    return {code for c in contents if c for code in c["schema"]["allOf"][1]["properties"]["code"]["enum"]}


# --- operations -------------------------------------------------------------------------------------------------------


def _create() -> Document:
    key = _parameter(
        "Idempotency-Key",
        "header",
        "One fresh value per payment you intend, bare or as a quoted string; kept for the life of the payment. "
        "Needed here or as `idempotencyKey` in the body.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": HEADER_KEY},
        "order-1001",
    )
    accepted = _ok(
        "The payment is durably written and will be settled; or the key was known, and this is its payment as it is now.",
        "PaymentBody",
        EXAMPLE_PAYMENT,
    )
    accepted["headers"] |= {
        "Location": _header("Where the payment can be read.", {"type": "string"}, f"/payments/{EXAMPLE_ID}"),
        "Idempotent-Replayed": _header("Present when the key was known.", {"type": "string", "enum": ["true"]}, "true"),
    }
    return {
        "operationId": "createPayment",
        "tags": ["payments"],
        "summary": "Accept a payment",
        "description": "Checked in this order: media type, size, JSON, key, fields. Nothing is stored before all of it holds. "
        f"The body has at most {BODY_BYTES_MAX} bytes and arrives within {BODY_S:g} seconds; no object holds a name twice; "
        "a card number anywhere is refused. "
        "Query parameters are refused.",
        "parameters": [key, _request_id()],
        "requestBody": {
            "required": True,
            "description": "One JSON object in UTF-8; application/*+json is taken too.",
            "content": {"application/json": {"schema": _ref("NewPaymentRequest"), "example": EXAMPLE_REQUEST}},
        },
        "responses": {"202": accepted}
        | _problems(
            "body_timeout",
            "idempotency_key_missing",
            "idempotency_key_invalid",
            "request_in_progress",
            "body_too_large",
            "media_type_unsupported",
            "validation_failed",
            "card_number_refused",
            "no_route",
            "capture_method_unsupported",
            "test_token_refused",
            "idempotency_key_reused",
            "retry_same_key",
            "not_ready",
            reads=False,
        ),
        "x-codeSamples": _curl(
            "curl -i http://127.0.0.1:8080/payments \\\n  -H 'Content-Type: application/json' \\\n"
            "  -H 'Idempotency-Key: order-1001' \\\n"
            '  -d \'{"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok"}\''
        ),
    }


def _list() -> Document:
    text = {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX, "pattern": "^[^\\u0000-\\u001F\\u007F]+$"}
    time = {"type": "string", "format": "date-time"}
    limit = {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT_MAX, "default": LIST_LIMIT}
    statuses = {"type": "string", "enum": list(get_args(PaymentStatus))}
    return {
        "operationId": "listPayments",
        "tags": ["payments"],
        "summary": "List payments, newest first",
        "description": "Filters are exact and all must hold. Each parameter stands at most once, unknown ones are refused.",
        "parameters": [
            _parameter("status", "query", "Payments with this status.", statuses, "SUCCESS"),
            _parameter("provider", "query", "Account of the kept charge, else of the youngest attempt.", text, "mock"),
            _parameter(
                "currency", "query", "ISO 4217 code; lower case is taken too.", {"type": "string", "enum": CURRENCIES}, "INR"
            ),
            _parameter("clientId", "query", "Your label.", text, "shop-7"),
            _parameter(
                "idempotencyKey",
                "query",
                "The key a payment was accepted under, bare or as a quoted string: one payment or none. Without `cursor`.",
                {"type": "string", "minLength": 1, "maxLength": 255, "pattern": HEADER_KEY},
                "order-1001",
            ),
            _parameter("createdFrom", "query", "Accepted at or after this time.", time, "2026-11-24T00:00:00Z"),
            _parameter("createdBefore", "query", "Accepted before this time.", time, "2026-11-25T00:00:00Z"),
            _parameter(
                "attention", "query", "`true`: only payments that need eyes, IN_DOUBT ones included.", {"type": "boolean"}, True
            ),
            _parameter("limit", "query", "Payments of one page.", limit, 20),
            _parameter("cursor", "query", "`nextCursor` of the page before.", text),
            _request_id(),
        ],
        "responses": {"200": _ok("A page.", "PaymentList", {"data": [SETTLED_PAYMENT], "nextCursor": None})}
        | _problems("validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": _curl("curl 'http://127.0.0.1:8080/payments?status=SUCCESS&limit=20'"),
    }


def _get() -> Document:
    return {
        "operationId": "getPayment",
        "tags": ["payments"],
        "summary": "See a payment as it is now",
        "parameters": [_id(), _request_id()],
        "responses": {"200": _ok("The payment.", "PaymentBody", SETTLED_PAYMENT)}
        | _problems("not_found", "validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": _curl(f"curl http://127.0.0.1:8080/payments/{EXAMPLE_ID}"),
    }


def _history() -> Document:
    after = {"type": "integer", "minimum": 0, "maximum": AFTER_MAX, "default": 0}
    limit = {"type": "integer", "minimum": 1, "maximum": HISTORY_LIMIT_MAX, "default": HISTORY_LIMIT}
    return {
        "operationId": "getPaymentHistory",
        "tags": ["payments"],
        "summary": "See everything that happened to a payment",
        "parameters": [
            _id(),
            _parameter("after", "query", "Events after this seq.", after, 0),
            _parameter("limit", "query", "Events of one page.", limit, 100),
            _request_id(),
        ],
        "responses": {"200": _ok("A page, oldest first.", "History", {"data": [EXAMPLE_EVENT], "nextAfter": None})}
        | _problems("not_found", "validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": _curl(f"curl http://127.0.0.1:8080/payments/{EXAMPLE_ID}/history"),
    }


def _livez() -> Document:
    return {
        "operationId": "getLive",
        "tags": ["service"],
        "summary": "Does the process run?",
        "parameters": [_request_id()],
        "responses": {"200": _ok("It runs.", "Live", {"status": "live"})} | _problems(),
        "x-codeSamples": _curl("curl http://127.0.0.1:8080/livez"),
    }


def _readyz() -> Document:
    return {
        "operationId": "getReady",
        "tags": ["service"],
        "summary": "Can payments be accepted?",
        "parameters": [_request_id()],
        "responses": {"200": _ok("They can.", "Readiness", {"status": "ready", "checks": {"store": "ok"}})}
        | _problems("not_ready"),
        "x-codeSamples": _curl("curl http://127.0.0.1:8080/readyz"),
    }


def _plain(name: str, summary: str, media_type: str, schema: Document) -> Document:
    content = {"description": summary + ".", "headers": _headers(), "content": {media_type: {"schema": schema}}}
    return {
        "operationId": name,
        "tags": ["service"],
        "summary": summary,
        "parameters": [_request_id()],
        "responses": {"200": content} | _problems(),
    }


# --- their parts ------------------------------------------------------------------------------------------------------


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _header(description: str, schema: Document, example: object) -> Document:
    return {"description": description, "schema": schema, "required": False, "example": example}


def _headers() -> Document:
    request_id = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}
    return {"Request-Id": {**_header("Names this request.", request_id, "req_5f0c2d9e81b7a3460d1e"), "required": True}}


def _ok(description: str, schema: str, example: Document) -> Document:
    content = {"application/json": {"schema": _ref(schema), "example": example}}
    return {"description": description, "headers": _headers(), "content": content}


def _parameter(name: str, where: str, description: str, schema: Document, example: object = None) -> Document:
    said = {"name": name, "in": where, "required": where == "path", "description": description, "schema": schema}
    return said if example is None else {**said, "example": example}


def _id() -> Document:
    return _parameter("id", "path", "Id of the payment.", {"type": "string", "pattern": PAYMENT_ID}, EXAMPLE_ID)


def _request_id() -> Document:
    return _parameter(
        "Request-Id",
        "header",
        "Your own name for this request, 1 to 64 of `A-Z a-z 0-9 . _ -`; anything else is replaced by one of ours.",
        {"type": "string"},
        "checkout-42",
    )


def _problems(*codes: str, reads: bool = True) -> Document:
    """The answers to refused requests by status; some can happen everywhere. Examples speak of reads or of writes."""
    by_status: dict[int, list[str]] = {}
    for code in ("body_invalid", *codes, "headers_too_large", "internal_error"):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {str(status): _problem_answer(status, grouped, reads) for status, grouped in sorted(by_status.items())}


def _problem_answer(status: int, codes: list[str], reads: bool) -> Document:
    headers = _headers()
    if status in (409, 503):
        headers["Retry-After"] = _header("Seconds to wait.", {"type": "string", "pattern": "^[0-9]+$"}, "1")
    narrowed = {"properties": {"code": {"enum": codes}, "status": {"const": status}}}
    content = {
        "schema": {"allOf": [_ref("Problem"), narrowed]},
        "examples": {code: {"summary": PROBLEMS[code].title, "value": _example(code, reads)} for code in codes},
    }
    description = " or ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes) + "."
    return {"description": description, "headers": headers, "content": {"application/problem+json": content}}


def _example(code: str, reads: bool) -> Document:
    p = PROBLEMS[code]
    money, what_next = TOLD_READERS.get(code, (p.money, p.next)) if reads else (p.money, p.next)
    named = code in ("validation_failed", "idempotency_key_reused")
    rule = "must be an integer in minor units, 1 to 999999999999" if code == "validation_failed" else "differs from the first"
    return {
        "type": f"/docs#problem-{code}",
        "title": p.title,
        "status": p.status,
        "detail": p.title + ".",
        "instance": "/payments",
        "code": code,
        "money": money,
        "next": what_next,
        "requestId": "req_5f0c2d9e81b7a3460d1e",
        "errors": [{"field": "amount", "rule": rule}] if named else [],
    }


def _curl(source: str) -> list[Document]:
    return [{"lang": "Shell", "label": "curl", "source": source}]


def operations() -> Iterable[tuple[str, str, Document]]:
    """Path, method and operation, in the order of the document."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation
