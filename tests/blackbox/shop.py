"""A shop over real HTTP that lives through everything with its payments: it posts, sends its customers to the provider's page,
captures, voids and gives back, always with the same key until it is answered, whatever is killed meanwhile."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import httpx2
from msgspec import Struct

from payonce.sandbox.faults import TOKENS

from .running import Payonce

ACCOUNTS = ("mock", "razorpay_mock", "cashfree_mock", "stripe_mock", "payu_mock")
# What takes longest, longest first.
SLOW = (
    "tok_action",
    "tok_never_resolves",
    "tok_late_success",
    "tok_late_then_ok",
    "tok_late_then_decline",
    "tok_timeout_then_ok",
)
CURRENCIES = ("USD", "EUR", "INR", "GBP")
PAGE = re.compile(r"/sandbox/pay/[a-z]+/\d+")
LOOK_S = 0.3
PATIENCE_S = 40.0  # what a plan waits for before it goes on without it
ENDED = ("SUCCESS", "FAILED", "CANCELED", "IN_DOUBT")
HOLD_PLANS = ("capture", "part", "void", "both", "leave", "too much", "capture")
REFUND_PLANS = ("none", "all", "parts", "crowd", "again", "too much", "late void")


class Life(Struct):
    """One payment and what the shop wants to do with it."""

    key: str
    body: dict[str, Any]
    hold: str  # what becomes of a hold; empty: taken at once
    refund: str
    decides: str = ""  # approve, decline, or both at once, on the page; empty: nobody goes there
    id: str = ""
    at: float = 0.0  # seconds after the beginning

    @property
    def token(self) -> str:
        return str(self.body["paymentMethod"])


def lives(count: int, seed: int, seconds: float) -> list[Life]:
    """Every token at every account in turn, a third manual; what is slow comes first. Decided by the seed alone."""
    dice = random.Random(seed)
    made = []
    for n in range(count):
        token, account = [*TOKENS][n % len(TOKENS)], ACCOUNTS[(n // len(TOKENS) + n) % len(ACCOUNTS)]
        currency = "INR" if account == "payu_mock" else dice.choice(CURRENCIES)
        body = {"amount": 1000 + 10 * n, "currency": currency, "paymentMethod": token, "clientId": f"shop-{n % 3}"}
        if n % 7:
            body["provider"] = account
        decides = ""
        if token == "tok_action":
            body["actionExpiresIn"] = 60
            decides = (
                ("approve", "decline", "both", "approve")[(n // len(TOKENS)) % 4] if account == "payu_mock" or n % 4 else ""
            )
        hold = dice.choice(HOLD_PLANS) if dice.random() < 1 / 3 else ""
        if hold:
            body["captureMethod"] = "manual"
        made.append(Life(f"life-{seed}-{n}", body, hold, dice.choice(REFUND_PLANS), decides))
    made.sort(key=lambda each: SLOW.index(each.token) if each.token in SLOW else len(SLOW))
    for n, each in enumerate(made):
        each.at = seconds * n / count
    return made


class Shop:
    """See the module docstring. ``views`` are the payments as they were listed last."""

    def __init__(self, server: Payonce) -> None:
        self.url = server.url
        self.views: dict[str, dict[str, Any]] = {}
        self.answers = Counter[str]()
        self.accepted = 0  # operations
        self.moved = asyncio.Event()  # an operation was accepted just now
        self.looked = asyncio.Condition()
        self.http = httpx2.AsyncClient(timeout=5, trust_env=False, limits=httpx2.Limits(max_connections=40))

    async def open(self, all_lives: Sequence[Life]) -> None:
        """Live all of them to their ends."""
        looking = asyncio.create_task(self._look())
        try:
            async with asyncio.TaskGroup() as group:
                for each in all_lives:
                    group.create_task(self._live(each))
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self.http.aclose()

    async def _look(self) -> None:
        """List all payments again and again."""
        while True:
            cursor = ""
            while True:
                params = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
                try:
                    page = (await self.http.get(f"{self.url}/payments", params=params)).json()
                    self.views |= {p["transactionId"]: p for p in page["data"]}
                    cursor = page["nextCursor"]
                except (httpx2.HTTPError, ValueError, KeyError):
                    break
                if not cursor:
                    break
            async with self.looked:
                self.looked.notify_all()
            await asyncio.sleep(LOOK_S)

    async def until(self, life: Life, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The payment when it is so, or as it is when the patience is over."""
        try:
            async with asyncio.timeout(PATIENCE_S), self.looked:
                while not (life.id in self.views and holds(self.views[life.id])):
                    await self.looked.wait()
        except TimeoutError:
            self.answers["impatient"] += 1
        return self.views.get(life.id, {"status": "", "operations": []})

    async def send(self, method: str, path: str, key: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        """Until it is answered, always with the same key."""
        for _ in range(600):
            try:
                answer = await self.http.request(method, f"{self.url}{path}", json=body, headers={"Idempotency-Key": key})
            except httpx2.HTTPError:
                await asyncio.sleep(0.1)  # the server is dead or dying; its return is the condition
                continue
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.1)
        raise AssertionError(f"{path} was never answered")

    # --- one payment ------------------------------------------------------------------------------------------------

    async def _live(self, life: Life) -> None:
        await asyncio.sleep(life.at)
        answer = await self.send("POST", "/payments", life.key, life.body)
        assert answer.status_code == 202, answer.text
        life.id = answer.json()["transactionId"]
        if life.decides:
            await self._act(life)
        if life.token == "tok_never_resolves" or (life.token == "tok_action" and not life.decides):
            return  # nothing follows
        view = await self.until(life, lambda v: v["status"] in (*ENDED, "AUTHORIZED"))
        if view["status"] == "AUTHORIZED":
            await self._hold(life, view)
            if life.hold in ("void", "leave"):
                return
            view = await self.until(life, at_rest)
        if view["status"] == "SUCCESS":
            await self._refund(life, view["captured"])

    async def _act(self, life: Life) -> None:
        """Be told where to go, and decide there."""
        view = await self.until(life, lambda v: v["status"] in (*ENDED, "REQUIRES_ACTION"))
        if view["status"] != "REQUIRES_ACTION":
            return
        action: dict[str, Any] | None = None
        while not action and view["status"] == "REQUIRES_ACTION":  # a kill may have been between
            view = (await self.send("GET", f"/payments/{life.id}", "-")).json()
            action = view["nextAction"]
        if action is None:
            return
        place = PAGE.search(unquote(" ".join([action["url"] or "", *action["fields"].values()])))
        assert place, action
        wishes = ("approve", "decline") if life.decides == "both" else (life.decides,)
        await asyncio.gather(*(self._decide(place[0], each) for each in wishes))

    async def _decide(self, page: str, decision: str) -> None:
        for _ in range(600):
            try:
                answer = await self.http.post(f"{self.url}{page}", data={"decision": decision}, follow_redirects=False)
            except httpx2.HTTPError:
                await asyncio.sleep(0.1)
                continue
            assert answer.status_code == 303, answer.text
            self.answers[f"page {decision}"] += 1
            return

    async def _hold(self, life: Life, view: dict[str, Any]) -> None:
        held = view["authorized"]
        match life.hold:
            case "capture":
                await asyncio.gather(*(self.ask(life, "capture", "c") for _ in range(2)))
            case "part":
                if await self.ask(life, "capture", "c", held // 2) == "partial_capture_unsupported":
                    await self.ask(life, "capture", "c2", held)
            case "void":
                await self.ask(life, "void", "v")
            case "both":
                said = await asyncio.gather(self.ask(life, "void", "v"), self.ask(life, "capture", "c"))
                assert sorted(said) in (["202", "operation_in_progress"], ["202", "operation_not_possible"]), said
            case "too much":
                assert await self.ask(life, "capture", "c", held + 1) == "amount_exceeds_available"
                await self.ask(life, "capture", "c2", held)

    async def _refund(self, life: Life, taken: int) -> None:
        part = taken * 2 // 5
        match life.refund:
            case "all":
                await self.ask(life, "refunds", "r")
            case "parts":
                for n in range(2):
                    await self.ask(life, "refunds", f"r{n}", part)
            case "crowd":  # of three at once that do not fit, two are taken
                said = await asyncio.gather(*(self.ask(life, "refunds", f"r{n}", part) for n in range(3)))
                assert said.count("202") >= 2, said
                assert {*said} <= {"202", "amount_exceeds_available"}, said
            case "again":
                said = await asyncio.gather(*(self.ask(life, "refunds", "r", part) for _ in range(3)))
                assert {*said} == {"202"}, said
                assert await self.ask(life, "refunds", "r", part + 1) == "idempotency_key_reused"
            case "too much":
                assert await self.ask(life, "refunds", "r", taken + 1) == "amount_exceeds_available"
                await self.ask(life, "refunds", "r1", taken)
            case "late void":
                assert await self.ask(life, "void", "v") in ("operation_not_possible", "202")  # 202: asked before, when held

    async def ask(self, life: Life, what: str, key: str, amount: int = 0) -> str:
        """Ask for an operation; "202", or the code of the refusal."""
        body = {"amount": amount} if amount else None
        answer = await self.send("POST", f"/payments/{life.id}/{what}", f"{life.key}-{key}", body)
        assert answer.status_code in (202, 409, 422), answer.text
        said = "202" if answer.status_code == 202 else str(answer.json()["code"])
        self.answers[f"{what} {said}"] += 1
        if said == "202":
            self.accepted += 1
            self.moved.set()
        return said


def at_rest(view: dict[str, Any]) -> bool:
    """It ended, and so did everything that was asked of it."""
    return view["status"] in ENDED and all(o["status"] != "PENDING" for o in view["operations"])
