"""What merchants and customers do once a payment was accepted: act at the provider, capture, void, give back, several at once
and under one key. It goes on beside the posts, through every kill."""

import asyncio
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

import httpx2

from .options import Violation

if TYPE_CHECKING:
    from .clients import Merchants, Order

ACTIONS = ("tok_action", "tok_action_ok", "tok_action_decline")
PATIENCE_S = 45.0  # for a payment to be held, taken, or to wait for its customer: then nothing is asked of it
OVER_S = 15.0  # after the faults
LOOK_S = (0.3, 1.5)
PAGE = re.compile(r"/sandbox/pay/[a-z]+/\d+")
HOLDS = ("capture", "part", "void", "both", "twice", "leave")
REFUNDS = ("none", "none", "all", "parts", "crowd", "again", "too much")
ENDED = ("SUCCESS", "FAILED", "CANCELED", "IN_DOUBT")
REFUSED = ("operation_in_progress", "operation_not_possible", "amount_exceeds_available", "partial_capture_unsupported")
View = dict[str, Any]


class Afterwards:
    """``asked`` counts what was accepted and what was refused. ``sandbox_url`` is where customers act."""

    def __init__(self, merchants: "Merchants") -> None:
        self.merchants = merchants
        self.sandbox_url = ""
        self.tasks: set[asyncio.Task[None]] = set()

    def begin(self, order: "Order") -> None:
        """Go on with one that was accepted."""
        task = asyncio.create_task(self._live(order))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def over(self) -> None:
        """Wait until nobody asks for anything any more; who takes long goes away in the middle of it."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=OVER_S)
        self.cancel()

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def _live(self, order: "Order") -> None:
        dice = random.Random(f"{self.merchants.seed} {order.key}")
        ids = sorted(self.merchants.posted[order.key].ids)
        if not ids:
            return
        id, key = ids[0], order.key
        if order.body["paymentMethod"] == "tok_action" and dice.random() < 0.9:
            await self._act(id, dice.choice(("approve", "approve", "decline")))
        view = await self._until(id, dice, lambda v: v["status"] in (*ENDED, "AUTHORIZED"))
        if view and view["status"] == "AUTHORIZED":
            await self._hold(id, key, dice.choice(HOLDS), int(view["authorized"]))
            view = await self._until(id, dice, lambda v: v["status"] in ENDED)
        if view and view["status"] == "SUCCESS":
            await self._refund(id, key, dice.choice(REFUNDS), int(view["captured"]))

    async def _hold(self, id: str, key: str, plan: str, held: int) -> None:
        match plan:
            case "capture":
                await self._ask(id, "capture", f"{key}-c")
            case "twice":
                await asyncio.gather(*(self._ask(id, "capture", f"{key}-c") for _ in range(2)))
            case "part":
                if await self._ask(id, "capture", f"{key}-c", held // 30 * 10) != "202":
                    await self._ask(id, "capture", f"{key}-c2")
            case "void":
                await self._ask(id, "void", f"{key}-v")
            case "both":
                said = await asyncio.gather(self._ask(id, "void", f"{key}-v"), self._ask(id, "capture", f"{key}-c"))
                if said.count("202") > 1:
                    self._wrong("key", key, id, "a capture and a void were accepted at once")

    async def _refund(self, id: str, key: str, plan: str, taken: int) -> None:
        part = taken * 2 // 50 * 10
        match plan:
            case "all":
                await self._ask(id, "refunds", f"{key}-r")
            case "parts":
                for n in range(2):
                    await self._ask(id, "refunds", f"{key}-r{n}", part)
            case "crowd":  # three that do not fit together
                await asyncio.gather(*(self._ask(id, "refunds", f"{key}-r{n}", part) for n in range(3)))
            case "again":
                await asyncio.gather(*(self._ask(id, "refunds", f"{key}-r", part) for _ in range(3)))
            case "too much":
                if await self._ask(id, "refunds", f"{key}-r", taken + 10) == "202":
                    self._wrong("answer", key, id, "a refund of more than was captured was accepted")

    async def _ask(self, id: str, what: str, key: str, amount: int = 0) -> str:
        """Ask until there is an answer that stands, always with the same key: "202", or the code of the refusal."""
        body = {"amount": amount} if amount else {}
        while True:
            answer = await self._http("POST", f"{self.merchants.url}/payments/{id}/{what}", key, body)
            if answer is None:
                continue
            said = "202" if answer.status_code == 202 else str(answer.json().get("code"))
            self.merchants.answers[f"{what} {said}"] += 1
            if said != "202" and said not in REFUSED:
                self._wrong("answer", key, id, f"{what} was answered {answer.status_code}: {answer.text[:200]}")
            return said

    async def _act(self, id: str, decision: str) -> None:
        """Be told where to go, and decide there; again when the sandbox died meanwhile."""
        dice = random.Random(id)
        view = await self._until(id, dice, lambda v: v["status"] in ENDED or v["nextAction"] is not None)
        if not view or not view["nextAction"]:
            return
        action = view["nextAction"]
        place = PAGE.search(unquote(" ".join([action["url"] or "", *action["fields"].values()])))
        if place is None:
            self._wrong("answer", "", id, f"its customer is told to go to {action}")
            return
        while True:
            try:
                form = {"decision": decision}
                answer = await self.merchants.http.post(f"{self.sandbox_url}{place[0]}", data=form, follow_redirects=False)
            except httpx2.HTTPError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 303:
                self.merchants.answers[f"page {decision}"] += 1
                return
            await asyncio.sleep(0.1)

    async def _until(self, id: str, dice: random.Random, holds: Callable[[View], bool]) -> View | None:
        """The payment when it is so; None when the patience is over."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < deadline:
            answer = await self._http("GET", f"{self.merchants.url}/payments/{id}", "", None)
            if answer is not None and answer.status_code == 200 and holds(view := answer.json()):
                return dict(view)
            await asyncio.sleep(dice.uniform(*LOOK_S))
        return None

    async def _http(self, method: str, url: str, key: str, body: View | None) -> httpx2.Response | None:
        """One answer; None after a pause when there was none, or a busy one."""
        headers = {"Idempotency-Key": key} if key else {}
        try:
            answer = await self.merchants.http.request(method, url, json=body, headers=headers)
        except httpx2.HTTPError:
            await asyncio.sleep(0.1)
            return None
        if answer.status_code == 503:
            await asyncio.sleep(0.1)
            return None
        return answer

    def _wrong(self, kind: Literal["key", "answer"], key: str, id: str, says: str) -> None:
        self.merchants.violations.append(Violation(kind=kind, key=key, payment=id, says=f"{key} {id}: {says}"))
