"""GET of one payment, of lists and of histories."""

import pytest

from payonce.ports import Filters, Page, Scope
from payonce.stores.memory import MemoryStore

from .service import CARD, START_US, TEST, Service, account, problem_of, serving


def test_a_settled_payment_tells_who_took_it() -> None:
    """After the charge: SUCCESS, provider, reference, captured amount, route with its why, one attempt."""

    async def check(s: Service) -> None:
        id = (await s.accepted())["transactionId"]
        await s.engine.advance(id)
        body = (await s.get(f"/payments/{id}")).json()
        assert (body["status"], body["provider"], body["providerRef"]) == ("SUCCESS", "tiny", "ch_1")
        assert (body["attempts"], body["captured"], body["refunded"], body["reversed"]) == (1, 1050, 0, 0)
        assert body["route"] == [{"account": "tiny", "taken": True, "why": "takes INR, in the order of the configuration"}]
        assert body["lastError"] is None
        assert body["updatedAt"] > body["createdAt"]

    serving(check)


@pytest.mark.parametrize(
    ("token", "code", "hard"),
    [("tok_stolen", "stolen_card", True), ("tok_rejected", "rejected", None), ("tok_garbage", "unknown_outcome", None)],
)
def test_the_last_error_says_what_went_wrong(token: str, code: str, hard: bool | None) -> None:
    """A decline, a rejection and an unknown outcome are shown with code, words and time; card numbers in them are masked."""

    async def check(s: Service) -> None:
        id = (await s.accepted(paymentMethod=token))["transactionId"]
        await s.engine.advance(id)
        answer = await s.get(f"/payments/{id}")
        error = answer.json()["lastError"]
        assert (error["code"], error["hard"]) == (code, hard)
        assert error["message"]
        assert error["at"].endswith("Z")
        assert CARD not in answer.text

    serving(check)


def test_the_youngest_error_counts() -> None:
    """After two declines by two accounts the second is shown, with its account."""

    async def check(s: Service) -> None:
        id = (await s.accepted(paymentMethod="tok_busy_then_stolen"))["transactionId"]
        await s.engine.advance(id)
        body = (await s.get(f"/payments/{id}")).json()
        assert (body["status"], body["attempts"], body["provider"]) == ("FAILED", 2, "second")
        assert body["lastError"]["code"] == "stolen_card"

    serving(check, accounts=(account("first"), account("second")))


def test_a_hard_decline_ends_failed_with_its_reason() -> None:
    """FAILED carries the reason beside the last error."""

    async def check(s: Service) -> None:
        id = (await s.accepted(paymentMethod="tok_stolen"))["transactionId"]
        await s.engine.advance(id)
        body = (await s.get(f"/payments/{id}")).json()
        assert (body["status"], body["captured"]) == ("FAILED", 0)
        assert body["reason"]

    serving(check)


@pytest.mark.parametrize(
    "id", ["pay_00000000000000000000", "pay_x", "x", "PAY_00000000000000000000", "%00", "%FF", "pay_%F0%9F%92%A9"]
)
def test_an_unknown_id_is_not_found(id: str) -> None:
    """What is no payment is 404, whatever it looks like, for the payment and its history."""

    async def check(s: Service) -> None:
        for path in (f"/payments/{id}", f"/payments/{id}/history"):
            answer = await s.get(path)
            assert (answer.status_code, problem_of(answer)["code"]) == (404, "not_found")

    serving(check)


@pytest.mark.parametrize("scope", [Scope("mer_other", "test"), Scope("mer_default", "live")])
def test_another_scope_sees_nothing(scope: Scope) -> None:
    """Not yours looks exactly like not there: payment, history and list."""
    store = MemoryStore()
    made: list[str] = []

    async def create(s: Service) -> None:
        made.append((await s.accepted())["transactionId"])

    async def look(s: Service) -> None:
        for path in (f"/payments/{made[0]}", f"/payments/{made[0]}/history"):
            assert problem_of(await s.get(path))["code"] == "not_found"
        assert (await s.get("/payments")).json() == {"data": [], "nextCursor": None}

    serving(create, store=store)
    serving(look, store=store, scope=scope)


def test_paging_visits_every_payment_once_newest_first() -> None:
    """nextCursor continues after the last row, also when payments arrive in between; the last page has none."""

    async def check(s: Service) -> None:
        made = [(await s.accepted(f"k{n}"))["transactionId"] for n in range(7)]
        seen: list[str] = []
        query = {"limit": "3"}
        while True:
            page = (await s.get("/payments", **query)).json()
            seen += [p["transactionId"] for p in page["data"]]
            await s.accepted(f"later{len(seen)}")
            if page["nextCursor"] is None:
                break
            query = {"limit": "3", "cursor": page["nextCursor"]}
        assert seen == made[::-1]
        assert len((await s.get("/payments")).json()["data"]) == 10

    serving(check)


