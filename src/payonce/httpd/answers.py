"""The whole answers that the server gives by itself, before an application was asked: made once, as bytes, and problems as the
API's are (RFC 9457)."""

import json
from typing import Final

from payonce.core.errors import PROBLEMS

RETRY_AFTER_S: Final = 1
REASONS: Final = {400: "Bad Request", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}


def _whole(code: str, detail: str, more: str = "") -> bytes:
    about = PROBLEMS[code]
    said = {
        "type": f"/docs#problem-{code}",
        "title": about.title,
        "status": about.status,
        "detail": detail,
        "instance": "/",
        "code": code,
        "money": about.money,
        "next": about.next,
        "requestId": "none",
        "errors": [],
    }
    body = json.dumps(said).encode()
    head = (
        f"HTTP/1.1 {about.status} {REASONS[about.status]}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\n{more}cache-control: no-store\r\nx-content-type-options: nosniff\r\n\r\n"
    )
    return head.encode() + body


TOO_MANY: Final = _whole(
    "over_capacity", "There are as many connections as this server may hold.", f"retry-after: {RETRY_AFTER_S}\r\n"
)
BROKEN: Final = _whole("body_invalid", "What was sent is no HTTP request that everybody would read in the same way.")
HEAD_TOO_LARGE: Final = _whole("headers_too_large", "The request line and headers do not end where they must.")
