"""The paths of captures, voids and refunds, and of customers who come back, as the OpenAPI document tells them."""

from typing import Any, Final

from payonce.api.incoming import BODY_BYTES_MAX, BODY_S
from payonce.shown.bodies import EXAMPLE_ID, EXAMPLE_OPERATION, OPERATION_ID, REFERENCE

from .examples import EXAMPLE_CHARGE, EXAMPLE_REFUND, REFUNDED_PAYMENT, asked_of_a_hold
from .parts import HEADER_KEY, curl, header, headers, ok, parameter, payment_id, problems, ref, request_id

Document = dict[str, Any]

EXAMPLE_RETURN: Final = "https://shop.example/paid?order=1001&transactionId=" + EXAMPLE_ID
# What a POST that creates something can answer, whatever it creates.
ASKING_PROBLEMS: Final = (
    "body_timeout",
    "idempotency_key_missing",
    "idempotency_key_invalid",
    "request_in_progress",
    "body_too_large",
    "media_type_unsupported",
    "validation_failed",
    "card_number_refused",
    "idempotency_key_reused",
    "retry_same_key",
    "not_ready",
)


def key_parameter() -> Document:
    return parameter(
        "Idempotency-Key",
        "header",
        "One fresh value per payment or operation you intend, bare or as a quoted string; kept for the life of the payment. "
        "Needed here or as `idempotencyKey` in the body.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": HEADER_KEY},
        "order-1001",
    )


def accepted(description: str, schema: str, example: Document, location: str) -> Document:
    """A 202 with its headers."""
    answer = ok(description, schema, example)
    answer["headers"] |= {
        "Location": header("Where it can be read.", {"type": "string"}, location),
        "Idempotent-Replayed": header("Present when the key was known.", {"type": "string", "enum": ["true"]}, "true"),
    }
    return answer


def capture() -> Document:
    return _ask(
        "capturePayment",
        "capture",
        "Take the money that is held",
        "For a payment that is `AUTHORIZED` (captureMethod `manual`). One capture per payment; where the account takes parts, "
        "less than the hold, and the rest is given free. Capture and void exclude each other, until the first is settled.",
        {},
        "amount_exceeds_available",
        "partial_capture_unsupported",
    )


def void() -> Document:
    return _ask(
        "voidPayment",
        "void",
        "Give the hold back, or cancel a payment that has not ended",
        "A payment that is `AUTHORIZED` has its hold given back: at once where the provider can, else by letting it lapse. One "
        "that is `PENDING` or waits for the customer is canceled unless the money was taken before; then the void is `FAILED` "
        "with `already_charged`: refund it.",
        {},
    )


def refund() -> Document:
    return _ask(
        "refundPayment",
        "refunds",
        "Give money back",
        "For a payment that is `SUCCESS`, all of it or parts. All refunds together, but for those that `FAILED`, never exceed "
        "what was captured, however many are asked at the same time. A refund may stay `PENDING` for days, and may fail after "
        "it had succeeded.",
        {"amount": 250},
        "amount_exceeds_available",
    )


def _ask(name: str, verb: str, summary: str, says: str, body: Document, *more: str) -> Document:
    kind = "refund" if verb == "refunds" else verb
    example = asked_of_a_hold(kind) if verb != "refunds" else {**EXAMPLE_REFUND, "payment": REFUNDED_PAYMENT}
    location = f"/payments/{EXAMPLE_ID}/operations/{EXAMPLE_OPERATION}"
    done = f"The {kind} is durably written and will be done; or the key was known, and this is its operation as it is now."
    shown = f"curl -i -X POST http://127.0.0.1:8080/payments/{EXAMPLE_ID}/{verb} \\\n  -H 'Idempotency-Key: {kind}-1001'"
    if body:
        shown += " \\\n  -H 'Content-Type: application/json' \\\n  -d '{\"amount\": 250}'"
    schema = "VoidRequest" if verb == "void" else "AmountRequest"
    return {
        "operationId": name,
        "tags": ["operations"],
        "summary": summary,
        "description": f"{says} The body may be left out, with its Content-Type; it has at most {BODY_BYTES_MAX} bytes and "
        f"arrives within {BODY_S:g} seconds. A key that stands for a payment or for another operation is refused. Query "
        "parameters are refused.",
        "parameters": [payment_id(), key_parameter(), request_id()],
        "requestBody": {
            "required": False,
            "description": "One JSON object in UTF-8; application/*+json is taken too.",
            "content": {"application/json": {"schema": ref(schema), "example": body}},
        },
        "responses": {"202": accepted(done, "OperationBody", example, location)}
        | problems(*ASKING_PROBLEMS, "not_found", "operation_in_progress", "operation_not_possible", *more, reads=False),
        "x-codeSamples": curl(shown),
    }


def refunds() -> Document:
    return _listing("listRefunds", "refunds", "See the refunds of a payment", [EXAMPLE_REFUND])


def operations() -> Document:
    both = [{**EXAMPLE_CHARGE, "status": "SUCCEEDED"}, EXAMPLE_REFUND]
    return _listing("listOperations", "operations", "See all that was asked of a payment", both)


def _listing(name: str, path: str, summary: str, example: list[Document]) -> Document:
    return {
        "operationId": name,
        "tags": ["operations"],
        "summary": summary,
        "parameters": [payment_id(), request_id()],
        "responses": {"200": ok("All of them, the newest last.", "OperationList", {"data": example})}
        | problems("not_found", "validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/payments/{EXAMPLE_ID}/{path}"),
    }


def operation() -> Document:
    schema = {"type": "string", "pattern": OPERATION_ID}
    return {
        "operationId": "getOperation",
        "tags": ["operations"],
        "summary": "See one operation as it is now",
        "parameters": [
            payment_id(),
            parameter("operationId", "path", "Id of the operation.", schema, EXAMPLE_OPERATION),
            request_id(),
        ],
        "responses": {"200": ok("It, with its payment.", "OperationBody", {**EXAMPLE_REFUND, "payment": REFUNDED_PAYMENT})}
        | problems("not_found", "validation_failed", "card_number_refused", "not_ready"),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/payments/{EXAMPLE_ID}/operations/{EXAMPLE_OPERATION}"),
    }


def come_back(method: str) -> Document:
    """The same for GET and POST: some providers send the browser with a form."""
    schema = {"type": "string", "pattern": REFERENCE}
    reference = parameter("reference", "path", "Our name for the attempt at the provider.", schema, f"{EXAMPLE_ID[4:]}0100")
    on = {
        "description": "On to the merchant's `returnUrl`, with `transactionId` in its query.",
        "headers": headers() | {"Location": header("Where to.", {"type": "string"}, EXAMPLE_RETURN)},
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
    stay = {
        "description": "A page that says that all is done: the payment was made without a `returnUrl`.",
        "headers": headers(),
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
    return {
        "operationId": "comeBack" if method == "get" else "comeBackWithForm",
        "tags": ["customers"],
        "summary": "Where a provider sends the customer after an action",
        "description": "Nothing that comes with the request is believed or passed on: the payment is read at its provider, and "
        "the customer goes to the address that is stored.",
        "parameters": [reference, request_id()],
        "responses": {"200": stay, "303": on} | problems("not_found", "not_ready", reads=method == "get"),
    }
