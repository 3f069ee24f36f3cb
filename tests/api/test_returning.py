"""A customer has to act: where to, until when, and the way back."""

import asyncio
from datetime import datetime

import httpx2
import pytest

from payonce.adapter import NextAction
from payonce.api.returning import READS_MAX, on_to
from payonce.core.errors import StoreUnavailable
from payonce.core.idempotency import Details
from payonce.ports import Change, Committed, Conflict, Unclear
from payonce.shown.views import payment_body
from payonce.stores.memory import MemoryStore

from .service import CARD, GOOD, JsonObject, Service, problem_of, serving

SHOP = "https://shop.invalid/paid?order=7#top"
ACTS = {"paymentMethod": "tok_action", "returnUrl": SHOP}
BACK = "https://pay.invalid/return/"


def reference(id: str) -> str:
    return f"{id[4:]}0100"


async def waiting(s: Service, **fields: object) -> JsonObject:
    """A payment that waits for its customer."""
    id = await s.settled("key-1", **{**ACTS, **fields})
    body: JsonObject = (await s.get(f"/payments/{id}")).json()
    assert body["status"] == "REQUIRES_ACTION"
    return body


def seconds(body: JsonObject) -> float:
    """From the acceptance to the end of the customer's time."""
    times = [datetime.fromisoformat(body[name]) for name in ("actionExpiresAt", "createdAt")]
    return (times[0] - times[1]).total_seconds()


def test_the_payment_says_where_the_customer_goes_and_until_when() -> None:
    """nextAction and actionExpiresAt stand in the payment and in repeats of its POST; a list has the time, not the address."""

    async def check(s: Service) -> None:
        p = await waiting(s)
        until = p["actionExpiresAt"]
        assert p["nextAction"] == {
            "type": "redirect",
            "url": f"https://bank.invalid/{reference(p['transactionId'])}",
            "method": "GET",
            "fields": {},
            "expiresAt": until,
        }
        assert seconds(p) == pytest.approx(1800, abs=1)
        assert (await s.post({**GOOD, **ACTS})).json() == p
        listed = (await s.get("/payments")).json()["data"][0]
        assert (listed["nextAction"], listed["actionExpiresAt"]) == (None, until)
        history = (await s.get(f"/payments/{p['transactionId']}/history")).text
        assert "bank.invalid" not in history

    serving(check)


@pytest.mark.parametrize(
    ("todo", "shown"),
    [
        (NextAction(type="redirect", url="https://b.invalid/3ds"), ("redirect", "https://b.invalid/3ds", "GET", {})),
        (
            NextAction(type="redirect", url="https://b.invalid/", method="POST", fields={"PaReq": "a", "MD": ""}),
            ("redirect", "https://b.invalid/", "POST", {"PaReq": "a", "MD": ""}),
        ),
        (NextAction(type="upi_intent", url="upi://pay?pa=x@y"), ("upi_intent", "upi://pay?pa=x@y", "GET", {})),
        (NextAction(type="upi_collect"), ("upi_collect", None, "GET", {})),
    ],
)
def test_every_kind_of_action_is_shown(todo: NextAction, shown: tuple[object, ...]) -> None:
    """Redirects with and without a form, UPI links, and requests that are in the app already; nobody may know until when."""

    async def check(s: Service) -> None:
        p = await s.store.get((await waiting(s))["transactionId"])
        assert p is not None
        for until_us in (0, 1_795_000_000_000_000):
            body = payment_body(p, Details(), (todo, until_us))
            view = body.next_action
            assert view is not None
            assert (view.type, view.url, view.method, view.fields) == shown
            assert view.expires_at == body.action_expires_at == ("2026-11-18T11:06:40.000000Z" if until_us else None)
        assert (payment_body(p, Details()).next_action, payment_body(p, Details()).action_expires_at is None) == (None, False)

    serving(check)


def test_after_a_void_nobody_is_sent_to_the_provider() -> None:
    """While a void is under way the payment shows no next action, in its own answer too; the time stays, as the customer may
    still act."""

    async def check(s: Service) -> None:
        p = await waiting(s)
        answer = (await s.ask(p["transactionId"], "void", "v-1")).json()
        assert (answer["status"], answer["payment"]["status"]) == ("PENDING", "REQUIRES_ACTION")
        assert (answer["payment"]["nextAction"], answer["payment"]["actionExpiresAt"]) == (None, p["actionExpiresAt"])

    serving(check)


@pytest.mark.parametrize(("asked", "given"), [(60, 60), (86_400, 86_400), (None, 1800)])
def test_the_customer_has_the_time_that_was_asked_for(asked: int | None, given: int) -> None:
    """actionExpiresIn counts from the attempt; null is the default."""

    async def check(s: Service) -> None:
        assert seconds(await waiting(s, actionExpiresIn=asked)) == pytest.approx(given, abs=1)

    serving(check)


@pytest.mark.parametrize("bad", [0, 59, 86_401, -1, 60.5, "60", True, [], 10**30])
def test_other_times_are_refused(bad: object) -> None:
    """Whole seconds from 60 to 86400 only."""

    async def check(s: Service) -> None:
        answer = await s.post({**GOOD, "actionExpiresIn": bad})
        assert (answer.status_code, problem_of(answer)["errors"][0]["field"]) == (422, "actionExpiresIn")

    serving(check)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "shop.invalid/paid",
        "//shop.invalid",
        "javascript:alert(1)",
        "ftp://shop.invalid",
        "https://",
        "https://user@shop.invalid/",
        "https://user:pw@shop.invalid/",
        "https://shop.invalid\\@evil.invalid/",
        "https://shop.invalid/a b",
        "https://shop.invalid/\r\nset-cookie: a=b",
        "https://shop.invalid/ü",
        "https://shop.invalid/" + "a" * 500,
        7,
        [SHOP],
    ],
)
def test_other_return_addresses_are_refused(bad: object) -> None:
    """What is no plain http or https address is refused and not repeated."""

    async def check(s: Service) -> None:
        answer = await s.post({**GOOD, "returnUrl": bad})
        assert (answer.status_code, problem_of(answer)["errors"][0]["field"]) == (422, "returnUrl")
        assert "evil" not in answer.text

    serving(check)


def test_after_the_time_is_over_nothing_can_be_done() -> None:
    """The address is shown only while it can be used."""

    async def check(s: Service) -> None:
        p = await waiting(s, actionExpiresIn=60)
        await s.engine.clock.sleep(61)
        late = (await s.get(f"/payments/{p['transactionId']}")).json()
        assert (late["nextAction"], late["actionExpiresAt"]) == (None, p["actionExpiresAt"])

    serving(check)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_customer_goes_on_to_the_shop_and_the_payment_is_read(method: str) -> None:
    """303 to the stored address with the id in its query; nothing that came along goes on; a read is due now."""

    async def check(s: Service) -> None:
        p = await waiting(s)
        id = p["transactionId"]
        answer = await s.client.request(
            method,
            f"/return/{reference(id)}?returnUrl=https://evil.invalid&status=paid&transactionId=pay_x",
            content=b"url=https://evil.invalid" if method == "POST" else None,
            headers={"content-type": "application/x-www-form-urlencoded", "referer": "https://evil.invalid/"},
        )
        assert answer.status_code == 303
        assert answer.headers["location"] == f"https://shop.invalid/paid?order=7&transactionId={id}#top"
        assert "evil" not in answer.text + str(answer.headers)
        assert answer.headers["cache-control"] == "no-store"
        last = (await s.get(f"/payments/{id}/history")).json()["data"][-1]
        assert (last["kind"], last["actor"]) == ("Hinted", "return")
        now = await s.store.get(id)
        assert now is not None
        assert (await s.engine.next(now)).at_us <= s.engine.clock.now_us()  # type: ignore[operator]
        assert (await s.get(f"/payments/{id}")).json()["status"] == "REQUIRES_ACTION", "coming back proves nothing"

    serving(check)


def test_without_a_return_address_there_is_a_page() -> None:
    """The customer is told that the window can be closed."""

    async def check(s: Service) -> None:
        p = await waiting(s, returnUrl=None)
        answer = await s.get(f"/return/{reference(p['transactionId'])}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "close this window" in answer.text

    serving(check)


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "0" * 24,
        "0" * 20 + "0100",
        "a" * 300,
        "%2e%2e",
        "pay_00000000000000000000",
        CARD,
        "\u0661" * 24,
        "0" * 20 + "\u0661" * 4,
    ],
)
def test_an_unknown_reference_leads_nowhere(name: str) -> None:
    """404, and nothing else."""

    async def check(s: Service) -> None:
        await waiting(s)
        answer = await s.get(f"/return/{name}")
        assert (answer.status_code, problem_of(answer)["code"]) == (404, "not_found")
        assert CARD not in answer.text

    serving(check)


