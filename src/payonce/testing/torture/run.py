"""The torture from its first process to its verdict."""

import asyncio
import contextlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
from msgspec.structs import replace

from payonce.stores.sqlite import open_to_read
from payonce.testing.judge import histories

from . import judging
from .clients import Merchants, orders
from .options import FAULTS, VIOLATIONS_MAX, TortureOptions, TortureReport, Violation
from .processes import Nursery, Process
from .proxy import FaultProxy
from .scene import Scene
from .storm import Storm

Tell = Callable[[str], None]

PAGE = 100
LEDGER_PAGE = 500
AT_A_TIME = 200  # histories that are read and judged together
QUIET_AHEAD_US = 600 * 1_000_000  # what is in doubt is read daily: that is quiet
TELL_EVERY_S = 5.0
EXPOSED_S = 20.0
SAID_AT_THE_END = "draining ..."


async def torture(options: TortureOptions, tell: Tell = lambda _: None) -> TortureReport:
    """Run it and judge it. ``tell`` hears a line now and then. The folder of its files is removed when all was right and
    ``options.keep`` names none; every process it started has ended when this returns or raises. Raises OSError when the
    folder cannot be used."""
    folder = _folder(options.keep)
    tell(f"seed {options.seed}: {options.payments} payments, {options.kills} kills, in {folder}")
    scene = Scene(folder, options)
    scene.write()
    dice = random.Random(f"{options.seed} proxy")
    proxy = FaultProxy(("127.0.0.1", scene.sandbox_port), dice, options.fault_share)
    merchants = Merchants(scene.url, options.seed)
    try:
        await proxy.start(scene.proxy_port)
        async with Nursery(folder, scene.env) as nursery:
            report = await _Torture(scene, proxy, merchants, nursery, tell).run()
    except BaseException:
        tell(f"stopped before the end; what there is stays in {folder}")
        raise
    finally:
        await merchants.close()
        await proxy.stop()
    if report.clean and not options.keep:
        shutil.rmtree(folder)
        return replace(report, folder="")
    return report


