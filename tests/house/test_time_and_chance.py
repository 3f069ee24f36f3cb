"""Time comes from the Clock port and chance from the Entropy port, HTTP leaves through one file: so the simulator sees all."""

import ast
from collections.abc import Iterator

import pytest

from .source import File, imports, parsed, python_files

pytestmark = pytest.mark.xdist_group("house")  # the trees are made once

CLOCKS = (
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.sleep",
    "asyncio.sleep",
    "datetime.now",
    "datetime.datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
)
CHANCE = ("uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4", "os.urandom", "random", "secrets")
# file -> why it may look at the machine's own time or chance. Nobody else may.
MAY = {
    "src/payonce/bootstrap.py": "the one place where the ports meet the machine",
    "src/payonce/httpd/": "waits for uvicorn to have started, which offers no event for it, and looks at its connections",
    "src/payonce/aws/worker.py": "looks at the hold each second of an invocation, whatever the rest of it waits for",
    "src/payonce/cli/": "a person waits: commands poll, time themselves and make a fresh key; no decision about money",
    "src/payonce/demo.py": "a show for a person",
    "src/payonce/demo/": "a show for a person",
    "src/payonce/embedded.py": "polls for a caller who waits and makes a fresh key, as the command line does",
    "src/payonce/sandbox/server.py": "a vendor of its own with its own delays; not payonce's time",
    "src/payonce/client/drivers.py": "runs in other people's programs: real pauses, and a fresh key for each wish",
    "src/payonce/testing/": "seeded dice, and real processes that are waited for; nothing of it runs in production",
}
OUTBOUND = ("httpx2", "http.client", "urllib.request", "aiohttp", "requests", "urllib3", "smtplib", "ftplib", "socket")
MAY_SEND = {
    "src/payonce/transport/": "the only way to providers",
    "src/payonce/http1.py": "the connections of transport/ and outbound/sending.py, which say where they go",
    "src/payonce/awsclient/": "AWS's own services; never a provider",
    "src/payonce/httpd/": "binds the listening socket",
    "src/payonce/outbound/sending.py": "the only way to merchants' endpoints; it checks each address that it connects to",
    "src/payonce/outbound/guard.py": "spells a host as DNS asks for it; it opens nothing",
    "src/payonce/sandbox/courier.py": "the vendor's side: webhooks that a simulated vendor sends",
    "src/payonce/cli/": "talks to a running payonce over its public API; never to a provider",
    "src/payonce/demo.py": "talks to its own server over the public API",
    "src/payonce/client/drivers.py": "runs in other people's programs: talks to payonce's public API",
    "src/payonce/testing/torture/": "clients of a real server on loopback, and a proxy before the sandbox",
    "src/payonce/demo/": "talks to its own server over the public API",
}


def clocks(file: File) -> Iterator[str]:
    """Calls that read the machine's clock or wait on it (``asyncio.sleep(0)`` only yields)."""
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in CLOCKS:
            continue
        yields = ast.unparse(node) == "asyncio.sleep(0)"
        if not yields:
            yield f"{file.name}:{node.lineno}: {ast.unparse(node.func)}; instead: the Clock port (ports.py)"


def chance(file: File) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CHANCE or name.split(".")[0] in ("random", "secrets"):
                yield f"{file.name}:{node.lineno}: {name}; instead: the Entropy port (ports.py)"


def sends(file: File) -> Iterator[str]:
    for line, name in imports(file.tree):
        if any(name == each or name.startswith(each + ".") for each in OUTBOUND):
            yield f"{file.name}:{line}: imports {name}; instead: the Transport port; outbound HTTP lives in transport/"


def _excused(name: str, excuses: dict[str, str]) -> bool:
    return any(name == each or (each.endswith("/") and name.startswith(each)) for each, why in excuses.items() if why)


def test_time_comes_from_the_clock_port() -> None:
    """Outside a short list with reasons nothing reads the machine's clock."""
    files = [f for f in python_files("src") if not _excused(f.name, MAY)]
    assert [each for f in files for each in clocks(f)] == []


def test_chance_comes_from_the_entropy_port() -> None:
    """Outside a short list with reasons nothing draws random numbers."""
    files = [f for f in python_files("src") if not _excused(f.name, MAY)]
    assert [each for f in files for each in chance(f)] == []


def test_http_leaves_through_transport_only() -> None:
    """No other file of the package can reach a provider."""
    files = [f for f in python_files("src") if not _excused(f.name, MAY_SEND)]
    assert [each for f in files for each in sends(f)] == []


@pytest.mark.parametrize("code", ["time.time()", "await asyncio.sleep(1)", "datetime.now(UTC)", "time.monotonic_ns()"])
def test_a_clock_is_seen(code: str) -> None:
    """The clock check sees readings and waits, and lets a bare yield pass."""
    assert len(list(clocks(parsed("x.py", f"async def f():\n    {code}")))) == 1
    assert list(clocks(parsed("x.py", "async def f():\n    await asyncio.sleep(0)"))) == []


@pytest.mark.parametrize("code", ["uuid.uuid4()", "random.random()", "secrets.token_hex(8)", "os.urandom(4)"])
def test_chance_is_seen(code: str) -> None:
    """The chance check sees every usual source of random numbers."""
    assert len(list(chance(parsed("x.py", code)))) == 1


@pytest.mark.parametrize("code", ["import httpx2", "from urllib.request import urlopen", "def f():\n    import socket"])
def test_sending_is_seen(code: str) -> None:
    """The HTTP check sees clients imported anywhere in a file, and leaves urllib.parse alone."""
    assert len(list(sends(parsed("x.py", code)))) == 1
    assert list(sends(parsed("x.py", "from urllib.parse import quote"))) == []
