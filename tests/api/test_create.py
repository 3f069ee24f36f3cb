"""POST /payments: what is accepted, repeated, and never done twice."""

import asyncio
import json

import apsw
import pytest

from payonce.api import problems
from payonce.core.errors import StoreUnavailable
from payonce.ports import Change, Committed, Conflict, Page, Unclear
from payonce.stores.memory import MemoryStore
from payonce.stores.sqlite import trouble
from payonce.stores.sqlite.trouble import CLOSED, unavailable

from .service import CARD, GOOD, HidingStore, Service, UnclearStore, account, problem_of, serving


def test_a_new_key_is_accepted_with_location_and_the_payment() -> None:
    """A good request is answered 202 with Location, no-store and the payment as PENDING."""

    async def check(s: Service) -> None:
        answer = await s.post({**GOOD, "clientId": "shop", "metadata": {"a": 1, "b": None}, "description": "d"})
        body = answer.json()
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/payments/{body['transactionId']}"
        assert answer.headers["cache-control"] == "no-store"
        assert "idempotent-replayed" not in answer.headers
        assert body["status"] == "PENDING"
        assert (body["amount"], body["currency"], body["attempts"], body["mode"]) == (1050, "INR", 0, "test")
        assert (body["provider"], body["providerRef"], body["lastError"], body["reason"]) == (None, None, None, None)
        assert body["idempotencyKey"] == "key-1"
        assert body["metadata"] == {"a": 1, "b": None}
        assert body["createdAt"].endswith("Z")
        assert len(body["createdAt"]) == len("2026-11-18T09:30:00.123456Z")
        assert (await s.get(answer.headers["location"])).json() == body

    serving(check)


def test_a_repeat_answers_with_the_current_status() -> None:
    """The same key and request again: 202, same id, Idempotent-Replayed, and the status as it is now."""

    async def check(s: Service) -> None:
        first = await s.accepted()
        await s.engine.advance(first["transactionId"])
        again = await s.post({"paymentMethod": "tok_ok", "metadata": {}, "currency": "inr", "amount": 1050, "clientId": None})
        assert again.status_code == 202
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == f"/payments/{first['transactionId']}"
        assert (again.json()["transactionId"], again.json()["status"]) == (first["transactionId"], "SUCCESS")
        assert await s.count() == 1

    serving(check)


def test_the_same_key_fifty_times_at_once_is_one_payment() -> None:
    """Of fifty concurrent identical requests one creates and the others replay it."""

    async def check(s: Service) -> None:
        answers = await asyncio.gather(*(s.post() for _ in range(50)))
        assert {a.status_code for a in answers} == {202}
        assert len({a.json()["transactionId"] for a in answers}) == 1
        assert sum("idempotent-replayed" not in a.headers for a in answers) == 1
        assert await s.count() == 1

    serving(check)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"amount": 1051}, {"amount"}),
        ({"currency": "EUR"}, {"currency"}),
        ({"paymentMethod": "tok_other"}, {"paymentMethod"}),
        ({"description": "secret words"}, {"description"}),
        ({"metadata": {"x": "secret words"}}, {"metadata"}),
        ({"clientId": "secret words", "amount": 7}, {"clientId", "amount"}),
    ],
)
def test_the_same_key_for_another_request_has_no_effect(change: dict[str, object], fields: set[str]) -> None:
    """Another request under a known key: 422 naming fields, never values; nothing changes."""

    async def check(s: Service) -> None:
        first = await s.accepted()
        answer = await s.post({**GOOD, **change})
        body = problem_of(answer)
        assert (answer.status_code, body["code"]) == (422, "idempotency_key_reused")
        assert {e["field"] for e in body["errors"]} == fields
        assert "secret words" not in answer.text
        assert "1051" not in answer.text
        assert await s.count() == 1
        assert (await s.get(f"/payments/{first['transactionId']}")).json() == first

    serving(check)


@pytest.mark.parametrize("field", ["header", "quoted", "body", "both"])
def test_the_key_comes_in_header_or_body(field: str) -> None:
    """A key in the header, quoted or not, in the body, or equal in both is the same key."""
    sent = {
        "header": ("order-7", None),
        "quoted": ('"order-7"', None),
        "body": (None, "order-7"),
        "both": ("order-7", "order-7"),
    }
    header, inside = sent[field]

    async def check(s: Service) -> None:
        first = await s.accepted(key="order-7")
        answer = await s.post({**GOOD, **({"idempotencyKey": inside} if inside else {})}, key=header)
        assert answer.json()["transactionId"] == first["transactionId"]
        assert answer.json()["idempotencyKey"] == "order-7"

    serving(check)


