"""A door between the functions and AWS that can be shut: then nothing that is sent there is answered, and nobody is told."""

import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Final

import httpx2

from .site import Site

LOOK_S: Final = 0.05
PIECE: Final = 65_536


class Door:
    """A TCP proxy. While it is ``shut`` bytes are neither passed on nor refused: they wait in the sockets."""

    def __init__(self, target: str) -> None:
        url = httpx2.URL(target)
        self._target = (str(url.host), int(url.port or 80))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._open, self._ends = Event(), Event()
        self._open.set()
        self._thread = Thread(target=self._run, name="door", daemon=True)
        self._thread.start()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Nobody gets an answer while this lasts."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        self._ends.set()
        self._open.set()
        self._thread.join(5)

    def _run(self) -> None:
        ways = selectors.DefaultSelector()
        ways.register(self._server, selectors.EVENT_READ, None)
        while not self._ends.is_set():
            if not self._open.wait(LOOK_S):
                continue
            for key, _ in ways.select(LOOK_S):
                if not self._open.is_set():
                    break
                if key.data is None:
                    near, _ = self._server.accept()
                    far = socket.create_connection(self._target)
                    ways.register(near, selectors.EVENT_READ, far)
                    ways.register(far, selectors.EVENT_READ, near)
                else:
                    self._pass_on(ways, key.fileobj, key.data)  # type: ignore[arg-type]
        for key in list(ways.get_map().values()):
            with suppress(OSError):
                key.fileobj.close()  # type: ignore[union-attr]
        ways.close()

    @staticmethod
    def _pass_on(ways: selectors.BaseSelector, here: socket.socket, there: socket.socket) -> None:
        try:
            piece = here.recv(PIECE)
            there.sendall(piece)
        except OSError:
            piece = b""
        if not piece:
            for each in (here, there):
                with suppress(KeyError, ValueError, OSError):  # the other end of it came first, in the same look
                    ways.unregister(each)
                each.close()


@contextmanager
def between(site: Site, *functions: str) -> Iterator[Door]:
    """A door between these functions and AWS: they are given its address, as an endpoint."""
    door = Door(site.stack.emulator_url)
    before = {name: _variables(site, name) for name in functions}
    try:
        for name in functions:
            _configure(site, name, {**before[name], "AWS_ENDPOINT_URL": door.url})
        yield door
    finally:
        for name in functions:
            _configure(site, name, before[name])
        door.close()


def _variables(site: Site, function: str) -> dict[str, str]:
    found = site.functions.get_function_configuration(FunctionName=site.stack.outputs[function])
    variables: dict[str, str] = found["Environment"]["Variables"]
    return variables


def _configure(site: Site, function: str, variables: dict[str, str]) -> None:
    """With another environment: executions that are there are ended, the next event starts one that has it."""
    site.functions.update_function_configuration(
        FunctionName=site.stack.outputs[function], Environment={"Variables": variables}
    )
    site.kill(function)
