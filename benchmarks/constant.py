"""``python -m benchmarks.constant --bare|--stack --port N``: the yardstick. POST and GET on /payments are answered with the
same JSON each time, of the size and with the headers of payonce's 202, and nothing is done for it.

``--bare``: one ASGI function on payonce's HTTP server. ``--stack``: ``payonce serve --no-worker`` itself (routes, door,
envelope, log line, figures) with these two handlers in place of its own, so that no engine and no store has any work.
``--loop`` is ``server.loop`` of payonce. Both read the body of a POST to its end.
"""

import argparse
import os
import sys
import tempfile
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from payonce.api.incoming import Request, read_body
from payonce.api.payments import Payments
from payonce.api.problems import Answer
from payonce.cli.running import spared, stay
from payonce.httpd import bind, http_server
from payonce.process import until_signal

ID: Final = "pay_06h1g8kbtm9k08476rqx"
BODY: Final = (
    b'{"transactionId":"pay_06h1g8kbtm9k08476rqx","status":"PENDING","amount":1050,"currency":"INR","attempts":0,"provider":null,'
    b'"providerRef":null,"lastError":null,"reason":null,"attention":null,"rule":null,"route":[],"clientId":null,"paymentMethod":'
    b'{"type":null,"token":"tok_ok"},"description":"Order 1001","metadata":{"orderId":"1001"},"captureMethod":"automatic",'
    b'"idempotencyKey":"k1","nextAction":null,"actionExpiresAt":null,"authorized":0,"authorizationExpiresAt":null,"captured":0,'
    b'"refunded":0,"reversed":0,"operations":[{"operationId":"op_06h1g8kbtmad51f3t2np","transactionId":"pay_06h1g8kbtm9k08476rqx",'
    b'"kind":"charge","status":"PENDING","amount":1050,"currency":"INR","reason":null,"reference":null,"providerRef":null,'
    b'"idempotencyKey":"k1","createdAt":"2026-11-26T13:53:58.741648Z"}],"mode":"test","createdAt":"2026-11-26T13:53:58.741648Z",'
    b'"updatedAt":"2026-11-26T13:53:58.741648Z"}'
)
LOCATION: Final = (b"location", b"/payments/" + ID.encode())
HEADERS: Final = [  # what the API gives its 202, in its order
    (b"cache-control", b"no-store"),
    LOCATION,
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"request-id", b"req_c07ee3f41a6ed28768d0"),
]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """202 to a POST, 200 to anything else."""
    more = scope["method"] == "POST"
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 202 if scope["method"] == "POST" else 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def serve_bare(port: int) -> None:
    async with http_server(bare, bind("127.0.0.1", port), drain_s=2) as url:
        print(f"listens on {url}", flush=True)
        with spared():
            await until_signal()


async def _create(_: Payments, request: Request) -> Answer:
    await read_body(request)
    return Answer(202, BODY, headers=((b"cache-control", b"no-store"), LOCATION))


async def _list(_: Payments, __: Request) -> Answer:
    return Answer(200, BODY, headers=((b"cache-control", b"no-store"),))


def serve_stack(port: int) -> int:
    from payonce.cli.app import run

    stand_ins: Any = Payments
    stand_ins.create, stand_ins.list = _create, _list
    with tempfile.TemporaryDirectory(prefix="payonce-constant-") as folder:
        return run(["serve", "--no-worker", "--port", str(port), "--data-dir", folder])


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.constant")
    which = asked.add_mutually_exclusive_group(required=True)
    which.add_argument("--bare", action="store_true", help="one ASGI function on payonce's HTTP server")
    which.add_argument("--stack", action="store_true", help="payonce serve, its two handlers replaced")
    asked.add_argument("--port", type=int, required=True, help="0 takes a free one")
    asked.add_argument("--loop", choices=("auto", "asyncio", "uvloop"), default="auto")
    given = asked.parse_args()
    if given.bare:
        stay(serve_bare(given.port), given.loop)
        return 0
    os.environ["PAYONCE_LOOP"] = given.loop
    return serve_stack(given.port)


if __name__ == "__main__":
    sys.exit(main())