@pytest.mark.parametrize("done", [True, False])
def test_an_unclear_commit_is_asked_about_before_it_is_answered(done: bool) -> None:
    """A lost commit answer is 202 when the write is found and 503 when it is not; a repeat makes one payment either way."""

    async def check(s: Service) -> None:
        answer = await s.post()
        if done:
            assert answer.status_code == 202
        else:
            assert (answer.status_code, problem_of(answer)["code"]) == (503, "retry_same_key")
            assert answer.headers["retry-after"] == "1"
        again = await s.post()
        assert again.status_code == 202
        assert ("idempotent-replayed" in again.headers) == done
        assert await s.count() == 1

    serving(check, store=UnclearStore(done=done))


def test_a_store_that_cannot_write_says_retry_the_same_key() -> None:
    """StoreUnavailable is a 503 with Retry-After that says nothing was written; reads are 503 not_ready."""

    async def check(s: Service) -> None:
        await s.store.close()
        answer = await s.post()
        body = problem_of(answer)
        assert (answer.status_code, body["code"], answer.headers["retry-after"]) == (503, "retry_same_key", "1")
        assert "may be used again" in body["detail"]
        read = await s.get("/payments")
        assert (read.status_code, problem_of(read)["code"], read.headers["retry-after"]) == (503, "not_ready", "1")

    serving(check)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (unavailable(apsw.FullError("database or disk is full")), "its disk is full"),
        (unavailable(apsw.BusyError("database is locked")), "it is busy"),
        (unavailable(apsw.ReadOnlyError("attempt to write a readonly database")), "it is read-only"),
        (unavailable(apsw.IOError("disk I/O error")), "its disk reported an error"),
        (StoreUnavailable(CLOSED), "it is closing"),
        (StoreUnavailable("/var/lib/pay.db was moved, replaced or deleted while in use."), "its file was moved or replaced"),
        (StoreUnavailable("/var/lib/pay.db: something else"), "it does not answer"),
    ],
)
def test_a_refused_write_names_its_cause_and_no_path(error: StoreUnavailable, cause: str) -> None:
    """The detail says why the store took nothing, for writes and reads, and nothing of the machine."""

    class Failing(MemoryStore):
        async def commit(self, *_: object) -> Committed | Conflict | Unclear:
            raise error

        async def list(self, *_: object) -> Page:
            raise error

    async def check(s: Service) -> None:
        answer = await s.post()
        assert cause in problem_of(answer)["detail"]
        assert "not known" in problem_of(answer)["title"]
        assert "refused" in problem_of(answer)["title"]
        read = await s.get("/payments")
        assert cause in problem_of(read)["detail"]
        assert "/var" not in answer.text + read.text

    serving(check, store=Failing())


@pytest.mark.parametrize("kind", [kind for kind, _, _ in trouble._MEANINGS])
def test_every_trouble_of_a_file_has_a_cause(kind: type[apsw.Error]) -> None:
    """No text of the SQLite store falls through to the general words."""
    assert problems._cause(unavailable(kind("x"))) != "it does not answer"


def test_a_full_store_keeps_the_key_usable() -> None:
    """After a write that could not be done the same key works once the store does."""

    class Full(MemoryStore):
        full = True

        async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
            if self.full:
                raise StoreUnavailable("disk full")
            return await super().commit(change, expected_version)

    store = Full()

    async def check(s: Service) -> None:
        assert (await s.post()).status_code == 503
        store.full = False
        answer = await s.post()
        assert answer.status_code == 202
        assert "idempotent-replayed" not in answer.headers

    serving(check, store=store)


