"""Stands for Lambda's runtime: one event at a time, a line of JSON in and one out, over a socket of ``benchmarks.aws``. The
starter's ``runtime.js`` does the same for its functions.

    BENCH_PORT=9000 python -m benchmarks.aws_runtime api
"""

import importlib
import json
import os
import socket
import sys


class Context:
    """What of Lambda's context is used: there is always time."""

    def get_remaining_time_in_millis(self) -> int:
        return 90_000


def main() -> None:
    """Until the other side hangs up."""
    handler = importlib.import_module(f"payonce.aws.{sys.argv[1]}").handler
    context = Context()
    with socket.create_connection(("127.0.0.1", int(os.environ["BENCH_PORT"]))) as sock, sock.makefile("rwb") as lines:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for line in lines:
            lines.write(json.dumps(handler(json.loads(line), context)).encode() + b"\n")
            lines.flush()


if __name__ == "__main__":
    main()
