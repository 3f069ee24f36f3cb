"""Several processes that create the same store at the same moment."""

import subprocess
import sys
from pathlib import Path

OPEN = """
import asyncio, sys
from payonce.stores.sqlite import open_store

async def main() -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    store = await open_store(sys.argv[1])
    await store.close()

asyncio.run(main())
"""
PROCESSES = 4
TRIALS = 8


def test_processes_that_create_a_store_together_all_get_it(tmp_path: Path) -> None:
    """Setting the file up makes the others wait, never fail with "database is locked"."""
    for trial in range(TRIALS):
        path = tmp_path / f"{trial}.db"
        command = [sys.executable, "-c", OPEN, str(path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started = [subprocess.Popen(command, text=True, **pipes) for _ in range(PROCESSES)]  # type: ignore[call-overload]
        for each in started:
            assert each.stdout.readline() == "ready\n"
        for each in started:
            each.stdin.write("go\n")
            each.stdin.flush()
        errors = [each.communicate(timeout=60)[1] for each in started]
        assert [each.returncode for each in started] == [0] * PROCESSES, errors