def test_a_payment_that_is_not_visible_yet_is_in_progress() -> None:
    """A key whose payment cannot be seen yet is a 409 with Retry-After."""

    async def check(s: Service) -> None:
        await s.accepted()
        answer = await s.post()
        assert (answer.status_code, problem_of(answer)["code"]) == (409, "request_in_progress")
        assert answer.headers["retry-after"] == "1"

    serving(check, store=HidingStore())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**GOOD, "provider": "nobody-knows-it"}, "no_route"),
        ({**GOOD, "provider": ""}, "validation_failed"),
        ({**GOOD, "currency": "JPY"}, "no_route"),
        ({**GOOD, "captureMethod": "manual"}, "capture_method_unsupported"),
    ],
)
def test_what_no_account_offers_is_refused(body: dict[str, object], code: str) -> None:
    """No account for it, or a capture method not offered: 422, nothing saved, the caller's text not repeated."""

    async def check(s: Service) -> None:
        answer = await s.post(body)
        assert (answer.status_code, problem_of(answer)["code"]) == (422, code)
        assert "nobody-knows-it" not in answer.text
        assert ("Accounts: " in answer.text) is (body.get("provider") == "nobody-knows-it")
        assert body.get("currency") != "JPY" or "does not take JPY" in answer.text
        assert await s.count() == 0
        assert (await s.post()).status_code == 202

    serving(check, accounts=(account(currencies=frozenset({"INR"}), steps=frozenset({"fire", "read"})),))


def test_sandbox_tokens_are_refused_in_live_mode() -> None:
    """tok_* in live mode is 422 test_token_refused; another token is accepted and shown by its last four only."""
    from payonce.ports import Scope

    async def check(s: Service) -> None:
        assert problem_of(await s.post())["code"] == "test_token_refused"
        body = await s.accepted(paymentMethod={"type": "card", "token": "pm_abcdefgh1234"})
        assert body["paymentMethod"] == {"type": "card", "token": "****1234"}
        short = await s.accepted(key="k2", paymentMethod="pm_12345")
        assert short["paymentMethod"] == {"type": None, "token": "****"}

    serving(check, scope=Scope("mer_default", "live"), accounts=(account(mode="live"),))


def test_a_card_number_reaches_neither_answer_nor_store() -> None:
    """A card number anywhere in a request is refused, not repeated and not stored."""
    places: list[tuple[dict[str, object], dict[str, str]]] = [
        ({"description": f"card {CARD}"}, {}),
        ({"description": "4242 4242 4242 4242"}, {}),
        ({"metadata": {"pan": CARD}}, {}),
        ({"metadata": {"pan": int(CARD)}}, {}),
        ({"metadata": {"pan": float(CARD)}}, {}),
        ({"metadata": {CARD: "x"}}, {}),
        ({"paymentMethod": CARD}, {}),
        ({"paymentMethod": {"type": "card", "token": "4242-4242-4242-4242"}}, {}),
        ({"clientId": CARD}, {}),
        ({"unknown": {"deep": [CARD]}}, {}),
        ({CARD: 1}, {}),
        ({"idempotencyKey": CARD}, {}),
        ({}, {"idempotency-key": f"order-{CARD}"}),
    ]

    async def check(s: Service) -> None:
        for fields, headers in places:
            key = None if "idempotencyKey" in fields else "key-1"
            answer = await s.post({**GOOD, **fields}, key=key, headers=headers)
            assert (answer.status_code, problem_of(answer)["code"]) == (422, "card_number_refused"), fields
            assert CARD not in answer.text.replace(" ", "").replace("-", "")
        named = await s.post(headers={"request-id": CARD})
        assert named.status_code == 202
        assert CARD not in named.headers["request-id"]
        assert await s.count() == 1
        path = await s.get(f"/payments/{CARD}")
        assert path.status_code == 404
        assert CARD not in path.text
        query = await s.get("/payments", clientId=CARD)
        assert (query.status_code, problem_of(query)["code"]) == (422, "card_number_refused")
        assert CARD not in query.text

    serving(check)


def test_unicode_survives_the_round_trip() -> None:
    """Texts in any script come back as they were sent, in POST and GET."""
    fields = {
        "description": "Zürich ₹ 支払い 👩‍👩‍👧 \n\ttabbed",
        "metadata": {"naïve": "Ω", "n": 2**63 - 1, "f": 0.1, "b": False},
    }

    async def check(s: Service) -> None:
        body = await s.accepted(**fields)
        read = (await s.get(f"/payments/{body['transactionId']}")).json()
        assert {k: read[k] for k in fields} == fields
        assert isinstance(json.loads(json.dumps(read))["metadata"]["n"], int)

    serving(check)
