"""A process that appends to the journal of a payments file: ``python journal_loop.py FILE WHO COUNT``."""

import asyncio
import sys

from payonce.bootstrap import SystemClock
from payonce.merchants.journal import Journal
from payonce.stores.sqlite import open_store


async def main(file: str, who: str, count: int) -> None:
    store = await open_store(file)
    journal = Journal(store.registry, SystemClock())
    for n in range(count):
        await journal.write("key.created", f"{who}-{n}", actor=f"operator:{who}@host")
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
