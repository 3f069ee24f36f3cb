"""The deployed stack as a shop, its vendors and an operator have it: payments over HTTP, the sandbox's ledger, the queue."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2

from payonce.testing.judge import net_charges, of_payment
from tests.aws.stack import Stack, until

CALL_S: Final = 60.0
SETTLE_S: Final = 60.0
PAGE: Final = 500
ENDED: Final = ("SUCCESS", "FAILED", "CANCELED", "IN_DOUBT")
WORKER: Final = "WorkerFunction"

T = TypeVar("T")
Json = dict[str, Any]


class Site:
    """See the module docstring. Clients are made once: making one takes longer than a call."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.url, self.sandbox_url = stack, stack.api, stack.sandbox_url
        self.http = httpx2.Client(timeout=CALL_S, verify=False, headers=stack.bearer)
        self.sqs, self.functions = stack.client("sqs"), stack.client("lambda")
        self.queue, self.dead = stack.outputs["QueueUrl"], stack.outputs["DeadLetterUrl"]
        self._mapping = stack.mapping(WORKER)

    def close(self) -> None:
        self.http.close()

    # --- payments -------------------------------------------------------------------------------------------------------

    def post(self, key: str, method: str = "tok_ok", amount: int = 1050, currency: str = "INR", **more: Any) -> httpx2.Response:
        """One try of a payment."""
        body = {"amount": amount, "currency": currency, "paymentMethod": method, **more}
        return self.http.post(f"{self.url}/payments", json=body, headers={"idempotency-key": key})

    def accepted(self, key: str, method: str = "tok_ok", **more: Any) -> str:
        """The id of a payment that was accepted."""
        answer = self.post(key, method, **more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["transactionId"])

    def ask(self, id: str, what: str, key: str, amount: int = 0) -> httpx2.Response:
        """One try of an operation."""
        body = {"amount": amount} if amount else {}
        return self.http.post(f"{self.url}/payments/{id}/{what}", json=body, headers={"idempotency-key": key})

    def get(self, id: str) -> Json:
        view: Json = self.http.get(f"{self.url}/payments/{id}").json()
        return view

    def payments(self) -> dict[str, Json]:
        """All payments by id."""
        found: dict[str, Json] = {}
        cursor: str | None = None
        while True:
            params = {"limit": "100", **({"cursor": cursor} if cursor else {})}
            page = self.http.get(f"{self.url}/payments", params=params).json()
            found |= {p["transactionId"]: p for p in page["data"]}
            if (cursor := page["nextCursor"]) is None:
                return found

    def history(self, id: str) -> list[Json]:
        answer = self.http.get(f"{self.url}/payments/{id}/history", params={"limit": "1000"}).json()
        events: list[Json] = answer.get("data", [])  # none where the execution was killed
        return events

    def steps(self, id: str) -> list[str]:
        """The kinds of the calls that were planned, in order."""
        return [e["data"]["step"]["kind"] for e in self.history(id) if e["kind"] == "Planned"]

    def becomes(self, id: str, *statuses: str, sweep: bool = False, seconds: float = SETTLE_S) -> Json:
        """Wait until it is so; the payment. ``sweep``: the sweeper looks again and again meanwhile."""

        def there() -> Json | None:
            if sweep:
                self.sweep()
            view = self.get(id)
            return view if view["status"] in statuses else None

        return self.within(there, lambda: f"{id} is {self.get(id)['status']}, not {statuses}: {self.history(id)}", seconds)

    def open_call(self, id: str) -> str:
        """The kind of the call that is on record and whose answer is not; empty: there is none."""
        events = self.history(id)
        planned = [e for e in events if e["kind"] == "Planned"]
        answered = [e["data"]["about"] for e in events if e["kind"] == "Observed"]
        return str(planned[-1]["data"]["step"]["kind"]) if planned and planned[-1]["seq"] not in answered else ""

    def in_a_call(self, id: str) -> None:
        """Wait until its charge is sent and not answered."""
        self.within(lambda: self.open_call(id) == "fire" or None, lambda: f"{id} is not in a call: {self.history(id)}")

    @staticmethod
    def within(look: Callable[[], T | None], says: Callable[[], str], seconds: float = SETTLE_S) -> T:
        """What ``look`` finds; ``says`` is what is wrong when it never does."""
        try:
            return until(look, seconds, every=0.1)
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {says()}") from None

    # --- vendors --------------------------------------------------------------------------------------------------------

    def ledger(self) -> list[Json]:
        """Every movement of money that the sandbox has seen: the outside witness."""
        movements: list[Json] = []
        after = 0
        while True:
            page = self.http.get(f"{self.sandbox_url}/sandbox/ledger", params={"after": after, "limit": PAGE}).json()
            if not page["movements"]:
                return movements
            movements += page["movements"]
            after = page["next"]

    def moved(self, id: str) -> list[tuple[str, int]]:
        """The movements of one payment, as kind and amount."""
        return [(m["kind"], m["amount"]) for m in of_payment(self.ledger(), id)]

    def kept(self, id: str) -> list[int]:
        """The charges of a payment that were not given back, over all vendors."""
        return [m["amount"] for m in net_charges(self.ledger(), id)]

    def fault(self, vendor: str, **profile: Any) -> None:
        """Put the fault profile of one vendor; without a profile it is healthy."""
        answer = self.http.put(f"{self.sandbox_url}/sandbox/faults/{vendor}", json=profile)
        assert answer.status_code == 200, answer.text

    # --- messages -------------------------------------------------------------------------------------------------------

    def send(self, bodies: Sequence[str], delay_s: int = 0, queue: str = "") -> None:
        """Put messages into the queue, in this order."""
        for at in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": b, "DelaySeconds": delay_s} for n, b in enumerate(bodies[at : at + 10])]
            self.sqs.send_message_batch(QueueUrl=queue or self.queue, Entries=entries)

    def purge(self) -> None:
        """Delete every message."""
        self.sqs.purge_queue(QueueUrl=self.queue)

    def lengths(self, queue: str = "") -> tuple[int, int, int]:
        """About how many messages are visible, hidden, delayed."""
        names = ("Messages", "MessagesNotVisible", "MessagesDelayed")
        wanted = [f"ApproximateNumberOf{name}" for name in names]
        found = self.sqs.get_queue_attributes(QueueUrl=queue or self.queue, AttributeNames=wanted)["Attributes"]
        visible, hidden, delayed = (int(found[name]) for name in wanted)
        return visible, hidden, delayed

    @contextmanager
    def queue_with(self, **attributes: str) -> Iterator[None]:
        """The queue with other attributes, and as it was at the end."""
        before = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=[*attributes])["Attributes"]
        self.sqs.set_queue_attributes(QueueUrl=self.queue, Attributes=attributes)
        try:
            yield
        finally:
            self.sqs.set_queue_attributes(QueueUrl=self.queue, Attributes=before)

    # --- functions ------------------------------------------------------------------------------------------------------

    def invoke(self, function: str, event: Mapping[str, Any] | None = None) -> Any:
        """Run a function with an event; its answer. It raises nothing when the function failed: then that is the answer."""
        payload = json.dumps(event or {}).encode()
        said = self.functions.invoke(FunctionName=self.stack.outputs[function], Payload=payload)
        return json.loads(said["Payload"].read())

    def sweep(self) -> Json:
        """One run of the sweeper; what it saw."""
        swept: Json = self.invoke("SweeperFunction")
        return swept

    def kill(self, function: str = WORKER) -> int:
        """kill -9 of every execution of a function; how many there were."""
        pids = self.stack.executions(function)
        for pid in pids:
            self.kill_one(pid)
        return len(pids)

    @staticmethod
    def kill_one(pid: int) -> bool:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def switch(self, *, on: bool) -> None:
        """Let the queue drive the worker, or not."""
        self.functions.update_event_source_mapping(UUID=self._mapping, Enabled=on)
        wanted = "Enabled" if on else "Disabled"
        until(lambda: self.functions.get_event_source_mapping(UUID=self._mapping)["State"] == wanted or None, 30)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """The queue drives nothing while this lasts."""
        self.switch(on=False)
        try:
            yield
        finally:
            self.switch(on=True)

    @property
    def emulator(self) -> int:
        """The pid of the emulator: it leads the group of all executions."""
        for entry in Path("/proc").iterdir():
            try:
                program = entry.name.isdigit() and (entry / "cmdline").read_bytes().split(b"\0")[:2][-1]
                if program and program.endswith(b"/ministack") and (entry / "cwd").readlink() == self.stack.folder:
                    return int(entry.name)
            except OSError:
                continue
        raise AssertionError("the emulator does not run")

    # --- the command line -----------------------------------------------------------------------------------------------

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        """`payonce` on these tables and queues."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PAYONCE_", "AWS_"))} | self.stack.env
        config = self.stack.folder / "payonce.toml"
        own |= {"PAYONCE_CONFIG": str(config)} if config.exists() else {}
        command = [sys.executable, "-m", "payonce", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=own, cwd=self.stack.folder)
