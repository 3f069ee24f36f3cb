"""The merchants: they post until they are answered, always with the same idempotency key, and some of them badly."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import httpx2
from msgspec import Struct

from payonce.sandbox.faults import TOKENS

from .afterwards import ACTIONS, Afterwards
from .options import TortureOptions, Violation

CURRENCIES = ("INR", "USD", "INR", "EUR", "JPY", "INR", "KWD", "GBP")
# Two of them at or above the threshold of the second rule. Multiples of ten: of dinars some vendors take nothing else.
AMOUNTS = (100, 1050, 999_990, 1_000_000, 2_500_000)
TAKES: dict[str, tuple[str, ...]] = {  # account -> the currencies it does not share with all; empty: all of them
    "mock": (),
    "razorpay_mock": (),
    "cashfree_mock": ("INR", "USD", "EUR", "JPY", "GBP"),
    "stripe_mock": (),
    "payu_mock": ("INR",),
}
FORCED_EVERY = 3
MANUAL_SHARE = 0.3
ACT_S = 60  # for the customer, where one has to act: the shortest there is
# How a client behaves, with its share. plain: once, until it is answered. again: the same once more, later. together: three
# times at once. changed: another amount under the same key afterwards. race: two bodies under one key at once. hasty: it
# hangs up after milliseconds and comes back.
Manner = Literal["plain", "again", "together", "changed", "race", "hasty"]
MANNERS: dict[Manner, int] = {"plain": 10, "again": 3, "together": 3, "changed": 2, "race": 2, "hasty": 4}
ANSWER_S = 5.0
HASTE_S = (0.001, 0.05)
ACCEPTED_S = 180.0  # no payment waits longer for its 202, whatever is killed meanwhile
FINAL = ("SUCCESS", "FAILED", "CANCELED")


class Order(Struct, frozen=True):
    """What one client wants: one payment."""

    key: str
    manner: Manner
    body: dict[str, Any]


class Posted(Struct):
    """What a client knows of its payment. ``body`` is the one that was accepted."""

    key: str
    body: dict[str, Any]
    ids: set[str]
    status: str = ""  # a final one that was seen


def orders(options: TortureOptions) -> Iterator[Order]:
    """Every token with many currencies and amounts; one in three names its account, some are manual. Decided by the seed
    alone."""
    dice = random.Random(f"{options.seed} orders")
    manners = dice.choices
    for n in range(options.payments):
        currency = dice.choice(CURRENCIES)
        body: dict[str, Any] = {
            "amount": dice.choice(AMOUNTS) + n % 10_000 * 10,
            "currency": currency,
            "paymentMethod": [*TOKENS][n % len(TOKENS)],
            "clientId": f"shop-{n % 3}",
        }
        if n % FORCED_EVERY == 0:  # three and the number of tokens share no divisor: every token is forced, too
            body["provider"] = dice.choice([name for name, takes in TAKES.items() if not takes or currency in takes])
        if dice.random() < MANUAL_SHARE:
            body["captureMethod"] = "manual"
        if body["paymentMethod"] in ACTIONS:
            body["actionExpiresIn"] = ACT_S
        (manner,) = manners([*MANNERS], [*MANNERS.values()])
        yield Order(f"torture-{options.seed}-{n}", manner, body)


class Merchants:
    """They share a connection pool, and note what they were promised."""

    def __init__(self, url: str, seed: int) -> None:
        self.url, self.seed = url, seed
        self.dice = random.Random(f"{seed} merchants")
        self.posted: dict[str, Posted] = {}
        self.afterwards = Afterwards(self)
        self.posts, self.answers = 0, Counter[str]()
        self.violations: list[Violation] = []
        limits = httpx2.Limits(max_connections=100, keepalive_expiry=2)
        self.http = httpx2.AsyncClient(timeout=ANSWER_S, limits=limits, trust_env=False)

    async def serve(self, order: Order) -> None:
        """One client from its first post to its last."""
        self.posted[order.key] = Posted(order.key, order.body, set())
        try:
            async with asyncio.timeout(ACCEPTED_S):
                await self._behave(order)
                await self.look(order.key)
            self.afterwards.begin(order)
        except TimeoutError:
            self._wrong("answer", order.key, f"was not answered to the end within {ACCEPTED_S:g} s")

    async def _behave(self, order: Order) -> None:
        key, body = order.key, order.body
        other = {**body, "amount": body["amount"] + 10}
        match order.manner:
            case "together":
                await asyncio.gather(*(self._post(key, body) for _ in range(3)))
            case "race":
                await asyncio.gather(self._post(key, body, race=True), self._post(key, other, race=True))
            case "hasty":
                for _ in range(3):
                    await self._hang_up(key, body)
                await self._post(key, body)
            case _:
                await self._post(key, body)
        if order.manner == "again":
            await asyncio.sleep(self.dice.uniform(0, 2))
            await self._post(key, body)
        if order.manner == "changed" and await self._post(key, other, race=True) != 422:
            self._wrong("key", key, "another amount under the same key was not refused with 422")

    async def _post(self, key: str, body: dict[str, Any], *, race: bool = False) -> int:
        """Post until there is an answer that stands; its status."""
        while True:
            answer = await self._once(key, body, ANSWER_S)
            if answer is None or answer.status_code == 503:
                await asyncio.sleep(0.05)  # dead, dying or busy; the same key may be used again
                continue
            if answer.status_code == 202:
                self._accepted(key, body, answer.json())
            elif not (race and answer.status_code == 422 and answer.json().get("code") == "idempotency_key_reused"):
                self._wrong("answer", key, f"was answered {answer.status_code}: {answer.text[:200]}")
            return int(answer.status_code)

    async def _once(self, key: str, body: dict[str, Any], seconds: float) -> httpx2.Response | None:
        """The answer to one post, if one came."""
        self.posts += 1
        try:
            answer = await self.http.post(f"{self.url}/payments", json=body, headers={"Idempotency-Key": key}, timeout=seconds)
        except httpx2.HTTPError:
            self.answers["none"] += 1
            return None
        again = answer.status_code == 202 and answer.headers.get("idempotent-replayed")
        self.answers[f"{answer.status_code}{' again' if again else ''}"] += 1
        return answer

    async def _hang_up(self, key: str, body: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self.dice.uniform(*HASTE_S)):
                answer = await self._once(key, body, ANSWER_S)
        except TimeoutError:
            self.answers["hung up"] += 1
            return
        if answer is not None and answer.status_code == 202:
            self._accepted(key, body, answer.json())

    def _accepted(self, key: str, body: dict[str, Any], said: dict[str, Any]) -> None:
        known = self.posted[key]
        if not known.ids:
            known.body = body
        known.ids.add(said["transactionId"])
        if (said["amount"], said["currency"]) != (known.body["amount"], known.body["currency"]):
            self._wrong("key", key, f"was answered with {said['amount']} {said['currency']}, another body's")
        if known.body["amount"] != body["amount"]:
            self._wrong("key", key, "two bodies were accepted under it")

    async def look(self, key: str) -> None:
        """Read the payment once: what was answered 202 is there, also when everything was killed in between."""
        known = self.posted[key]
        for id in known.ids:
            try:
                answer = await self.http.get(f"{self.url}/payments/{id}")
            except httpx2.HTTPError:
                return
            if answer.status_code == 200:
                self._seen(known, answer.json()["status"])
            elif answer.status_code != 503:
                self._wrong("lost", key, f"{id} was answered 202, and now {answer.status_code}")

    def _seen(self, known: Posted, status: str) -> None:
        if known.status and status != known.status:
            self._wrong("lost", known.key, f"was {known.status}, and is {status} now")
        if status in FINAL:
            known.status = status

    async def wander(self) -> None:
        """Read payments at random, for ever: what was final stays so."""
        while True:
            await asyncio.sleep(0.1)
            if self.posted:
                await self.look(self.dice.choice([*self.posted]))

    async def close(self) -> None:
        self.afterwards.cancel()
        await self.http.aclose()

    def _wrong(self, kind: Literal["key", "lost", "answer"], key: str, says: str) -> None:
        self.violations.append(Violation(kind=kind, key=key, says=f"{key} {says}"))