def _folder(keep: str) -> Path:
    folder = Path(keep).resolve() if keep else Path(tempfile.mkdtemp(prefix="payonce-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name another folder, or none. Nothing was started.")
    return folder


class _Torture:
    """One run. The phases are ``storm``, ``settle`` and ``judge``."""

    def __init__(self, scene: Scene, proxy: FaultProxy, merchants: Merchants, nursery: Nursery, tell: Tell) -> None:
        self.scene, self.options, self.tell, self.nursery = scene, scene.options, tell, nursery
        self.merchants, self.proxy = merchants, proxy
        self.processes = scene.cast(nursery)
        self.storm = Storm(scene.options, self.processes, proxy, scene.sandbox_url)
        self.violations: list[Violation] = []
        self.violations_total = self.given_up = 0
        self.calm = judging.Calm(0, 0)

    async def run(self) -> TortureReport:
        """All phases, and the verdict."""
        began = time.monotonic()
        try:
            await asyncio.gather(*(process.start() for process in self.processes))
            self.merchants.afterwards.sandbox_url = self.scene.sandbox_url
            await self.storm.webhooks(self.scene.webhooks)
            await self._storm()
            storm_s = time.monotonic() - began
            self.tell(f"the storm is over after {storm_s:.0f} s: {self._seen()}")
            await self.storm.calm()
            self.calm = judging.Calm(time.time_ns() // 1000, self.options.look_s)
            await self.merchants.afterwards.over()
        except* RuntimeError as errors:
            self._note([Violation(kind="start", says=str(each)) for each in errors.exceptions])
        if self.violations_total:
            return self._report(time.monotonic() - began, 0.0, {}, [])
        await self._settle()
        settle_s = time.monotonic() - began - storm_s
        self.tell(f"quiet after {settle_s:.0f} s more; judging")
        return await self._judge(storm_s, settle_s)

    # --- storm --------------------------------------------------------------------------------------------------------

    async def _storm(self) -> None:
        beside = [
            asyncio.create_task(work)
            for work in (self.storm.weather(), self.merchants.wander(), self._progress(), self._time_limit())
        ]
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self.storm.rage())
                both.create_task(self._market())
            await self._exposed()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _exposed(self) -> None:
        """Kills and a vendor that refuses may have kept everybody from working so far: the faults go on until the vendors
        were called about as often as there are payments."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXPOSED_S):
                while self.proxy.calls < 2 * self.options.payments and not self.storm.pace.ended:  # noqa: ASYNC110  it is counted
                    await asyncio.sleep(0.05)

    async def _time_limit(self) -> None:
        """What has begun comes to its end, and nothing more begins."""
        if self.options.seconds:
            await asyncio.sleep(self.options.seconds)
            self.storm.pace.move(ended=True)
            self.tell(f"{self.options.seconds:g} s are over; no more posts and kills begin")

    async def _market(self) -> None:
        """The clients, so many at a time."""
        waiting = orders(self.options)

        async def one() -> None:
            while await self.storm.pace.post() and (order := next(waiting, None)) is not None:
                await self.merchants.serve(order)
                self.storm.pace.move(posts=1)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.options.clients):
                group.create_task(one())

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            self.tell(self._seen())

    def _seen(self) -> str:
        kills = ", ".join(f"{n} {kind}" for kind, n in self.storm.kills.items())
        return (
            f"{self.storm.pace.posts} of {self.options.payments} clients done, {self.merchants.posts} posts; "
            f"kill -9: {kills}; {self.proxy.faults.total()} faults in {self.proxy.calls} calls"
        )

    # --- settle -------------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Until nothing is due for a long while: every payment is final or in doubt, and watched to the end."""
        deadline, told = time.monotonic() + self.options.settle_deadline_s, time.monotonic()
        store = await open_to_read(self.scene.store)
        try:
            while time.monotonic() < deadline:
                due, counts = await store.next_due(), await store.counts()
                pending = sum(n for status, n in counts.items() if status not in judging.ENDS)
                if not pending and (due is None or due > time.time_ns() // 1000 + QUIET_AHEAD_US):
                    return
                if time.monotonic() - told > TELL_EVERY_S:
                    told = time.monotonic()
                    self.tell(f"no more faults; {pending} payments are open, {sum(counts.values()) - pending} settled")
                await asyncio.sleep(0.2)
        finally:
            await store.close()
        says = f"not quiet within {self.options.settle_deadline_s} s after the faults: {pending} payments are open"
        self._note([Violation(kind="unsettled", says=says)])

    # --- judge --------------------------------------------------------------------------------------------------------

    async def _judge(self, storm_s: float, settle_s: float) -> TortureReport:
        payments, movements = await self._payments(), await self._ledger()
        self._keep_what_was_posted()
        for process in self.processes[1:]:
            if (code := await process.stop()) != 0:
                self._note([Violation(kind="log", says=f"{process.name} ended with {code} after SIGTERM")])
        posted = [*self.merchants.posted.values()]
        self._note(self.merchants.violations)
        self._note(judging.wrong_overall(posted, payments, movements))
        moved = judging.by_payment(movements)
        for ids in _batches([id for id, p in payments.items() if p["idempotencyKey"] in self.merchants.posted]):
            past = await histories(self.scene.store, ids)
            for id in ids:
                known = self.merchants.posted[payments[id]["idempotencyKey"]]
                self._note(judging.wrong_with_one(known, payments[id], moved.get(id, []), past[id], self.calm))
                self.given_up += not judging.as_its_token(known, payments[id])
        await self._verify()
        self._note(self._bugs())
        return self._report(storm_s, settle_s, payments, movements)

    async def _payments(self) -> dict[str, dict[str, Any]]:
        """All payments by id, as the API lists them."""
        found: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:
            while True:
                params = {"limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
                page = (await http.get(f"{self.scene.url}/payments", params=params)).raise_for_status().json()
                found |= {p["transactionId"]: p for p in page["data"]}
                if (cursor := page["nextCursor"]) is None:
                    return found

    async def _ledger(self) -> list[dict[str, Any]]:
        """Every movement of money in the vendors' books."""
        movements: list[dict[str, Any]] = []
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:
            while True:
                params = {"after": str(movements[-1]["seq"] if movements else 0), "limit": str(LEDGER_PAGE)}
                answer = await http.get(f"{self.scene.sandbox_url}/sandbox/ledger", params=params)
                page = answer.raise_for_status().json()["movements"]
                movements += page
                if not page:
                    return movements

    async def _verify(self) -> None:
        """``payonce verify`` on the file, when nobody works on it any more."""
        verify = Process(self.nursery, "verify", "verify", ["verify", "--json", *self.scene.where])
        code = await verify.run()
        said = verify.out.read_text(encoding="utf-8") if verify.out.exists() else ""
        problems = json.loads(said)["problems"] if said else []
        self._note(
            Violation(kind="file", payment=each["payment"], says=f"payonce verify: {each['problem']}") for each in problems
        )
        if code != 0 and not problems:
            self._note([Violation(kind="file", says=f"payonce verify ended with {code}; see {verify.log}")])

    def _bugs(self) -> Iterator[Violation]:
        """The processes are set up to log errors only: whatever they said is one."""
        for process in self.processes:
            if process.log.exists():
                for line in process.log.read_text(encoding="utf-8", errors="replace").splitlines():
                    if line.strip() and line != SAID_AT_THE_END:
                        yield Violation(kind="log", says=f"{process.log.name}: {line[:500]}")

    def _keep_what_was_posted(self) -> None:
        """Beside the other files: which key got which payment, for whoever has to find out."""
        with (self.scene.folder / "posted.ndjson").open("w", encoding="utf-8") as file:
            for each in self.merchants.posted.values():
                file.write(json.dumps({"key": each.key, "ids": sorted(each.ids), "body": each.body}) + "\n")

    def _note(self, violations: Iterator[Violation] | Sequence[Violation]) -> None:
        for each in violations:
            self.violations_total += 1
            if len(self.violations) < VIOLATIONS_MAX:
                self.violations.append(each)
            if self.violations_total <= 20:
                self.tell(f"VIOLATION ({each.kind}): {each.says}")

    def _report(
        self, storm_s: float, settle_s: float, payments: dict[str, dict[str, Any]], movements: list[Any]
    ) -> TortureReport:
        kills = self.storm.kills.total()
        return TortureReport(
            seed=self.options.seed,
            payments=len(payments),
            posts=self.merchants.posts,
            answers=dict(sorted(self.merchants.answers.items())),
            kills=dict(self.storm.kills),
            freezes=dict(self.storm.freezes),
            faults={kind: self.proxy.faults[kind] for kind in FAULTS},
            calls=self.proxy.calls,
            statuses=dict(sorted(Counter(p["status"] for p in payments.values()).items())),
            outlasted=self.given_up,
            movements=len(movements),
            storm_s=round(storm_s, 1),
            settle_s=round(settle_s, 1),
            kills_per_minute=round(kills * 60 / storm_s, 1) if storm_s else 0.0,
            violations=self.violations,
            violations_total=self.violations_total,
            folder=str(self.scene.folder),
        )


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(ids), AT_A_TIME):
        yield ids[at : at + AT_A_TIME]