def test_a_reference_that_no_attempt_has_leads_nowhere() -> None:
    """A name that could be one of the payment's, before or without such an attempt, is not known."""

    async def check(s: Service) -> None:
        id = (await s.accepted("k-2", **ACTS))["transactionId"]
        for name in (reference(id), f"{id[4:]}0101", f"{id[4:]}0200"):
            assert (await s.get(f"/return/{name}")).status_code == 404

    serving(check)


def test_coming_back_again_and_again_writes_a_hint_once() -> None:
    """While the read is still to come another hint says nothing new; HEAD asks for nothing."""

    async def check(s: Service) -> None:
        p = await waiting(s)
        path = f"/return/{reference(p['transactionId'])}"
        head = await s.client.head(path)
        assert (head.status_code, head.content) == (303, b"")
        history = (await s.get(f"/payments/{p['transactionId']}/history")).json()["data"]
        assert "Hinted" not in [e["kind"] for e in history]
        await asyncio.gather(*(s.get(path) for _ in range(10)))
        history = (await s.get(f"/payments/{p['transactionId']}/history")).json()["data"]
        assert [e["kind"] for e in history].count("Hinted") == 1

    serving(check)


def test_reads_for_customers_end() -> None:
    """Whoever calls the address without end causes a limited number of reads; the customer still goes on."""

    async def check(s: Service) -> None:
        p = await waiting(s, actionExpiresIn=86_400)
        id = p["transactionId"]
        for _ in range(READS_MAX + 20):
            assert (await s.get(f"/return/{reference(id)}")).status_code == 303
            await s.engine.advance(id)
        now = await s.store.get(id)
        assert now is not None
        assert READS_MAX <= sum(step.kind == "read" for step in now.steps()) <= READS_MAX + 5

    serving(check)


def test_a_payment_that_has_ended_is_not_read_again() -> None:
    """The customer who comes back later goes on to the shop; nothing is written."""

    async def check(s: Service) -> None:
        id = await s.settled(returnUrl=SHOP)
        before = await s.store.get(id)
        assert (await s.get(f"/return/{reference(id)}")).status_code == 303
        assert await s.store.get(id) == before

    serving(check)


def test_a_store_that_takes_no_write_does_not_keep_the_customer() -> None:
    """The hint is lost, which costs time only; the customer goes on."""

    class Full(MemoryStore):
        full = False

        async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
            if self.full:
                raise StoreUnavailable("the disk is full")
            return await super().commit(change, expected_version)

    store = Full()

    async def check(s: Service) -> None:
        p = await waiting(s)
        store.full = True
        answer = await s.get(f"/return/{reference(p['transactionId'])}")
        assert answer.status_code == 303

    serving(check, store=store)


def test_the_provider_is_told_to_send_the_customer_here() -> None:
    """With a public URL the provider gets ours, derived from the reference; without a returnUrl it gets none."""

    async def check(s: Service) -> None:
        for fields, sent in ((ACTS, True), ({"paymentMethod": "tok_action"}, False)):
            id = await s.settled(f"k-{sent}", **fields)
            p = await s.store.get(id)
            assert p is not None
            request = p.steps()[0].request
            assert request is not None
            body = (await s.store.bodies([(id, request.body_sha256)]))[(id, request.body_sha256)]
            assert ((BACK + reference(id)).encode() in body) is sent
            assert b"shop.invalid" not in body

    serving(check, return_to=BACK)


@pytest.mark.parametrize(
    ("url", "query"),
    [
        ("https://s.invalid", "?transactionId=pay_1"),
        ("https://s.invalid/", "/?transactionId=pay_1"),
        ("https://s.invalid/a?", "/a?transactionId=pay_1"),
        ("https://s.invalid/a?b=c&", "/a?b=c&transactionId=pay_1"),
        ("https://s.invalid/a?b=%20&c", "/a?b=%20&c&transactionId=pay_1"),
        ("https://s.invalid/#a?b", "/?transactionId=pay_1#a?b"),
        ("https://s.invalid?x=1#", "?x=1&transactionId=pay_1#"),
    ],
)
def test_what_stands_in_the_address_is_kept(url: str, query: str) -> None:
    """The id joins the query, before a fragment."""
    assert on_to(url, "pay_1") == "https://s.invalid" + query
    assert httpx2.URL(on_to(url, "pay_1")).params["transactionId"] == "pay_1"
