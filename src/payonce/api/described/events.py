"""The paths of events, as the OpenAPI document tells them."""

from typing import Any, Final

from payonce.api.feed import EVENTS_LIMIT, EVENTS_LIMIT_MAX
from payonce.api.incoming import TEXT_CHARS_MAX
from payonce.core import news
from payonce.shown.news import EXAMPLE_ID, ID

from .examples import SETTLED_PAYMENT
from .parts import curl, ok, parameter, problems, ref, request_id

Document = dict[str, Any]

EXAMPLE_CURSOR: Final = "MTc5NTAwMDAwMDEyMzQ1NiwxMixhYmM"
EXAMPLE_NEWS: Final[Document] = {
    "id": EXAMPLE_ID,
    "type": "payment.succeeded",
    "timestamp": "2026-11-24T09:30:00.654321Z",
    "data": {"payment": SETTLED_PAYMENT, "operation": None},
}
READING: Final = ("validation_failed", "card_number_refused", "not_ready")
CURSOR: Final = {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX, "pattern": "^[^\\u0000-\\u001F\\u007F]+$"}


def events() -> Document:
    limit = {"type": "integer", "minimum": 1, "maximum": EVENTS_LIMIT_MAX, "default": EVENTS_LIMIT}
    return {
        "operationId": "listEvents",
        "tags": ["events"],
        "summary": "See what happened to your payments, in order",
        "description": "The same events as webhooks tell, in the order in which they were written, the oldest first. "
        "`nextCursor` goes on from the end of a page, also when nothing more has happened yet: ask again with it after a "
        "while, and no event is missed. An event may come twice; its id stays the same. What was written together is never "
        "torn apart, so "
        "a page may hold one or two events more than `limit`; with `type` it may be short or empty although there is more. "
        "Each parameter stands at most once, unknown ones are refused.",
        "parameters": [
            parameter(
                "type", "query", "Events of this type.", {"type": "string", "enum": list(news.TYPES)}, "payment.succeeded"
            ),
            parameter(
                "since",
                "query",
                "From the first event at or after this time. Without `cursor`.",
                {"type": "string", "format": "date-time"},
                "2026-11-24T00:00:00Z",
            ),
            parameter("cursor", "query", "`nextCursor` of the page before. Without `since`.", CURSOR),
            parameter("limit", "query", "Events of one page, about.", limit, EVENTS_LIMIT),
            request_id(),
        ],
        "responses": {
            "200": ok("A page.", "EventPage", {"data": [EXAMPLE_NEWS], "nextCursor": EXAMPLE_CURSOR, "more": False}),
        }
        | problems(*READING),
        "x-codeSamples": curl("curl 'http://127.0.0.1:8080/events?since=2026-11-24T00:00:00Z'"),
    }


def event() -> Document:
    id = parameter("id", "path", "Id of the event.", {"type": "string", "pattern": ID}, EXAMPLE_ID)
    return {
        "operationId": "getEvent",
        "tags": ["events"],
        "summary": "See one event",
        "parameters": [id, request_id()],
        "responses": {"200": ok("The event.", "EventBody", EXAMPLE_NEWS)} | problems("not_found", *READING),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/events/{EXAMPLE_ID}"),
    }


def told() -> Document:
    """What endpoints get, for the document's ``webhooks``."""
    signature = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="
    heads = (
        ("webhook-id", "Id of the event. The same at each try: whoever had it answers 2xx and does nothing.", EXAMPLE_ID),
        ("webhook-timestamp", "Of this try, in seconds since 1970.", "1795512600"),
        (
            "webhook-signature",
            "Signatures over `id.timestamp.body` with the endpoint's secrets, with spaces between.",
            signature,
        ),
    )
    return {
        "event": {
            "post": {
                "operationId": "event",
                "tags": ["events"],
                "summary": "What is sent to a webhook endpoint",
                "description": "Signed as Standard Webhooks says: verify the raw body before you read it. At least once, in no "
                "promised order. Any 2xx says that you have it; everything else is sent again for about three days.",
                "parameters": [
                    {**parameter(name, "header", says, {"type": "string"}, shown), "required": True}
                    for name, says, shown in heads
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": ref("EventBody"), "example": EXAMPLE_NEWS}},
                },
                "responses": {"2XX": {"description": "You have it."}},
            }
        }
    }