def test_the_details_of_a_page_come_in_one_call() -> None:
    """A page reads what lies beside the chain once, and shows erased details as absent."""

    class Counting(MemoryStore):
        calls = 0

        async def bodies(self, keys: object) -> dict[tuple[str, str], bytes]:
            self.calls += 1
            found = await super().bodies(keys)  # type: ignore[arg-type]
            return dict(list(found.items())[:-1])  # the oldest was erased

    store = Counting()

    async def check(s: Service) -> None:
        for n in range(5):
            await s.accepted(f"k{n}", description=f"d{n}")
        store.calls = 0
        data = (await s.get("/payments")).json()["data"]
        assert store.calls == 1
        assert [p["description"] for p in data] == ["d4", "d3", "d2", "d1", None]
        assert (data[-1]["paymentMethod"], data[-1]["metadata"]) == (None, {})

    serving(check, store=store)


def test_filters_are_exact_and_combined() -> None:
    """status, provider, currency, clientId, metadata, declineCode, created range and attention each narrow the list."""

    async def check(s: Service) -> None:
        first = await s.accepted("a", clientId="shop")
        second = await s.accepted("b", currency="EUR", clientId="shop")
        third = await s.accepted("c", currency="EUR", paymentMethod="tok_stolen", metadata={"order": "o-1", "n": 7})
        await s.engine.advance(first["transactionId"])
        await s.engine.advance(third["transactionId"])
        a, b, c = (p["transactionId"] for p in (first, second, third))
        code = (await s.get(f"/payments/{c}")).json()["lastError"]["code"]
        for query, found in (
            ({"status": "SUCCESS"}, [a]),
            ({"status": "FAILED"}, [c]),
            ({"provider": "tiny"}, [c, a]),
            ({"provider": "other"}, []),
            ({"currency": "eur"}, [c, b]),
            ({"clientId": "shop"}, [b, a]),
            ({"clientId": "shop", "currency": "EUR"}, [b]),
            ({"metadata": "o-1"}, [c]),
            ({"metadata": "7", "status": "FAILED"}, [c]),
            ({"metadata": "o-1", "status": "SUCCESS"}, []),
            ({"metadata": "o"}, []),
            ({"declineCode": code}, [c]),
            ({"declineCode": code, "currency": "INR"}, []),
            ({"idempotencyKey": "c", "metadata": "o-1", "declineCode": code}, [c]),
            ({"idempotencyKey": "c", "metadata": "o-2"}, []),
            ({"idempotencyKey": "a", "declineCode": code}, []),
            ({"createdFrom": second["createdAt"]}, [c, b]),
            ({"createdBefore": second["createdAt"]}, [a]),
            ({"createdFrom": first["createdAt"].replace("Z", "+00:00"), "createdBefore": third["createdAt"]}, [b, a]),
            ({"attention": "true"}, []),
            ({"attention": "false"}, [c, b, a]),
        ):
            page = (await s.get("/payments", **query)).json()
            assert [p["transactionId"] for p in page["data"]] == found, query

    serving(check)


def test_a_payment_is_found_by_its_key() -> None:
    """idempotencyKey, bare or quoted, gives the one payment of that key in this scope, if the other filters hold too."""

    async def check(s: Service) -> None:
        first = await s.accepted("a-1", clientId="shop")
        await s.accepted("a-2")
        for query, found in (
            ({"idempotencyKey": "a-1"}, 1),
            ({"idempotencyKey": '"a-1"'}, 1),
            ({"idempotencyKey": "A-1"}, 0),
            ({"idempotencyKey": "a"}, 0),
            ({"idempotencyKey": "a-1", "clientId": "shop", "currency": "inr", "status": "PENDING"}, 1),
            ({"idempotencyKey": "a-1", "clientId": "other"}, 0),
            ({"idempotencyKey": "a-1", "currency": "EUR"}, 0),
            ({"idempotencyKey": "a-1", "status": "SUCCESS"}, 0),
            ({"idempotencyKey": "a-1", "provider": "tiny"}, 0),
            ({"idempotencyKey": "a-1", "attention": "true"}, 0),
            ({"idempotencyKey": "a-1", "createdFrom": first["createdAt"]}, 1),
            ({"idempotencyKey": "a-1", "createdBefore": first["createdAt"]}, 0),
        ):
            page = (await s.get("/payments", **query)).json()
            expected = [first] if found else []
            assert page == {"data": expected, "nextCursor": None}, query

    serving(check)


def test_a_key_of_another_scope_is_not_found() -> None:
    """Keys of another mode look like keys that nobody used."""
    rows = MemoryStore()

    async def put(s: Service) -> None:
        await s.accepted("mine")

    async def look(s: Service) -> None:
        assert (await s.get("/payments", idempotencyKey="mine")).json()["data"] == []

    serving(put, store=rows)
    serving(look, store=rows, scope=Scope("mer_other", "test"))


