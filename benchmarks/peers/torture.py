"""The same storm for each contender: payments are posted, each twice at once, while API and worker are killed and the provider
behaves badly; then all is left running until it is quiet, and compared with the provider's books and with what clients heard.

Clients do what a careful client does: they repeat with the same key until they are answered, and some repeat much later.
Nothing is judged by the contender's own word alone: charges are counted in the provider's ledger.
"""

import asyncio
import random
import shutil
import threading
import time
from collections import Counter
from typing import Any, Final

import httpx2
from msgspec import Struct

from benchmarks.bench import Bench
from benchmarks.procs import Broken, Proc, free_port, wait_http
from benchmarks.provider import Booked
from benchmarks.served import Provider

from .contenders import (
    CELERY_PLAIN,
    CELERY_SQLITE,
    DBOS_POSTGRES,
    DBOS_SQLITE,
    HERE,
    OURS,
    PROCRASTINATE,
    Contest,
    Peer,
    Running,
)
from .vendor import KEYLESS, SLOW

PAYMENTS: Final = {"quick": 60, "normal": 120, "long": 1000}
KILLS: Final = {"quick": 4, "normal": 8, "long": 60}  # the posts are spread over them, however long they take
PER_S: Final = 20.0  # posted payments at most
STORM_S: Final = {"quick": 45.0, "normal": 60.0, "long": 600.0}  # at most; then posts wait for no more kills
CLIENTS: Final = 16
TRIES_MAX: Final = 200
TOKENS: Final = {"tok_ok": 60, "tok_drop": 10, "tok_late": 6, "tok_error": 10, "tok_refused": 6, "tok_decline": 8}
KEYLESS_TOKENS: Final = {**TOKENS, SLOW: 6}
LATER_SHARE, OTHER_SHARE = 0.25, 0.05  # of payments: posted again after a while; and with another body
KILL_EVERY_S: Final = (0.2, 2.5)  # after the last one was started again, and worked
EARLY_SHARE: Final = 0.2  # of kills: another one comes while it starts
DOWN_S: Final = (0.0, 0.5)
QUIET_S: Final = 60.0  # for all to be settled, after the storm
# How long what a dead worker had in hand stays with it. The defaults (an hour; ten minutes and 30 s) would outlast the run.
PATIENCE: Final = {"PEER_VISIBILITY_S": "15", "PEER_STALLED_S": "9"}
FINAL: Final = frozenset({"SUCCESS", "FAILED", "CANCELED"})
KILLED: Final = ("API", "worker", "Redis")  # DBOS has its worker in the API, and payonce can
KILLED_WORD: Final = " killed"
HOW: Final = (
    "Torture: counts of payments, but for kills (by process) and for answers 5xx. Processes are killed (SIGKILL) at times "
    "chosen by chance, in turn, the same way for all; nothing is built in that makes a bad moment longer. Plain Celery has no "
    "outbox: when the API dies between its commit and the publishing of the task, nobody charges that payment. What a dead "
    "worker had in hand is given back after 15 s (Celery's visibility timeout; its default is an hour) or 9 s "
    "(procrastinate's stalled jobs; there ten minutes). Pending is what was so 60 s after the storm, with all processes up."
)
REFERENCE: Final = 20  # characters of payonce's reference that are the payment's


class Storm(Struct, frozen=True, kw_only=True):
    """One row of tortures."""

    peer: Peer
    honours: bool = True  # whether the provider honours idempotency keys
    look: bool = False  # whether a peer asks the provider before it sends again
    redis_too: bool = False

    @property
    def name(self) -> str:
        more = [
            word for word, said in (("asks before it sends again", self.look), ("Redis killed too", self.redis_too)) if said
        ]
        return "; ".join([self.peer.name, *more])

    @property
    def case(self) -> str:
        return "torture" if self.honours else "torture, provider without idempotency keys"


def storms(scale: str) -> list[Storm]:
    """The rows of a scale: long has all."""
    ours, keyless = OURS[1], Peer(**{**_fields(OURS[1]), "keyless": True})
    peers = [Storm(peer=peer) for peer in (ours, CELERY_PLAIN, CELERY_SQLITE, DBOS_SQLITE, DBOS_POSTGRES, PROCRASTINATE)]
    redis = [Storm(peer=CELERY_SQLITE, redis_too=True)]
    asking = [Storm(peer=peer, honours=False, look=True) for peer in (DBOS_SQLITE, PROCRASTINATE)]
    rows = [*peers, *redis, Storm(peer=keyless, honours=False), *asking]
    if scale == "long":
        rows += [Storm(peer=OURS[0]), Storm(peer=CELERY_PLAIN, redis_too=True)]
        rows += [Storm(peer=CELERY_SQLITE, honours=False, look=True)]
        rows += [Storm(peer=peer, honours=False) for peer in (CELERY_SQLITE, DBOS_SQLITE, PROCRASTINATE)]
    return rows


