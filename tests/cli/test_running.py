"""What processes that stay run on: uvloop where it is installed, else asyncio's own loop; both do the same."""

import asyncio
import gc
import sys
from pathlib import Path

import pytest

from payonce.cli.running import factory_of, spared, stay
from payonce.core.errors import ConfigError
from tests.blackbox.running import Payonce

LOOPS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.skipif(sys.platform == "win32", reason="there is none"))]

OWING = b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"


async def loop_here() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def test_auto_takes_uvloop_where_it_is() -> None:
    """``auto`` is uvloop when it can be imported; ``asyncio`` is asyncio in any case."""
    pytest.importorskip("uvloop")
    assert stay(loop_here(), "auto") == "uvloop"
    assert stay(loop_here(), "uvloop") == "uvloop"
    assert stay(loop_here(), "asyncio") == "asyncio"


def test_nothing_depends_on_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it ``auto`` is asyncio, and who asked for it is told what to install; nothing runs then."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert stay(loop_here(), "auto") == "asyncio"
    assert factory_of("asyncio") is None
    with pytest.raises(ConfigError, match=r"payonce\[fast\]"):
        stay(loop_here(), "uvloop")


def test_the_collector_is_as_before_afterwards() -> None:
    """What serves passes over what was there at its start, and gives it back: the process may go on with something else."""
    before = (gc.get_threshold(), gc.get_freeze_count())
    with spared():
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold()[0] > before[0][0]
        assert gc.isenabled()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before[0], 0)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_is_killed_and_drained_on_both_loops(loop: str, tmp_path: Path) -> None:
    """What was accepted is there after kill -9 and settled; SIGTERM ends with 0, also with a connection that rests and one that
    owes the rest of its body."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = Payonce(tmp_path / "data", toml=f'version = 1\n[server]\nloop = "{loop}"\ndrain_s = 1\n')
    try:
        server.start()
        payment = server.post("k-1")
        server.kill()
        server.start()
        server.ends_as(payment, "SUCCESS")

        async def leave() -> tuple[int, bytes]:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            half, owing = await asyncio.open_connection("127.0.0.1", server.port)
            owing.write(OWING)
            code = await asyncio.to_thread(server.stop)
            rest = await half.read()
            for each in (writer, owing):
                each.close()
            return code, rest

        code, rest = asyncio.run(leave())
        assert (code, rest) == (0, b"")
        assert "Traceback" not in server.log.read_text()
    finally:
        server.end()
