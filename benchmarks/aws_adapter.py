"""mangum or our own adapter (payonce.aws.api) before an ASGI app: what each adds to an import, and its CPU for one request.

    python -m venv /tmp/aws-clients
    /tmp/aws-clients/bin/pip install mangum starlette msgspec structlog
    .venv/bin/python benchmarks/aws_adapter.py --python /tmp/aws-clients/bin/python

The import is measured in an interpreter that has loaded the API already: what the adapter alone adds. The two take turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORT = """
import sys, time
sys.path.insert(0, {src!r})
import payonce.aws.runtime, payonce.serving, payonce.api.app
start = time.process_time()
import {module}
print((time.process_time() - start) * 1000)
"""
REQUESTS = """
import asyncio, sys, time
sys.path.insert(0, {src!r})
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

async def create(request):
    await request.body()
    return Response(b'{{"transactionId": "pay_1"}}', 202, media_type="application/json")

app = Starlette(routes=[Route("/payments", create, methods=["POST"])])
http = {{"method": "POST", "path": "/payments", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"}}
event = {{
    "version": "2.0", "routeKey": "$default", "rawPath": "/payments", "rawQueryString": "", "isBase64Encoded": False,
    "headers": {{"host": "api.example", "content-type": "application/json", "idempotency-key": "k"}},
    "requestContext": {{"http": http, "stage": "$default", "requestId": "abc="}}, "body": "{{}}" + " " * 300,
}}
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
if {module!r} == "mangum":
    from mangum import Mangum
    adapter = Mangum(app, lifespan="off")
    ask = lambda: adapter(event, None)
else:
    from payonce.aws.api import event_of, respond
    ask = lambda: loop.run_until_complete(respond(event_of(event), app, None, left_s=9))
assert ask()["statusCode"] == 202
for count in (300, 3000):
    start = time.process_time()
    for _ in range(count):
        ask()
print((time.process_time() - start) / count * 1e6)
"""
MODULES = ("mangum", "payonce.aws.api")


def measured(python: str, code: str, module: str) -> float:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    text = code.format(src=str(ROOT / "src"), module=module)
    done = subprocess.run([python, "-c", text], capture_output=True, text=True, check=True, env=env)
    return float(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has mangum and what payonce needs")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(f"{'adapter':20} {'import CPU ms':>14} {'request CPU us':>15}   (medians of {args.rounds})")
    rows: dict[str, list[tuple[float, float]]] = {module: [] for module in MODULES}
    for number in range(args.rounds + 1):
        for module, runs in rows.items():
            one = measured(args.python, IMPORT, module), measured(args.python, REQUESTS, module)
            if number:  # the first round only writes the .pyc files
                runs.append(one)
    for module, runs in rows.items():
        print(f"{module:20} {statistics.median(r[0] for r in runs):14.1f} {statistics.median(r[1] for r in runs):15.0f}")


if __name__ == "__main__":
    main()
