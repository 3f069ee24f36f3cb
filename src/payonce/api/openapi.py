"""The OpenAPI 3.1 document, made from the structs that are encoded and the table of problems; built once, then cached."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, get_args

import msgspec

from payonce import __version__
from payonce.core.errors import PROBLEMS
from payonce.core.payment import PaymentStatus
from payonce.mail import WEBHOOK_BYTES_MAX
from payonce.shown.bodies import (
    CURRENCIES,
    EXAMPLE_ID,
    AmountRequest,
    History,
    Live,
    NewPaymentRequest,
    OperationBody,
    OperationList,
    PaymentBody,
    PaymentList,
    Readiness,
    VoidRequest,
)

from .described import endpoints as hooks
from .described import operations as asked
from .described import routing as house
from .described import stats as care
from .described import story as stories
from .described.events import told
from .described.examples import (
    EXAMPLE_EVENT,
    EXAMPLE_PAYMENT,
    EXAMPLE_REQUEST,
    EXAMPLE_WEBHOOK,
    SETTLED_PAYMENT,
    WAITING_PAYMENT,
)
from .described.links import linked
from .described.operations import ASKING_PROBLEMS, accepted, key_parameter
from .described.parts import (
    HEADER_KEY,
    SCHEMES,
    behind_the_door,
    curl,
    headers,
    ok,
    parameter,
    payment_id,
    problems,
    ref,
    request_id,
)
from .incoming import BODY_BYTES_MAX, BODY_S, TEXT_CHARS_MAX, Request
from .payments import AFTER_MAX, HISTORY_LIMIT, HISTORY_LIMIT_MAX, LIST_LIMIT, LIST_LIMIT_MAX
from .problems import Answer, Problem
from .rights import needs_of
from .webhooks import WebhookReceipt

Document = dict[str, Any]
EXAMPLE_METRICS: Final = 'payonce_payments_accepted_total{currency="INR",mode="test"} 42.0\n'

INTRODUCTION: Final = (
    "One API in front of many payment providers. `POST /payments` answers 202 once the payment is durably written; it is then "
    "settled in the background, and never charged twice. What is asked of a payment later (capture, void, refund) is accepted "
    "the same way. Every request that creates something carries an idempotency key: send the same request with the same key as "
    "often as you like.\n\n"
    "Where keys are needed (everywhere but on a machine of your own), each request names one: `Authorization: Bearer "
    "sk_test_...`. A key belongs to one merchant and one mode: what is another's is not there for it, and looks exactly like "
    "what never was. It may do what its scopes say: `payments:read`, `payments:write` (which includes reading), "
    "`refunds:write`, `admin` (all of it, and the webhook endpoints). A key that asks too often gets a 429, and a service that "
    "is full a 503, both with Retry-After: send the same request again.\n\n"
    "Amounts are integers in minor units. Times are RFC 3339 in UTC. Every answer has a Request-Id. Whatever is not accepted "
    "is answered with `application/problem+json`: a stable `code`, what state the money is in, and what to do next. Only bytes "
    "that are no HTTP request (broken or contradictory framing, a request head that grows beyond 16 KiB) get a bare 400 in "
    "plain text from the server in front, and the connection is closed: nothing of them was read as a payment. So is a "
    "connection on which a request head does not arrive within 10 seconds, without an answer."
)


@cache
def document() -> Document:
    """The document. Do not change it: it is shared."""
    _, schemas = msgspec.json.schema_components(_structs(), ref_template="#/components/schemas/{name}")
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
            {"name": "operations", "description": "Take what is held, give it back, refund what was taken."},
            *hooks.TAGS,
            *care.TAGS,
            *house.TAGS,
            {"name": "customers", "description": "Where they come back to from a provider."},
            {"name": "webhooks", "description": "What providers send."},
            {"name": "service", "description": "The state of the service, and these documents."},
        ],
        "paths": _behind_the_door(
            {
                "/payments": {"post": _create(), "get": _list()},
                "/payments/{id}": {"get": _get()},
                "/payments/{id}/history": {"get": _history()},
                "/payments/{id}/capture": {"post": asked.capture()},
                "/payments/{id}/void": {"post": asked.void()},
                "/payments/{id}/refunds": {"post": asked.refund(), "get": asked.refunds()},
                "/payments/{id}/operations": {"get": asked.operations()},
                "/payments/{id}/operations/{operationId}": {"get": asked.operation()},
                **stories.paths(),
                **hooks.paths(),
                **care.paths(),
                **house.paths(),
                "/return/{reference}": {"get": asked.come_back("get"), "post": asked.come_back("post")},
                "/webhooks/{account}": {"post": _hear()},
                "/livez": {"get": _livez()},
                "/readyz": {"get": _readyz()},
                "/metrics": {"get": _metrics()},
                "/openapi.json": {"get": _plain("getOpenapi", "This document", "application/json", {"type": "object"})},
                "/docs": {"get": _plain("getDocs", "This document for people", "text/html", {"type": "string"})},
                "/docs/style.css": {"get": _plain("getDocsStyle", "The style of /docs", "text/css", {"type": "string"})},
            }
        ),
        "webhooks": told(),
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": SCHEMES},
    }


def _structs() -> tuple[type, ...]:
    """All that is taken and shown."""
    taken = (NewPaymentRequest, AmountRequest, VoidRequest)
    shown = (PaymentBody, PaymentList, History, OperationBody, OperationList, Problem, WebhookReceipt, Live, Readiness)
    return (
        *taken,
        *shown,
        *stories.TAKEN,
        *stories.SHOWN,
        *hooks.TAKEN,
        *hooks.SHOWN,
        *care.TAKEN,
        *care.SHOWN,
        *house.TAKEN,
        *house.SHOWN,
    )


def _behind_the_door(paths: Document) -> Document:
    """Every operation with its links and the key that ``rights.NEEDS`` asks for. Raises KeyError for one that is not in that
    table."""
    return {
        path: {
            method: behind_the_door(path, method, needs_of(path, method.upper()), linked(each))
            for method, each in methods.items()
        }
        for path, methods in paths.items()
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
    done = accepted(
        "The payment is durably written and will be settled; or the key was known, and this is its payment as it is now.",
        "PaymentBody",
        EXAMPLE_PAYMENT,
        f"/payments/{EXAMPLE_ID}",
    )
    return {
        "operationId": "createPayment",
        "tags": ["payments"],
        "summary": "Accept a payment",
        "description": "Checked in this order: media type, size, JSON, key, fields. Nothing is stored before all of it holds. "
        f"The body has at most {BODY_BYTES_MAX} bytes and arrives within {BODY_S:g} seconds; no object holds a name twice; "
        "a card number anywhere is refused. "
        "Query parameters are refused.",
        "parameters": [key_parameter(), request_id()],
        "requestBody": {
            "required": True,
            "description": "One JSON object in UTF-8; application/*+json is taken too.",
            "content": {"application/json": {"schema": ref("NewPaymentRequest"), "example": EXAMPLE_REQUEST}},
        },
        "responses": {"202": done}
        | problems(*ASKING_PROBLEMS, "no_route", "capture_method_unsupported", "test_token_refused", reads=False),
        "x-codeSamples": curl(
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
            parameter("status", "query", "Payments with this status.", statuses, "SUCCESS"),
            parameter("provider", "query", "Account of the kept charge, else of the youngest attempt.", text, "mock"),
            parameter(
                "currency", "query", "ISO 4217 code; lower case is taken too.", {"type": "string", "enum": CURRENCIES}, "INR"
            ),
            parameter("clientId", "query", "Your label.", text, "shop-7"),
            parameter(
                "metadata",
                "query",
                "A value of its metadata, whatever its name: a string as it is, a number or boolean as in JSON. Whole values "
                "only; what has more than 255 characters cannot be asked for.",
                text,
                "order-1001",
            ),
            parameter(
                "declineCode",
                "query",
                "An attempt was declined with this code. On DynamoDB a page may be short or empty although there is more.",
                text,
                "do_not_honor",
            ),
            parameter(
                "idempotencyKey",
                "query",
                "The key that a payment or an operation of it was accepted under, bare or as a quoted string: one payment or "
                "none. Without `cursor`.",
                {"type": "string", "minLength": 1, "maxLength": 255, "pattern": HEADER_KEY},
                "order-1001",
            ),
            parameter("createdFrom", "query", "Accepted at or after this time.", time, "2026-11-24T00:00:00Z"),
            parameter("createdBefore", "query", "Accepted before this time.", time, "2026-11-25T00:00:00Z"),
            parameter(
                "attention", "query", "`true`: only payments that need eyes, IN_DOUBT ones included.", {"type": "boolean"}, True
            ),
            parameter("limit", "query", "Payments of one page.", limit, 20),
            parameter("cursor", "query", "`nextCursor` of the page before.", text),
            request_id(),
        ],
        "responses": {"200": ok("A page.", "PaymentList", {"data": [SETTLED_PAYMENT], "nextCursor": None})}
        | problems("validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": curl("curl 'http://127.0.0.1:8080/payments?status=SUCCESS&limit=20'"),
    }


def _get() -> Document:
    return {
        "operationId": "getPayment",
        "tags": ["payments"],
        "summary": "See a payment as it is now",
        "parameters": [payment_id(), request_id()],
        "responses": {"200": ok("The payment.", "PaymentBody", WAITING_PAYMENT)}
        | problems("not_found", "validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/payments/{EXAMPLE_ID}"),
    }


def _history() -> Document:
    after = {"type": "integer", "minimum": 0, "maximum": AFTER_MAX, "default": 0}
    limit = {"type": "integer", "minimum": 1, "maximum": HISTORY_LIMIT_MAX, "default": HISTORY_LIMIT}
    return {
        "operationId": "getPaymentHistory",
        "tags": ["payments"],
        "summary": "See everything that happened to a payment",
        "parameters": [
            payment_id(),
            parameter("after", "query", "Events after this seq.", after, 0),
            parameter("limit", "query", "Events of one page.", limit, 100),
            request_id(),
        ],
        "responses": {"200": ok("A page, oldest first.", "History", {"data": [EXAMPLE_EVENT], "nextAfter": None})}
        | problems("not_found", "validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/payments/{EXAMPLE_ID}/history"),
    }


def _hear() -> Document:
    account = parameter(
        "account",
        "path",
        "Name of the provider account, as in the configuration.",
        {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
        "razorpay",
    )
    receipt = {"status": "stored", "id": "wh_5t0c2d9e81b7a3460d1e", "repeated": False}
    return {
        "operationId": "hearWebhook",
        "tags": ["webhooks"],
        "summary": "Take a webhook of a provider",
        "description": "The address to enter at the provider. The signature is checked on the bytes that came, whatever their "
        f"media type; at most {WEBHOOK_BYTES_MAX} bytes are taken. A webhook is kept before it is answered, each event once. "
        "Nothing in it is believed: the payment that it is about is read at its provider. `payonce webhooks list` shows them.",
        "parameters": [account, request_id()],
        "requestBody": {
            "required": True,
            "description": "What the provider sends, in its own form.",
            "content": {"application/json": {"schema": {}, "example": EXAMPLE_WEBHOOK}},
        },
        "responses": {"200": ok("It is kept, now or since an earlier delivery.", "WebhookReceipt", receipt)}
        | problems("webhook_refused", "not_found", "body_timeout", "webhook_too_large", "webhook_not_stored", reads=False),
    }


def _livez() -> Document:
    return {
        "operationId": "getLive",
        "tags": ["service"],
        "summary": "Does the process run?",
        "parameters": [request_id()],
        "responses": {"200": ok("It runs.", "Live", {"status": "live"})} | problems(),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/livez"),
    }


def _readyz() -> Document:
    return {
        "operationId": "getReady",
        "tags": ["service"],
        "summary": "Can payments be accepted?",
        "parameters": [request_id()],
        "responses": {"200": ok("They can.", "Readiness", {"status": "ready", "checks": {"store": "ok"}})}
        | problems("not_ready"),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/readyz"),
    }


def _metrics() -> Document:
    text = {"schema": {"type": "string"}, "example": EXAMPLE_METRICS}
    return {
        "operationId": "getMetrics",
        "tags": ["service"],
        "summary": "Figures of this process, for Prometheus",
        "description": "In the text format of Prometheus. What this process counted since it began, and what the store answers "
        "within a second; without it the rest, with `payonce_store_trouble` 1. For callers of `mer_default` only.",
        "parameters": [request_id()],
        "responses": {"200": {"description": "The figures.", "headers": headers(), "content": {"text/plain": text}}}
        | problems("not_found", "validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/metrics"),
    }


def _plain(name: str, summary: str, media_type: str, schema: Document) -> Document:
    content = {"description": summary + ".", "headers": headers(), "content": {media_type: {"schema": schema}}}
    return {
        "operationId": name,
        "tags": ["service"],
        "summary": summary,
        "parameters": [request_id()],
        "responses": {"200": content} | problems(),
    }


def operations() -> Iterable[tuple[str, str, Document]]:
    """Path, method and operation, in the order of the document."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation
