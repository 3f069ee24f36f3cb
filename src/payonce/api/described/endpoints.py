"""The paths of events, webhook endpoints and deliveries, as the OpenAPI document tells them."""

from typing import Any, Final, get_args

from payonce.api.endpoints import DELIVERIES_LIMIT, DELIVERIES_LIMIT_MAX, TYPES
from payonce.api.incoming import BODY_BYTES_MAX, BODY_S
from payonce.mail import DeliveryState
from payonce.shown.bodies import EXAMPLE_ID
from payonce.shown.endpoints import (
    DELIVERY_ID,
    ENDPOINT_ID,
    EXAMPLE_DELIVERY_ID,
    EXAMPLE_ENDPOINT_ID,
    OVERLAP_S,
    AgainRequest,
    DeliveryBody,
    DeliveryPage,
    EndpointBody,
    EndpointChange,
    EndpointList,
    NewEndpointRequest,
    Recovery,
    RecoveryRequest,
    RotationRequest,
)
from payonce.shown.news import EXAMPLE_ID as EXAMPLE_EVENT_ID
from payonce.shown.news import EventBody, EventPage

from .events import CURSOR, READING, event, events
from .parts import curl, header, headers, ok, parameter, problems, ref, request_id

Document = dict[str, Any]

TAKEN: Final = (NewEndpointRequest, EndpointChange, RotationRequest, RecoveryRequest, AgainRequest)
SHOWN: Final = (EventBody, EventPage, EndpointBody, EndpointList, DeliveryBody, DeliveryPage, Recovery)
TAGS: Final = (
    {"name": "events", "description": "What happened to your payments, in order."},
    {"name": "endpoints", "description": "Where you are told of it, by signed webhooks."},
)

EXAMPLE_SECRET: Final = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the one that the specification shows
EXAMPLE_ENDPOINT: Final[Document] = {
    "id": EXAMPLE_ENDPOINT_ID,
    "url": "https://shop.example/hooks/payonce",
    "types": ["payment.succeeded", "payment.failed"],
    "description": "The shop",
    "state": "enabled",
    "reason": None,
    "failingSince": None,
    "secret": None,
    "oldSecretUntil": None,
    "mode": "test",
    "createdAt": "2026-11-24T08:00:00.123456Z",
}
EXAMPLE_DELIVERY: Final[Document] = {
    "id": EXAMPLE_DELIVERY_ID,
    "endpointId": EXAMPLE_ENDPOINT_ID,
    "eventId": EXAMPLE_EVENT_ID,
    "type": "payment.succeeded",
    "transactionId": EXAMPLE_ID,
    "state": "delivered",
    "tries": 1,
    "lastStatus": 204,
    "lastError": None,
    "lastTriedAt": "2026-11-24T09:30:00.954321Z",
    "nextTryAt": None,
    "createdAt": "2026-11-24T09:30:00.754321Z",
}
PENDING_DELIVERY: Final[Document] = {
    **EXAMPLE_DELIVERY,
    "state": "pending",
    "tries": 0,
    "lastStatus": None,
    "lastTriedAt": None,
    "nextTryAt": "2026-11-24T09:30:00.754321Z",
}
_ENDPOINTS: Final = (*READING, "webhooks_unavailable")
_WITH_BODY: Final = ("body_timeout", "body_too_large", "media_type_unsupported", *_ENDPOINTS)


def paths() -> Document:
    """Each path with its methods, in the order of the document."""
    one = "/webhook-endpoints/{id}"
    return {
        "/events": {"get": events()},
        "/events/{id}": {"get": event()},
        "/webhook-endpoints": {"post": _create(), "get": _list()},
        one: {"get": _get(), "patch": _change(), "delete": _remove()},
        f"{one}/rotate-secret": {"post": _rotate()},
        f"{one}/enable": {"post": _switch("enable", "Send events to an endpoint again", _ENABLED)},
        f"{one}/disable": {"post": _switch("disable", "Send an endpoint nothing more", _DISABLED)},
        f"{one}/test": {"post": _test()},
        f"{one}/recover": {"post": _recover()},
        f"{one}/deliveries": {"get": _deliveries()},
        "/webhook-deliveries": {"get": _every_delivery()},
        "/webhook-deliveries/{id}": {"get": _delivery()},
        "/webhook-deliveries/{id}/replay": {"post": _replay()},
    }


# --- endpoints --------------------------------------------------------------------------------------------------------


def _create() -> Document:
    fresh = {**EXAMPLE_ENDPOINT, "secret": EXAMPLE_SECRET}
    made = ok("It is registered; `secret` is what its deliveries are signed with.", "EndpointBody", fresh)
    made["headers"] |= {"Location": _location(f"/webhook-endpoints/{EXAMPLE_ENDPOINT_ID}")}
    known = ok("It was registered before, in the same words.", "EndpointBody", fresh)
    known["headers"] |= {
        "Idempotent-Replayed": header("It was known.", {"type": "string", "enum": ["true"]}, "true"),
    }
    return {
        "operationId": "createWebhookEndpoint",
        "tags": ["endpoints"],
        "summary": "Register where you are told what happens",
        "description": "From a few seconds later on each event of these types is sent there with POST, at least once and in no "
        "promised order, signed as Standard Webhooks says. The same address in the same words again is the same endpoint; in "
        "other words it is refused, with the id of the one there is. Query parameters are refused.",
        "parameters": [request_id()],
        "requestBody": _body(
            "NewEndpointRequest",
            {"url": EXAMPLE_ENDPOINT["url"], "types": EXAMPLE_ENDPOINT["types"], "description": "The shop"},
        ),
        "responses": {"200": known, "201": made} | problems(*_WITH_BODY, "endpoint_refused", "endpoints_too_many", reads=False),
        "x-codeSamples": curl(
            "curl -i http://127.0.0.1:8080/webhook-endpoints \\\n  -H 'Content-Type: application/json' \\\n"
            '  -d \'{"url": "https://shop.example/hooks/payonce", "types": ["payment.succeeded"]}\''
        ),
    }


def _list() -> Document:
    return {
        "operationId": "listWebhookEndpoints",
        "tags": ["endpoints"],
        "summary": "See your endpoints",
        "parameters": [request_id()],
        "responses": {"200": ok("All of them.", "EndpointList", {"data": [EXAMPLE_ENDPOINT]})} | problems(*_ENDPOINTS),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/webhook-endpoints"),
    }


def _get() -> Document:
    secret = {"type": "string", "enum": ["true", "false"]}
    return {
        "operationId": "getWebhookEndpoint",
        "tags": ["endpoints"],
        "summary": "See an endpoint as it is now",
        "parameters": [
            _endpoint_id(),
            parameter("secret", "query", "`true`: show what deliveries are signed with.", secret, "false"),
            request_id(),
        ],
        "responses": {"200": ok("The endpoint.", "EndpointBody", EXAMPLE_ENDPOINT)} | problems("not_found", *_ENDPOINTS),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/webhook-endpoints/{EXAMPLE_ENDPOINT_ID}"),
    }


def _change() -> Document:
    changed = {**EXAMPLE_ENDPOINT, "types": [], "description": "The shop, all events"}
    return {
        "operationId": "changeWebhookEndpoint",
        "tags": ["endpoints"],
        "summary": "Change where an endpoint leads, or what it gets",
        "description": "What is absent stays. Deliveries that are under way go to the new address. The secret stays, too.",
        "parameters": [_endpoint_id(), request_id()],
        "requestBody": _body("EndpointChange", {"types": [], "description": "The shop, all events"}),
        "responses": {"200": ok("The endpoint as it is now.", "EndpointBody", changed)}
        | problems("not_found", *_WITH_BODY, "endpoint_refused", reads=False),
        "x-codeSamples": curl(
            f"curl -X PATCH http://127.0.0.1:8080/webhook-endpoints/{EXAMPLE_ENDPOINT_ID} \\\n"
            "  -H 'Content-Type: application/json' \\\n  -d '{\"types\": []}'"
        ),
    }


def _remove() -> Document:
    return {
        "operationId": "removeWebhookEndpoint",
        "tags": ["endpoints"],
        "summary": "Remove an endpoint",
        "description": "Nothing more is sent there: what is pending is canceled when its turn comes. Its secret is of no use "
        "any more; the same address registered again is another endpoint with another secret.",
        "parameters": [_endpoint_id(), request_id()],
        "responses": {"204": {"description": "It is removed.", "headers": headers(), "content": {}}}
        | problems("not_found", *_ENDPOINTS, reads=False),
        "x-codeSamples": curl(f"curl -X DELETE http://127.0.0.1:8080/webhook-endpoints/{EXAMPLE_ENDPOINT_ID}"),
    }


def _rotate() -> Document:
    fresh = {**EXAMPLE_ENDPOINT, "secret": EXAMPLE_SECRET, "oldSecretUntil": "2026-11-25T09:30:00.123456Z"}
    return {
        "operationId": "rotateWebhookSecret",
        "tags": ["endpoints"],
        "summary": "Give an endpoint a new secret",
        "description": f"For `overlapS` seconds ({OVERLAP_S} when absent) each delivery carries two signatures, with the new "
        "secret and with the one before; with 0 the one before is of no use at once. The body may be left out, with its "
        "Content-Type.",
        "parameters": [_endpoint_id(), request_id()],
        "requestBody": _body("RotationRequest", {"overlapS": OVERLAP_S}, required=False),
        "responses": {"200": ok("The endpoint, with its new secret.", "EndpointBody", fresh)}
        | problems("not_found", *_WITH_BODY, reads=False),
        "x-codeSamples": curl(
            f"curl -X POST http://127.0.0.1:8080/webhook-endpoints/{EXAMPLE_ENDPOINT_ID}/rotate-secret \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            f"  -d '{{\"overlapS\": {OVERLAP_S}}}'"
        ),
    }


_ENABLED: Final = (
    "From a few seconds later on it gets what happens. What happened while it was disabled is not sent by itself: "
    "`recover` with the time since when. An endpoint that is enabled stays as it is."
)
_DISABLED: Final = (
    "What is pending is canceled when its turn comes; `recover` sends it when the endpoint is enabled again. An endpoint that "
    "is disabled stays as it is."
)


def _switch(verb: str, summary: str, says: str) -> Document:
    shown = EXAMPLE_ENDPOINT if verb == "enable" else {**EXAMPLE_ENDPOINT, "state": "disabled", "reason": "asked for"}
    return {
        "operationId": f"{verb}WebhookEndpoint",
        "tags": ["endpoints"],
        "summary": summary,
        "description": says,
        "parameters": [_endpoint_id(), request_id()],
        "responses": {"200": ok("The endpoint as it is now.", "EndpointBody", shown)}
        | problems("not_found", *_WITH_BODY, reads=False),
        "x-codeSamples": curl(f"curl -X POST http://127.0.0.1:8080/webhook-endpoints/{EXAMPLE_ENDPOINT_ID}/{verb}"),
    }


# --- deliveries -------------------------------------------------------------------------------------------------------


def _test() -> Document:
    tried = {**PENDING_DELIVERY, "type": "webhook.test", "transactionId": None}
    return {
        "operationId": "testWebhookEndpoint",
        "tags": ["endpoints"],
        "summary": "Send a test event to an endpoint",
        "description": "An event of the type `webhook.test`, once, signed as every other, whatever types the endpoint is for, "
        "and also while it is disabled. `GET` the delivery to see what came of it.",
        "parameters": [_endpoint_id(), request_id()],
        "responses": {"202": _accepted("It will be sent.", "DeliveryBody", tried)}
        | problems("not_found", *_WITH_BODY, "endpoint_refused", reads=False),
        "x-codeSamples": curl(f"curl -X POST http://127.0.0.1:8080/webhook-endpoints/{EXAMPLE_ENDPOINT_ID}/test"),
    }


def _recover() -> Document:
    return {
        "operationId": "recoverWebhookEndpoint",
        "tags": ["endpoints"],
        "summary": "Send an endpoint all events since a time again",
        "description": "Those of its types that it did not take: what failed or was canceled, and what was never to be sent "
        "there. What it took is not sent again; replay that one by one. A long range is gone on with in the background.",
        "parameters": [_endpoint_id(), request_id()],
        "requestBody": _body("RecoveryRequest", {"since": "2026-11-24T00:00:00Z"}),
        "responses": {"202": ok("They will be sent.", "Recovery", {"deliveries": 12})}
        | problems("not_found", *_WITH_BODY, "endpoint_refused", reads=False),
        "x-codeSamples": curl(
            f"curl -X POST http://127.0.0.1:8080/webhook-endpoints/{EXAMPLE_ENDPOINT_ID}/recover \\\n"
            "  -H 'Content-Type: application/json' \\\n  -d '{\"since\": \"2026-11-24T00:00:00Z\"}'"
        ),
    }


def _deliveries() -> Document:
    limit = {"type": "integer", "minimum": 1, "maximum": DELIVERIES_LIMIT_MAX, "default": DELIVERIES_LIMIT}
    states = {"type": "string", "enum": list(get_args(DeliveryState))}
    types = {"type": "string", "enum": list(TYPES)}
    return {
        "operationId": "listWebhookDeliveries",
        "tags": ["endpoints"],
        "summary": "See what was and will be sent to an endpoint, newest first",
        "description": "Filters are exact and all must hold; with `type` a page may be short or empty although there is more. "
        "Deliveries that have ended are kept for some weeks.",
        "parameters": [
            _endpoint_id(),
            parameter("state", "query", "Deliveries in this state.", states, "failed"),
            parameter("type", "query", "Deliveries of events of this type.", types, "payment.succeeded"),
            parameter("limit", "query", "Deliveries of one page.", limit, DELIVERIES_LIMIT),
            parameter("cursor", "query", "`nextCursor` of the page before.", CURSOR),
            request_id(),
        ],
        "responses": {"200": ok("A page.", "DeliveryPage", {"data": [EXAMPLE_DELIVERY], "nextCursor": None})}
        | problems("not_found", *_ENDPOINTS),
        "x-codeSamples": curl(f"curl 'http://127.0.0.1:8080/webhook-endpoints/{EXAMPLE_ENDPOINT_ID}/deliveries?state=failed'"),
    }


def _every_delivery() -> Document:
    limit = {"type": "integer", "minimum": 1, "maximum": DELIVERIES_LIMIT_MAX, "default": DELIVERIES_LIMIT}
    states = {"type": "string", "enum": list(get_args(DeliveryState))}
    return {
        "operationId": "listAllWebhookDeliveries",
        "tags": ["endpoints"],
        "summary": "See what was and will be sent to your endpoints, newest first",
        "description": "To all of them, those that were removed too. Filters are exact and all must hold. Deliveries that have "
        "ended are kept for some weeks.",
        "parameters": [
            parameter("state", "query", "Deliveries in this state.", states, "failed"),
            parameter("endpoint", "query", "Deliveries to the endpoint of this id.", CURSOR, EXAMPLE_ENDPOINT_ID),
            parameter("payment", "query", "Deliveries about the payment of this id.", CURSOR, EXAMPLE_ID),
            parameter("limit", "query", "Deliveries of one page.", limit, DELIVERIES_LIMIT),
            parameter("cursor", "query", "`nextCursor` of the page before.", CURSOR),
            request_id(),
        ],
        "responses": {"200": ok("A page.", "DeliveryPage", {"data": [EXAMPLE_DELIVERY], "nextCursor": None})}
        | problems(*_ENDPOINTS),
        "x-codeSamples": curl("curl 'http://127.0.0.1:8080/webhook-deliveries?state=failed'"),
    }


def _delivery() -> Document:
    return {
        "operationId": "getWebhookDelivery",
        "tags": ["endpoints"],
        "summary": "See one delivery as it is now",
        "parameters": [_delivery_id(), request_id()],
        "responses": {"200": ok("The delivery.", "DeliveryBody", EXAMPLE_DELIVERY)} | problems("not_found", *_ENDPOINTS),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/webhook-deliveries/{EXAMPLE_DELIVERY_ID}"),
    }


def _replay() -> Document:
    return {
        "operationId": "replayWebhookDelivery",
        "tags": ["endpoints"],
        "summary": "Send a delivery again",
        "description": "At once, and then as often as a new one, whatever became of it before. The event has the same id. A "
        "reason is put on the journal; the body may be left out, with its Content-Type.",
        "parameters": [_delivery_id(), request_id()],
        "requestBody": _body("AgainRequest", {"reason": "The endpoint was repaired."}, required=False),
        "responses": {"202": _accepted("It will be sent.", "DeliveryBody", PENDING_DELIVERY)}
        | problems("not_found", *_WITH_BODY, "endpoint_refused", reads=False),
        "x-codeSamples": curl(f"curl -X POST http://127.0.0.1:8080/webhook-deliveries/{EXAMPLE_DELIVERY_ID}/replay"),
    }


# --- parts ------------------------------------------------------------------------------------------------------------


def _endpoint_id() -> Document:
    return parameter("id", "path", "Id of the endpoint.", {"type": "string", "pattern": ENDPOINT_ID}, EXAMPLE_ENDPOINT_ID)


def _delivery_id() -> Document:
    return parameter("id", "path", "Id of the delivery.", {"type": "string", "pattern": DELIVERY_ID}, EXAMPLE_DELIVERY_ID)


def _location(example: str) -> Document:
    return header("Where it can be read.", {"type": "string"}, example)


def _accepted(description: str, schema: str, example: Document) -> Document:
    answer = ok(description, schema, example)
    answer["headers"] |= {"Location": _location(f"/webhook-deliveries/{EXAMPLE_DELIVERY_ID}")}
    return answer


def _body(schema: str, example: Document, *, required: bool = True) -> Document:
    says = f"One JSON object in UTF-8 with at most {BODY_BYTES_MAX} bytes, which arrives within {BODY_S:g} seconds."
    return {
        "required": required,
        "description": says,
        "content": {"application/json": {"schema": ref(schema), "example": example}},
    }
