"""Connections that say nothing: ``python -m benchmarks.idling PORT COUNT SECONDS``. Each asks for /livez once and then keeps
still. One that the server closes is opened again, so that there are always ``COUNT``. Prints how many were opened."""

import asyncio
import sys
import time
from typing import Final

ASK: Final = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
AT_ONCE: Final = 50  # opened at the same time
AGAIN_S: Final = 0.5


async def keep(port: int, until: float, turn: asyncio.Semaphore, opened: list[int]) -> None:
    """One connection, again and again."""
    while time.monotonic() < until:
        try:
            async with turn:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(ASK)
                if b" 200 " not in await reader.readline():
                    raise OSError("no answer")
            opened[0] += 1
            async with asyncio.timeout(max(until - time.monotonic(), 0.0)):
                while await reader.read(4096):
                    pass
        except TimeoutError:
            writer.close()
            return
        except OSError:
            opened[1] += 1
            await asyncio.sleep(AGAIN_S)
        else:
            writer.close()


async def main(port: int, count: int, seconds: float) -> None:
    """All of them at the same time."""
    opened, turn, until = [0, 0], asyncio.Semaphore(AT_ONCE), time.monotonic() + seconds
    await asyncio.gather(*(keep(port, until, turn, opened) for _ in range(count)))
    print(f"{opened[0]} {opened[1]}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
