"""The merchant's side of a customer's action: a tiny shop to which the browser comes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

ORDER = "7 & co"  # something that has to survive in a query


class Shop:
    """A real HTTP server; ``arrived`` is the query of each customer who came back, in order."""

    def __init__(self, url: str) -> None:
        self.url, self.arrived = url, list[dict[str, list[str]]]()

    @property
    def back(self) -> str:
        """The return address that it gives to payonce."""
        return f"{self.url}/thanks?order=7+%26+co"


@contextmanager
def open_shop() -> Iterator[Shop]:
    """On a free port, until the block ends."""

    class Counter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            at = urlsplit(self.path)
            if at.path != "/thanks":
                self.send_error(404)
                return
            shop.arrived.append(parse_qs(at.query))
            words = escape(shop.arrived[-1].get("transactionId", ["nothing"])[0])
            page = f"<!doctype html><title>Shop</title><h1>Thank you</h1><p>{words}</p>".encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Counter)
    shop = Shop(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