def _fields(peer: Peer) -> dict[str, Any]:
    return {name: getattr(peer, name) for name in peer.__struct_fields__}


class Heard(Struct):
    """What clients were told of one key. ``ids`` of all answers; ``other`` answers to another body under the key."""

    key: str
    body: dict[str, Any]
    ids: set[str]
    other: list[int]


class Torture:
    """One storm, from its first process to its verdict."""

    def __init__(self, bench: Bench, contest: Contest, storm: Storm, number: int) -> None:
        self.bench, self.contest, self.storm = bench, contest, storm
        self.folder = bench.folder / f"torture-{number}"
        self.dice = random.Random(f"torture {number}")
        self.payments = PAYMENTS[bench.scale]
        self.heard: list[Heard] = []
        self.answers: Counter[int] = Counter()
        self.kills: Counter[str] = Counter()  # by process
        self.over = threading.Event()
        self.broke: Broken | None = None
        self.until = 0.0

    def run(self) -> dict[str, float]:
        """The counts, by what they count."""
        self.folder.mkdir(parents=True)
        provider = self.provider()
        env = {**PATIENCE, "PEER_LOOK": str(int(self.storm.look))}
        try:
            with Running(self.storm.peer, self.contest, self.folder, provider.url, env=env) as running:
                running.start()
                killer = threading.Thread(target=self.kill, args=[running], daemon=True)
                killer.start()
                asyncio.run(self.market(running))
                self.over.set()
                killer.join()
                self.require_whole()
                shown, took_s = asyncio.run(self.quiet(running, provider))
                counts = self.judge(shown, provider.charges())
        finally:
            self.over.set()
            provider.stop()
        self.say(counts, took_s)
        shutil.rmtree(self.folder)
        return counts

    def break_off(self) -> None:
        """Whoever runs it gets a Broken, soon."""
        self.broke = Broken(f"{self.storm.name}: broken off")
        self.over.set()

    def require_whole(self) -> None:
        """Raises Broken when a process did not come back, or all is broken off."""
        if self.broke:
            raise self.broke

    def provider(self) -> Provider:
        """One that honours keys, or one that does not."""
        made = Provider.__new__(Provider)
        made.port = free_port()
        made.url = f"http://127.0.0.1:{made.port}"
        more = () if self.storm.honours else (KEYLESS,)
        argv = [self.bench.python, "-m", f"{HERE}.vendor", "--port", str(made.port), *more]
        made.proc = Proc.start(argv, log=self.folder / "provider.log", name="provider")
        wait_http(f"{made.url}/ledger", made.proc)
        return made

    # --- storm ------------------------------------------------------------------------------------------------------------

    def kill(self, running: Running) -> None:
        """SIGKILL, a moment of silence, and a start: again and again, until the clients are done."""
        try:
            self._kill(running)
        except Broken as broken:
            self.broke = broken

    def _kill(self, running: Running) -> None:
        names = [*running.made, *(["Redis"] if self.storm.redis_too else [])]
        turns: list[str] = []
        while not self.over.wait(self.dice.uniform(*KILL_EVERY_S)):
            turns = turns or self.dice.sample(names, len(names))  # by chance, but each as often as the others
            name = turns.pop()
            self.kills[name] += 1
            if name == "Redis" and running.redis:
                running.redis.proc.kill()
                time.sleep(self.dice.uniform(*DOWN_S))
                running.redis.start()
                continue
            running.procs[name].kill()
            time.sleep(self.dice.uniform(*DOWN_S))
            if self.dice.random() < EARLY_SHARE:
                early = running.made[name]()
                time.sleep(self.dice.uniform(0.1, 2.0))
                early.kill()
                self.kills[name] += 1
            running.again(name)

    async def market(self, running: Running) -> None:
        """All clients."""
        self.until = time.monotonic() + STORM_S[self.bench.scale]
        tokens = TOKENS if self.storm.honours else KEYLESS_TOKENS
        sources = self.dice.choices([*tokens], [*tokens.values()], k=self.payments)
        limits = httpx2.Limits(max_connections=4 * CLIENTS, max_keepalive_connections=0)
        http = httpx2.AsyncClient(base_url=running.url, timeout=10, trust_env=False, limits=limits)
        async with http, asyncio.TaskGroup() as group:
            for number, source in enumerate(sources):
                group.create_task(self.client(http, number, source))
                await asyncio.sleep(self.dice.expovariate(PER_S))
                await self.turn(number)

    async def turn(self, number: int) -> None:
        """Until as many kills have come as there should before this payment."""
        while self.kills.total() < number * KILLS[self.bench.scale] // self.payments and time.monotonic() < self.until:
            await asyncio.sleep(0.05)
            self.require_whole()

    async def client(self, http: httpx2.AsyncClient, number: int, source: str) -> None:
        """One payment: two posts at once, perhaps another one later, perhaps another body under the same key."""
        body = {"amount": 1000 + number, "currency": "USD", "paymentMethod": source, "metadata": {"order": f"A-{number}"}}
        heard = Heard(key=f"torture-{number:06d}", body=body, ids=set(), other=[])
        self.heard.append(heard)
        await asyncio.gather(self.post(http, heard), self.post(http, heard))
        if self.dice.random() < LATER_SHARE:
            await asyncio.sleep(self.dice.uniform(1, 6))
            await self.post(http, heard)
        if self.dice.random() < OTHER_SHARE:
            await self.post(http, heard, other=True)

    async def post(self, http: httpx2.AsyncClient, heard: Heard, *, other: bool = False) -> None:
        """Until there is an answer that is none of trouble. Raises Broken when the storm is."""
        body = {**heard.body, "amount": heard.body["amount"] + 1} if other else heard.body
        for _ in range(TRIES_MAX):
            self.require_whole()
            try:
                answer = await http.post("/payments", json=body, headers={"idempotency-key": heard.key})
            except httpx2.TransportError:
                await asyncio.sleep(0.2)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code < 500 and answer.status_code != 429:
                if other:
                    heard.other.append(answer.status_code)
                elif answer.status_code in (200, 201, 202):
                    heard.ids.add(answer.json()["transactionId"])
                return
            await asyncio.sleep(0.2)

    async def quiet(self, running: Running, provider: Provider) -> tuple[dict[str, str], float]:
        """The status of every payment that a client heard of, once all are final, or the time is over; and how long it took."""
        shown: dict[str, str] = {}
        began = time.monotonic()
        async with httpx2.AsyncClient(base_url=running.url, timeout=30, trust_env=False) as http:
            while True:
                self.require_whole()
                for name, proc in list(running.procs.items()):
                    if not proc.alive:  # ended by itself: a supervisor would start it again
                        await asyncio.to_thread(running.again, name)
                for id in {id for heard in self.heard for id in heard.ids}:
                    if shown.get(id) not in FINAL:
                        shown[id] = await self.status(http, id)
                if all(status in FINAL for status in shown.values()) or time.monotonic() - began > QUIET_S:
                    provider.proc.require_alive()
                    return shown, time.monotonic() - began
                await asyncio.sleep(0.5)

    async def status(self, http: httpx2.AsyncClient, id: str) -> str:
        """As the API shows it; "unknown": it knows nothing of it, "": it does not answer yet."""
        try:
            answer = await http.get(f"/payments/{id}")
        except httpx2.TransportError:
            return ""
        return str(answer.json()["status"]) if answer.status_code == 200 else "unknown" * (answer.status_code == 404)

    # --- verdict ----------------------------------------------------------------------------------------------------------

    def judge(self, shown: dict[str, str], charges: list[Booked]) -> dict[str, float]:
        """What clients heard, what is shown, what was charged."""
        charged = Counter(self.id_of(each.reference) for each in charges)
        open_still = {id for id, status in shown.items() if status not in FINAL}
        wrong_ends = [
            id
            for heard in self.heard
            for id in heard.ids
            if shown[id] == "SUCCESS" and (not charged[id] or heard.body["paymentMethod"] == "tok_decline")
        ]
        return {
            "payments": len(self.heard),
            **{f"{name}{KILLED_WORD}": self.kills[name] for name in KILLED},
            "never charged, still pending": sum(id not in charged and not self.looked_after(shown[id]) for id in open_still),
            "charged, still pending": sum(id in charged and not self.looked_after(shown[id]) for id in open_still),
            "in doubt, shown": sum(self.looked_after(shown[id]) for id in open_still),
            "charged twice": sum(times > 1 for times in charged.values()),
            "FAILED, but charged": sum(status == "FAILED" and id in charged for id, status in shown.items()),
            "SUCCESS, but not charged": len(wrong_ends),
            "two payments for a key": sum(len(heard.ids) > 1 for heard in self.heard),
            "another body taken": sum(status < 300 for heard in self.heard for status in heard.other),
            "never answered": sum(not heard.ids for heard in self.heard),
            "answers 5xx": sum(count for status, count in self.answers.items() if status >= 500),
        }

    def looked_after(self, status: str) -> bool:
        """Not final, and said so to whoever has to decide."""
        return status == "IN_DOUBT"

    def id_of(self, reference: str) -> str:
        """Of the payment that a charge is for."""
        return reference if self.storm.peer.module else f"pay_{reference[:REFERENCE]}"

    def say(self, counts: dict[str, float], took_s: float) -> None:
        bad = {what: int(n) for what, n in counts.items() if n and what != "payments" and not what.endswith(KILLED_WORD)}
        kills = ", ".join(f"{n} {name}" for name, n in sorted(self.kills.items()))
        self.bench.say(
            f"{self.storm.case}: {self.storm.name}: killed {kills}; quiet after {took_s:.0f} s; {bad or 'nothing wrong'}"
        )
