"""AWS over HTTPS: connections of its own in threads (``wire``), signed here. Why no SDK stands here is in docs/aws.md,
"The client", with all that was measured (``benchmarks/aws_client.py``). In short:

- What is asked of AWS is one POST of JSON to four services. With botocore and two clients the API function's import would
  take 2.1 times the CPU, and each call 2.5 to 3.7 times; aiobotocore is dearer still at the start, and 2 to 3 times in a call;
  aiodynamo costs about as much in a call and knows no SQS.
- The signature is twenty lines (``signing``), compared with botocore's in the tests.
- Where credentials are is not found out anew: those of the environment (Lambda's) are read, all else is botocore's chain
  (``surroundings``), which is imported only then.

One try each, as ``awsapi`` asks. The one exception are refusals by which AWS certainly did nothing: of a date that is wrong
(the clock of this machine is; the right time is taken from the answer), or of credentials that have expired (they are read
anew). Then it is signed and sent once more.

No proxy from the environment is used; the certificates are the system's, or those of AWS_CA_BUNDLE. A connection that rested
for IDLE_S is not used again, nor one that the server closed, as far as that shows. When one dies under a request all the same,
every resting one is dropped, so that asking again does not meet the next dead one.
"""

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from payonce.awsapi import Answer, Denied, Lost, Service
from payonce.ports import Clock

from .answers import EXPIRED, UNSIGNED, read
from .lines import CONNECT_S, IDLE_S, READ_S, Broken, Exchange, Lines, Whole
from .signing import Ask, signed
from .surroundings import Missing, Ready, Surroundings

__all__ = ["CALL_S", "CONNECT_S", "IDLE_S", "READ_S", "THREADS", "AwsClient"]

THREADS: Final = 32  # calls at once; further ones wait for a thread
CALL_S: Final = 10.0  # for all of a call: a thread, the host's address, connecting, both tries; a long poll adds its own wait
CLOSE_S: Final = 5.0
SKEW_S: Final = 60.0  # a clock that is wrong by less is not why a signature is refused: AWS allows 5 minutes (S3: 15)


class AwsClient:
    """See ``payonce.awsapi.Aws``. Any number of tasks of one loop may use it; after ``close`` every call is Lost, unsent.
    ``inline``: no threads, each call blocks the loop until it is over: for tests."""

    def __init__(
        self,
        clock: Clock,
        *,
        endpoint_url: str | None = None,
        environ: Mapping[str, str] | None = None,
        inline: bool = False,
    ) -> None:
        self._clock = clock
        around = os.environ if environ is None else environ
        self._around = Surroundings(around, endpoint_url)
        self._lines = Lines(clock, around.get("AWS_CA_BUNDLE") or None)
        self._skew = timedelta()  # what is to be added to this machine's clock
        self._threads = None if inline else ThreadPoolExecutor(THREADS, thread_name_prefix="aws")
        self._under_way: set[Exchange] = set()
        self._closed = False

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        """See ``Aws.call``. A task that is cancelled here leaves nothing behind: what was not sent by then never is."""
        if self._closed:
            return Lost("the client is closed")
        body, wait_s = msgspec.json.encode(dict(params)), _poll_s(operation, params)
        exchange = Exchange()
        if self._threads is None:
            return self._called(service, operation, body, exchange, wait_s)
        self._under_way.add(exchange)
        try:
            async with asyncio.timeout(CALL_S + wait_s):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._called, service, operation, body, exchange, wait_s)
        except TimeoutError:
            return Lost(f"timeout after {CALL_S + wait_s:g} s")
        finally:
            exchange.give_up()  # without effect when it is over
            self._under_way.discard(exchange)

    async def drop_idle(self) -> None:
        """Close the connections that no call uses: after a freeze the other side has mostly hung up."""
        self._lines.drop()

    async def close(self) -> None:
        """Cut what is under way, and end, after CLOSE_S at most: only looking up a host's address cannot be cut."""
        self._closed = True
        for exchange in self._under_way:
            exchange.give_up()
        if self._threads is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._lines.drop()

    # --- in a thread ------------------------------------------------------------------------------------------------------

    def _called(self, service: Service, operation: str, body: bytes, exchange: Exchange, wait_s: float) -> Answer:
        for again in (False, True):
            ready = self._around.ready(service)
            if isinstance(ready, Missing):
                return Lost(ready.word)
            ask = Ask(ready.address, ready.region, service, operation, body)
            whole = self._lines.post(ready.address, signed(ask, ready.keys, self._date()), body, exchange, wait_s)
            if isinstance(whole, Broken):
                return Lost(whole.reason)
            answer = read(whole.status, whole.headers, whole.body)
            if again or not isinstance(answer, Denied) or not self._mended(service, answer, ready, whole):
                break
        return answer

    def _mended(self, service: Service, refusal: Denied, used: Ready, whole: Whole) -> bool:
        """What made AWS refuse is put right: the next try may hold."""
        if refusal.code in EXPIRED:
            self._around.forget(used.keys)
            now = self._around.ready(service)
            return isinstance(now, Ready) and now.keys != used.keys
        if refusal.code not in UNSIGNED:
            return False
        try:
            theirs = parsedate_to_datetime(whole.headers.get("date", ""))
        except ValueError:
            return False
        if theirs.tzinfo is None or abs((theirs - self._date()).total_seconds()) < SKEW_S:
            return False
        self._skew = theirs - self._machine_date()
        return True

    def _date(self) -> datetime:
        return self._machine_date() + self._skew

    def _machine_date(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_us() / 1_000_000, UTC)


def _poll_s(operation: str, params: Mapping[str, Any]) -> float:
    """How long SQS may hold an answer back; 20 s at most, which a queue may have as its own default."""
    return float(params.get("WaitTimeSeconds", 20)) if operation == "ReceiveMessage" else 0.0
