"""What the demo posts: every kind of luck a payment can have, with duplicate posts and an outage in the middle."""

import asyncio
import secrets
from typing import Any, Final

import httpx2
from msgspec import Struct

OUTAGE_AT: Final = 0.5  # of the way through the posts
OUTAGE_S: Final = 3.0
TRIES_MAX: Final = 50
LATE: Final = "tok_late_success"
CURRENCIES: Final = ("INR", "USD", "EUR", "JPY", "KWD", "GBP", "BRL")


class Post(Struct, frozen=True, kw_only=True):
    """One payment to post. ``copies``: how many more times the same request is sent, all at once."""

    key: str
    body: dict[str, Any]
    copies: int = 0
    late: bool = False  # declined first, taken later: it has to be given back
    endless: bool = False  # the provider never says how it ended

    @property
    def token(self) -> str:
        return str(self.body.get("paymentMethod", "forceFail"))


class Outage:
    """The provider's outage as the demo switched it."""

    def __init__(self) -> None:
        self.on = False
        self.seen = False


# token -> how many of them, in the order in which they first appear
MIX: Final[dict[str, int]] = {
    LATE: 1,
    "tok_timeout_then_ok": 2,
    "tok_ok": 14,
    "tok_lost_response": 4,
    "tok_decline_insufficient_funds": 2,
    "tok_decline_then_ok": 4,
    "tok_500_then_ok": 2,
    "tok_500_after_charge": 2,
    "tok_garbage_response": 2,
    "tok_rate_limited": 1,
    "tok_decline_stolen_card": 2,
    "tok_slow_5s": 1,
    "tok_wrong_amount": 1,
}


def script(*, endless: bool) -> list[Post]:
    """The payments in the order in which they are posted; the slow ones come first, every fifth is sent again at once.
    ``endless`` adds one whose end the provider never tells."""
    run = f"order-{secrets.token_hex(3)}"  # a kept data folder knows the keys of earlier runs
    left, tokens = dict(MIX), []
    while left:  # deal them out evenly
        for token in list(left):
            tokens.append(token)
            left[token] -= 1
            if not left[token]:
                del left[token]
    posts = []
    for n, token in enumerate(tokens):
        currency = CURRENCIES[n % len(CURRENCIES)]
        body = {"amount": 500 + 137 * n, "currency": currency, "paymentMethod": token, "clientId": f"shop-{n % 3 + 1}"}
        posts.append(Post(key=f"{run}-{n + 1:03}", body=body, copies=2 if n % 5 == 2 else 0, late=token == LATE))
    forced = {"amount": 4200, "currency": "INR", "metadata": {"forceFail": True}}
    posts.append(Post(key=f"{run}-forced", body=forced))
    if endless:
        body = {"amount": 9900, "currency": "EUR", "paymentMethod": "tok_never_resolves"}
        posts.append(Post(key=f"{run}-endless", body=body, endless=True))
    return posts


class Traffic:
    """Posts the script over HTTP, like a shop that retries."""

    def __init__(self, client: httpx2.AsyncClient, posts: list[Post], outage: Outage, seconds: float) -> None:
        self.client, self.posts, self.outage, self.seconds = client, posts, outage, seconds
        self.by_id: dict[str, Post] = {}
        self.ids: dict[str, set[str]] = {}  # key -> every id it was answered with; more than one would be a bug
        self.replayed = 0
        self.sent = 0
        self._second_posts: list[Post] = []

    async def run(self) -> None:
        """Post everything, evenly over ``seconds``, then the duplicates that come late."""
        pause = self.seconds / len(self.posts)
        async with asyncio.TaskGroup() as group:
            for n, post in enumerate(self.posts):
                if n == int(len(self.posts) * OUTAGE_AT):
                    group.create_task(self._outage())
                for _ in range(1 + post.copies):
                    group.create_task(self._post(post))
                await asyncio.sleep(pause)
        async with asyncio.TaskGroup() as group:
            for post in self.posts[::6]:
                group.create_task(self._post(post))

    async def _post(self, post: Post) -> None:
        """Until it is accepted, always with the same key: that is all a client has to do."""
        self.sent += 1
        for _ in range(TRIES_MAX):
            answer = await self.client.post("/payments", json=post.body, headers={"Idempotency-Key": post.key})
            if answer.status_code != 503:
                break
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
        if answer.status_code != 202:
            raise RuntimeError(f"POST /payments answered {answer.status_code}: {answer.text[:300]}")
        payment_id = answer.json()["transactionId"]
        self.by_id[payment_id] = post
        self.ids.setdefault(post.key, set()).add(payment_id)
        self.replayed += answer.headers.get("idempotent-replayed") == "true"

    async def _outage(self) -> None:
        """The provider drops every connection for a while."""
        try:
            await self.client.put("/sandbox/faults", json={"outage": True})
            self.outage.on = self.outage.seen = True
            await asyncio.sleep(OUTAGE_S)
        finally:
            await self.client.put("/sandbox/faults", json={})
            self.outage.on = False
