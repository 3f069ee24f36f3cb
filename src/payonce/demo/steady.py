"""What the demo does until Ctrl-C: payments go on arriving, so that there is something to watch, and again and again one
provider degrades for a minute and heals. Nothing here is by chance: the same payments come in the same order."""

import asyncio
import contextlib
import secrets
from itertools import cycle
from typing import Any, Final

import httpx2

from payonce.ports import Clock
from payonce.telemetry import get_logger

from .ground import HOME, Ground

GAP_S: Final = 0.9  # between two payments
FIRST_S: Final = 60.0  # until a provider degrades,
ILL_S: Final = 60.0  # for how long,
WELL_S: Final = 240.0  # and how long until the next time
ILLNESS: Final = {"errorRate": 0.92, "latencyMs": 400}
PATIENCE_S: Final = 20.0
AMOUNTS: Final = (1050, 4999, 250, 18_900, 7400, 129_900, 3300, 560, 24_500, 1999)
CURRENCIES: Final = (HOME, "EUR", HOME, "USD", HOME, "GBP", HOME, "JPY")
# A usual day: most go well. Lengths without common divisors, so that they meet each other anew each time.
TOKENS: Final = (
    *("tok_ok",) * 5,
    "tok_decline_insufficient_funds",
    *("tok_ok",) * 4,
    "tok_lost_response",
    *("tok_ok",) * 3,
    "tok_technical_then_ok",
    *("tok_ok",) * 4,
    "tok_decline_do_not_honor",
    *("tok_ok",) * 3,
    "tok_slow_5s",
    "tok_action_ok",
    *("tok_ok",) * 3,
    "tok_500_after_charge",
    *("tok_ok",) * 2,
    "tok_decline_expired_card",
    *("tok_ok",) * 3,
    "tok_timeout_then_ok",
)
REFUND_EVERY: Final = 23  # payments; some customers bring it back

log = get_logger("demo")


class Steady:
    """Posts until it is cancelled; then the provider is well again."""

    def __init__(self, client: httpx2.AsyncClient, ground: Ground, clock: Clock) -> None:
        self.client, self.ground, self.clock = client, ground, clock
        self.run_name = secrets.token_hex(3)  # a kept data folder knows the keys of earlier runs
        self.ill = False

    @property
    def patient(self) -> str:
        """The vendor that degrades: another one than that of the outage, where there is one."""
        others = [v for v in self.ground.vendors.values() if v != self.ground.vendor]
        return "mock" if "mock" in others else next(iter(others), self.ground.vendor)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as beside:
            beside.create_task(self._illness())
            for n, (token, amount, currency) in enumerate(zip(cycle(TOKENS), cycle(AMOUNTS), cycle(CURRENCIES), strict=False)):
                beside.create_task(self._one(n, token, amount, currency))
                await self.clock.sleep(GAP_S)

    async def _one(self, n: int, token: str, amount: int, currency: str) -> None:
        body: dict[str, Any] = {"amount": amount, "currency": currency, "paymentMethod": token, "clientId": f"shop-{n % 3 + 1}"}
        body["metadata"] = {"orderId": f"{self.run_name}-{1000 + n}", "cart": n % 4 + 1}
        with contextlib.suppress(httpx2.HTTPError):  # a shop that goes away: nothing is waited for
            answer = await self._ask("/payments", body, f"steady-{self.run_name}-{n}")
            if n % REFUND_EVERY == REFUND_EVERY - 1 and answer.status_code == 202:
                await self._bring_back(str(answer.json()["transactionId"]), n, amount)

    async def _bring_back(self, payment_id: str, n: int, amount: int) -> None:
        for _ in range(int(PATIENCE_S)):
            await self.clock.sleep(1)
            if (await self.client.get(f"/payments/{payment_id}")).json().get("status") == "SUCCESS":
                part = {"amount": amount // 2, "note": "half of the order came back"}
                await self._ask(f"/payments/{payment_id}/refunds", part, f"steady-{self.run_name}-{n}-back")
                return

    async def _ask(self, path: str, body: dict[str, Any], key: str) -> httpx2.Response:
        return await self.client.post(path, json=body, headers={"Idempotency-Key": key})

    async def _illness(self) -> None:
        """A provider fails most calls and is slow with the rest: for a minute, after a minute, and then every five."""
        if not self.patient:
            return
        faults, well_s = f"/sandbox/faults/{self.patient}", FIRST_S
        try:
            while True:
                await self.clock.sleep(well_s)
                await self.client.put(faults, json=ILLNESS)
                self.ill, well_s = True, WELL_S
                self._say(f"{self.patient} degrades: it fails most calls, for a minute")
                await self.clock.sleep(ILL_S)
                await self.client.put(faults, json={})
                self.ill = False
                self._say(f"{self.patient} is well again")
        finally:
            if self.ill:
                with contextlib.suppress(httpx2.HTTPError):
                    await self.client.put(faults, json={})

    def _say(self, text: str) -> None:
        hour = self.clock.now_us() // 1_000_000 % 86_400
        print(f"  {hour // 3600:02}:{hour // 60 % 60:02}:{hour % 60:02}  {text}", flush=True)
