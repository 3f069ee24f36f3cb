"""Who posts the script: a shop that retries, repeats itself, and goes on through an outage of a provider."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx2

from payonce.bootstrap import App
from payonce.core.payment import FINAL, Payment

from .ground import Ground
from .script import Part, Post, Wish

TRIES_MAX: Final = 50
POLL_S: Final = 0.2
GAP_S: Final = 0.2  # between the payments of the outage
# Deadlines, not durations: each ends as soon as what it waits for is there.
CALM_S: Final = 8.0
OPENS_S: Final = 30.0
PLACED_S: Final = 5.0
HEALS_S: Final = 90.0
WISH_S: Final = 45.0


class Outage:
    """The provider's outage as the demo switched it, and what its breaker did, as the registry has it."""

    def __init__(self) -> None:
        self.on = self.seen = False
        self.opened = ""  # why the breaker opened
        self.healed = False


class Traffic:
    """Posts the script over HTTP. ``app`` is asked when the next part of the script may begin."""

    def __init__(self, client: httpx2.AsyncClient, posts: list[Post], ground: Ground, app: App, seconds: float) -> None:
        self.client, self.posts, self.ground, self.seconds = client, posts, ground, seconds
        self.app = app
        self.outage = Outage()
        self.by_id: dict[str, Post] = {}
        self.ids: dict[str, set[str]] = {}  # key -> every id it was answered with; more than one would be a bug
        self.replayed = self.sent = 0
        self.refused: set[str] = set()  # keys of payments that no account of this configuration takes

    async def run(self) -> None:
        """Post the mix, evenly over ``seconds``, then the outage, then the duplicates that come late; beside all of it the
        payments with wishes."""
        async with asyncio.TaskGroup() as beside:
            for post in self._of("life"):
                beside.create_task(self._life(post))
            await self._script()

    async def _script(self) -> None:
        mix = self._of("mix")
        async with asyncio.TaskGroup() as group:
            for post in mix:
                for _ in range(1 + post.copies):
                    group.create_task(self._post(post))
                await asyncio.sleep(self.seconds / len(mix))
        if self.ground.vendor:
            await self._outage()
        async with asyncio.TaskGroup() as group:
            for post in self.posts[::6]:
                group.create_task(self._post(post))

    async def _outage(self) -> None:
        """The provider drops every connection until its breaker is open and others took the payments that may go there;
        then it comes back, and what waits for it finds that out."""
        faults = f"/sandbox/faults/{self.ground.vendor}"
        await _until(self._calm, CALM_S)
        try:
            await self.client.put(faults, json={"outage": True})
            self.outage.on = self.outage.seen = True
            await self._post_all("down")
            await _until(self._open, OPENS_S)
            await self._post_all("open")
            await _until(self._placed, PLACED_S)
        finally:
            await self.client.put(faults, json={})
            self.outage.on = False
        if self.outage.opened and await _until(self._closed, HEALS_S):
            self.outage.healed = True
        await self._post_all("back")

    async def _life(self, post: Post) -> None:
        """Post it, and ask for what follows, one after the other."""
        payment_id = await self._post(post)
        for n, wish in enumerate(post.wishes):
            if not payment_id or not await _until(lambda: self._ready(payment_id), WISH_S):
                return
            await self._ask(payment_id, f"{post.key}-{n + 1}", wish)

    async def _ask(self, payment_id: str, key: str, wish: Wish) -> None:
        """One operation, until it ended as it should."""
        p = await self._payment(payment_id)
        faults = f"/sandbox/faults/{self.ground.vendors[p.attempts[-1].account]}"
        if wish.faults:
            await self.client.put(faults, json=dict(wish.faults))
        try:
            body = {"amount": wish.amount} if wish.amount else {}
            path = f"/payments/{payment_id}/{wish.what}"
            answer = await self.client.post(path, json=body, headers={"Idempotency-Key": key})
            if answer.status_code != 202:
                raise RuntimeError(f"POST {path} answered {answer.status_code}: {answer.text[:300]}")
            number = len(p.operations)
            await _until(lambda: self._ended(payment_id, number, wish.ends), WISH_S)
        finally:
            if wish.faults:
                await self.client.put(faults, json={})

    async def _payment(self, payment_id: str) -> Payment:
        p = await self.app.store.get(payment_id)
        if p is None:
            raise RuntimeError(f"{payment_id} was accepted and is not there")
        return p

    async def _ready(self, payment_id: str) -> bool:
        """Nothing of it is under way, and it may be asked for something."""
        p = await self._payment(payment_id)
        return p.status in (*FINAL, "AUTHORIZED") and all(o.state != "PENDING" for o in p.operations[1:])

    async def _ended(self, payment_id: str, number: int, state: str) -> bool:
        return (await self._payment(payment_id)).operations[number].state == state

    async def _calm(self) -> bool:
        """What the mix sent there has ended, but for what takes long: the outage is to hit payments that begin in it, and
        they open the breaker."""
        quick = [name for name, post in self.by_id.items() if not post.slow]
        found = [p for name in quick if (p := await self.app.store.get(name))]
        return not any(p.status == "PENDING" and (not p.attempts or p.attempts[-1].account == self.ground.lead) for p in found)

    async def _open(self) -> bool:
        state = (await self.app.health.states()).get(self.ground.lead)
        if state is not None and state.breaker is not None:
            self.outage.opened = self.outage.opened or state.breaker.why
        return bool(self.outage.opened)

    async def _closed(self) -> bool:
        state = (await self.app.health.states()).get(self.ground.lead)
        return state is None or state.breaker is None

    async def _placed(self) -> bool:
        """Those that need not wait for the provider have gone to another one."""
        keys = {p.key for p in self._of("open") if "provider" not in p.body}
        found = [await self.app.store.get(name) for key in keys for name in self.ids.get(key, ())]
        return all(p is not None and p.attempts for p in found)

    def _of(self, part: Part) -> list[Post]:
        return [post for post in self.posts if post.part == part]

    async def _post_all(self, part: Part) -> None:
        async with asyncio.TaskGroup() as group:
            for post in self._of(part):
                for _ in range(1 + post.copies):
                    group.create_task(self._post(post))
                await asyncio.sleep(GAP_S)

    async def _post(self, post: Post) -> str:
        """Until it is accepted, always with the same key: that is all a client has to do. Its id; empty when no account
        takes it."""
        self.sent += 1
        for _ in range(TRIES_MAX):
            answer = await self.client.post("/payments", json=post.body, headers={"Idempotency-Key": post.key})
            if answer.status_code not in (429, 503):
                break
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
        if answer.status_code == 422 and answer.json().get("code") == "no_route":
            self.refused.add(post.key)
            return ""
        if answer.status_code != 202:
            raise RuntimeError(f"POST /payments answered {answer.status_code}: {answer.text[:300]}")
        payment_id = str(answer.json()["transactionId"])
        self.by_id[payment_id] = post
        self.ids.setdefault(post.key, set()).add(payment_id)
        self.replayed += answer.headers.get("idempotent-replayed") == "true"
        return payment_id


async def _until(holds: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Wait for it, at most so long; whether it came."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True
