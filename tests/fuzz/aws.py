"""What AWS hands to the functions: events of API Gateway, and messages of a queue."""

import asyncio
import contextlib
import json
from base64 import b64decode
from typing import Any

import msgspec

from payonce.aws.api import event_of, respond
from payonce.aws.batch import Batch
from payonce.wake.sqs import hint_of

from .doors import PAYMENT, loop, service
from .target import Target, require

GOOD: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/payments",
    "rawQueryString": "limit=5",
    "headers": {"content-type": "application/json", "idempotency-key": "order-1", "host": "api.example"},
    "requestContext": {"http": {"method": "POST", "sourceIp": "203.0.113.7"}, "stage": "$default", "requestId": "abc="},
    "body": '{"amount":1050,"currency":"INR"}',
    "isBase64Encoded": False,
}
PLAIN = {**GOOD, "rawPath": f"/v1/payments/{PAYMENT}", "body": None, "cookies": ["a=b"], "requestContext": {
    "http": {"method": "GET"}, "stage": "v1"}}  # fmt: skip
BATCH = {
    "Records": [{"messageId": "m-1", "receiptHandle": "h", "body": PAYMENT, "attributes": {"ApproximateReceiveCount": "1"}}]
}
CODED = {**GOOD, "body": "eyJhbW91bnQiOjF9", "isBase64Encoded": True}


def gateway(data: bytes) -> None:
    """An event is answered whole, in the gateway's words, or is none (a mistake of the deployment: ValidationError). The
    gateway sends UTF-8 without lone surrogates, and encodes in base64 itself: that much it is trusted."""
    try:
        event = event_of(json.loads(data))
        msgspec.json.encode(event).decode("utf-8")
        b64decode(event.body or "" if event.is_base64_encoded else "")
    except (ValueError, RecursionError, msgspec.ValidationError):
        return
    app, _ = service()
    answer = loop().run_until_complete(asyncio.wait_for(respond(event, app, None, left_s=20), 15))
    require(200 <= answer["statusCode"] < 500 or answer["statusCode"] == 503, f"{answer}")
    json.dumps(answer)


def message(data: bytes) -> None:
    """The text of a message is an id of ours, or none; an event of the queue's mapping is one, or refused by its type."""
    with contextlib.suppress(ValueError, RecursionError, msgspec.ValidationError):
        for record in msgspec.convert(json.loads(data), Batch).records:
            hint_of(record.body)
    text = data.decode("utf-8", "replace")
    kind = hint_of(text)
    require(kind is None or (text.isascii() and len(text) < 40), f"{text!r} is a {kind}")


TARGETS = (
    Target("api-gateway", lambda: [json.dumps(e).encode() for e in (GOOD, PLAIN, CODED)], gateway, 60),
    Target(
        "messages", lambda: [PAYMENT.encode(), b"wh_" + PAYMENT[4:].encode(), json.dumps(BATCH).encode(), b"pay_x"], message, 30
    ),
)