def test_attention_lists_what_needs_eyes() -> None:
    """attention=true asks the store for payments that need eyes."""
    asked: list[Filters] = []

    class Asked(MemoryStore):
        async def list(self, scope: Scope, filters: Filters, limit: int, cursor: str | None = None) -> Page:
            asked.append(filters)
            assert scope == TEST
            return await super().list(scope, filters, limit, cursor)

    async def check(s: Service) -> None:
        await s.get("/payments", attention="true", createdFrom="2026-11-18T00:00:00.5+05:30")
        assert asked[0].attention is True
        assert asked[0].created_from_us == START_US // 86_400_000_000 * 86_400_000_000 - 19_800_000_000 + 500_000

    serving(check, store=Asked())


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=SUCCESS", "state"),
        ("status=success", "status"),
        ("status=", "status"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=1&limit=2", "limit"),
        ("currency=XXX", "currency"),
        ("currency=%E2%82%B9", "currency"),
        ("clientId=", "clientId"),
        ("clientId=%00", "clientId"),
        ("metadata=", "metadata"),
        ("declineCode=%0A", "declineCode"),
        ("clientId=" + "x" * 256, "clientId"),
        ("createdFrom=yesterday", "createdFrom"),
        ("createdFrom=2026-11-18", "createdFrom"),
        ("createdFrom=2026-11-18T00:00:00", "createdFrom"),
        ("createdFrom=2026-11-18T00:00:00+05:30", "createdFrom"),
        ("createdBefore=2026-02-30T00:00:00Z", "createdBefore"),
        ("createdBefore=1795000000", "createdBefore"),
        ("attention=yes", "attention"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=" + "A" * 200, "cursor"),
        ("cursor=%E2%82%B9", "cursor"),
        ("idempotencyKey=", "idempotencyKey"),
        ("idempotencyKey=a%20b", "idempotencyKey"),
        ("idempotencyKey=" + "k" * 256, "idempotencyKey"),
        ("idempotencyKey=a&cursor=b", "cursor"),
        ("clientId=%FF", "query"),
        ("&".join(f"a{n}=1" for n in range(100)), "query"),
    ],
)
def test_a_bad_query_is_named(query: str, field: str) -> None:
    """Unknown, repeated and malformed query parameters are 422 naming the parameter, in the words of a read."""

    async def check(s: Service) -> None:
        answer = await s.client.get(f"/payments?{query}")
        body = problem_of(answer)
        assert (answer.status_code, body["code"]) == (422, "validation_failed")
        assert [e["field"] for e in body["errors"]] == [field]
        assert (body["money"], body["next"]) == ("Nothing was changed.", "Correct the named parameters.")

    serving(check)


def test_one_payment_takes_no_query() -> None:
    """A parameter that would be ignored is refused instead."""

    async def check(s: Service) -> None:
        id = (await s.accepted())["transactionId"]
        for path in (f"/payments/{id}?expand=x", f"/payments/{id}/history?expand=x"):
            answer = await s.client.get(path)
            assert (answer.status_code, problem_of(answer)["errors"][0]["field"]) == (422, "expand")

    serving(check)


def test_the_history_is_complete_chained_and_paged() -> None:
    """Every event in order with id, actor, request id, hash and the hash before; nextAfter continues."""

    async def check(s: Service) -> None:
        answer = await s.post(headers={"request-id": "checkout-42"})
        id = answer.json()["transactionId"]
        await s.engine.advance(id)
        path = f"/payments/{id}/history"
        whole = (await s.get(path)).json()
        events = whole["data"]
        assert whole["nextAfter"] is None
        assert [e["kind"] for e in events] == ["Accepted", "Planned", "Observed"]
        assert [e["seq"] for e in events] == [1, 2, 3]
        assert [e["prev"] for e in events] == ["", events[0]["hash"], events[1]["hash"]]
        assert (events[0]["actor"], events[0]["requestId"], events[1]["actor"]) == ("api", "checkout-42", "worker")
        assert events[0]["id"] == f"evt_{id[4:]}000001"
        assert events[0]["data"]["amount_minor"] == 1050
        first = (await s.get(path, limit="2")).json()
        assert (len(first["data"]), first["nextAfter"]) == (2, 2)
        rest = (await s.get(path, after="2", limit="1")).json()
        assert (rest["data"], rest["nextAfter"]) == (events[2:], None)
        for query in ({"after": "-1"}, {"after": "x"}, {"limit": "0"}, {"limit": "1001"}, {"after": "9" * 30}):
            assert problem_of(await s.get(path, **query))["code"] == "validation_failed"

    serving(check)


def test_the_history_shows_no_card_number_and_no_secret() -> None:
    """What a provider wrote is masked before it is stored, and so on its way out."""

    async def check(s: Service) -> None:
        id = (await s.accepted(paymentMethod="tok_rejected"))["transactionId"]
        await s.engine.advance(id)
        stored = b"".join(e.raw for e in await s.store.history(id))
        assert CARD.encode() not in stored
        answer = await s.get(f"/payments/{id}/history")
        assert CARD not in answer.text
        assert "[redacted]" in answer.text

    serving(check)


def test_a_named_provider_is_used() -> None:
    """provider in the request restricts the route to that account."""

    async def check(s: Service) -> None:
        id = (await s.accepted(provider="second"))["transactionId"]
        await s.engine.advance(id)
        body = (await s.get(f"/payments/{id}")).json()
        assert body["provider"] == "second"
        assert [(e["account"], e["taken"]) for e in body["route"]] == [("second", True), ("first", False)]

    serving(check, accounts=(account("first"), account("second")))
