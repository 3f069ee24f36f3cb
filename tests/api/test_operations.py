"""Captures, voids and refunds over HTTP: what is accepted, repeated, and refused."""

import asyncio

import pytest

from payonce.core.errors import StoreUnavailable
from payonce.ports import Change, Committed, Conflict, Scope, Unclear
from payonce.stores.memory import MemoryStore

from .service import CARD, JsonObject, Service, account, problem_of, serving

MANUAL = {"captureMethod": "manual"}
FAR = "pay_00000000000000000000"
VERBS = ("capture", "void", "refunds")


def codes(answers: list[object]) -> list[str]:
    return sorted(problem_of(a)["code"] if a.status_code >= 400 else "accepted" for a in answers)  # type: ignore[attr-defined,arg-type]


def test_a_refund_is_accepted_done_and_shown() -> None:
    """202 with the operation and the payment; then it is done, in the payment, the lists and at its own address."""

    async def check(s: Service) -> None:
        id = await s.settled()
        answer = await s.ask(id, "refunds", "r-1", {"amount": 250})
        asked = answer.json()
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/payments/{id}/operations/{asked['operationId']}"
        assert "idempotent-replayed" not in answer.headers
        told = ("kind", "status", "amount", "currency", "idempotencyKey", "transactionId", "reason", "providerRef")
        assert [asked[name] for name in told] == ["refund", "PENDING", 250, "INR", "r-1", id, None, None]
        assert (asked["payment"]["status"], asked["payment"]["refunded"], asked["reference"]) == ("SUCCESS", 0, f"{id[4:]}0200")
        await s.engine.advance(id)
        now = (await s.get(answer.headers["location"])).json()
        assert (now["status"], now["providerRef"], now["payment"]["refunded"]) == ("SUCCEEDED", "re_1", 250)
        await s.ask(id, "refunds", "r-2")
        refunds = (await s.get(f"/payments/{id}/refunds")).json()["data"]
        assert [(r["idempotencyKey"], r["amount"], r["status"]) for r in refunds] == [
            ("r-1", 250, "SUCCEEDED"),
            ("r-2", 800, "PENDING"),
        ]
        everything = (await s.get(f"/payments/{id}/operations")).json()["data"]
        assert [o["kind"] for o in everything] == ["charge", "refund", "refund"]
        assert everything == (await s.get(f"/payments/{id}")).json()["operations"]

    serving(check)


def test_a_hold_is_captured_in_part() -> None:
    """Manual capture holds; a capture of less takes that; what is left cannot be taken again, only refunded."""

    async def check(s: Service) -> None:
        id = await s.settled(**MANUAL)
        held = (await s.get(f"/payments/{id}")).json()
        assert (held["status"], held["authorized"], held["captured"]) == ("AUTHORIZED", 1050, 0)
        assert held["authorizationExpiresAt"] > held["createdAt"]
        assert held["operations"][0]["kind"] == "authorize"
        assert (await s.ask(id, "capture", "c-1", {"amount": 600})).json()["amount"] == 600
        await s.engine.advance(id)
        taken = (await s.get(f"/payments/{id}")).json()
        assert (taken["status"], taken["authorized"], taken["captured"]) == ("SUCCESS", 1050, 600)
        assert taken["authorizationExpiresAt"] is None
        assert codes([await s.ask(id, "capture", "c-2")]) == ["operation_not_possible"]
        assert codes([await s.ask(id, "refunds", "r-1", {"amount": 601})]) == ["amount_exceeds_available"]
        assert (await s.ask(id, "refunds", "r-1")).json()["amount"] == 600

    serving(check)


def test_a_hold_is_voided() -> None:
    """The void gives the hold back: CANCELED, nothing taken; then nothing is possible any more."""

    async def check(s: Service) -> None:
        id = await s.settled(**MANUAL)
        asked = (await s.ask(id, "void", "v-1", {})).json()
        assert (asked["kind"], asked["amount"], asked["payment"]["status"]) == ("void", 1050, "AUTHORIZED")
        await s.engine.advance(id)
        ended = (await s.get(f"/payments/{id}")).json()
        assert (ended["status"], ended["reason"], ended["captured"]) == ("CANCELED", "voided", 0)
        for verb in VERBS:
            answer = await s.ask(id, verb, f"after-{verb}")
            assert codes([answer]) == ["operation_not_possible"]
            assert "CANCELED" in problem_of(answer)["detail"]

    serving(check)


def test_a_payment_that_was_not_sent_is_canceled_by_a_void() -> None:
    """A void before anything was sent: nothing is sent, and the payment is CANCELED."""

    async def check(s: Service) -> None:
        id = (await s.accepted())["transactionId"]
        assert (await s.ask(id, "void", "v-1")).status_code == 202
        await s.engine.advance(id)
        ended = (await s.get(f"/payments/{id}")).json()
        assert (ended["status"], ended["attempts"], ended["operations"][1]["status"]) == ("CANCELED", 0, "SUCCEEDED")

    serving(check)


@pytest.mark.parametrize("verb", VERBS)
def test_the_body_may_be_left_out(verb: str) -> None:
    """No body and no Content-Type, an empty object, an empty form: all ask for the same."""

    async def check(s: Service) -> None:
        id = await s.settled(**(MANUAL if verb != "refunds" else {}))
        first = await s.ask(id, verb, "k-1")
        assert first.status_code == 202, first.text
        for same in (
            await s.ask(id, verb, "k-1", {}),
            await s.ask(id, verb, None, {"idempotencyKey": "k-1"}),
            await s.ask(id, verb, "k-1", b"", **{"content-type": "application/x-www-form-urlencoded"}),
            await s.ask(id, verb, '"k-1"', b' {"idempotencyKey": "k-1"} '),
        ):
            assert (same.status_code, same.headers["idempotent-replayed"]) == (202, "true"), same.text
            assert same.json()["operationId"] == first.json()["operationId"]
        assert len((await s.get(f"/payments/{id}")).json()["operations"]) == 2

    serving(check)


REFUSED: tuple[tuple[str, object, dict[str, str], str | None, int, str], ...] = (
    ("refunds", {"amount": 1}, {}, None, 400, "idempotency_key_missing"),
    ("refunds", {"amount": 1}, {}, "a b", 400, "idempotency_key_invalid"),
    ("refunds", {"amount": 1, "idempotencyKey": 7}, {}, None, 400, "idempotency_key_invalid"),
    ("refunds", {"amount": 1, "idempotencyKey": "other"}, {}, "k", 400, "idempotency_key_invalid"),
    ("refunds", b"{", {}, "k", 400, "body_invalid"),
    ("refunds", b"[]", {}, "k", 400, "body_invalid"),
    ("refunds", b'{"amount": 1, "amount": 2}', {}, "k", 400, "body_invalid"),
    ("refunds", b"\xff", {}, "k", 400, "body_invalid"),
    ("refunds", b"amount=1", {"content-type": "application/x-www-form-urlencoded"}, "k", 415, "media_type_unsupported"),
    ("refunds", b'{"amount": 1}', {"content-encoding": "gzip"}, "k", 415, "media_type_unsupported"),
    ("refunds", b" " * 65_537, {}, "k", 413, "body_too_large"),
    ("refunds", {"amount": 0}, {}, "k", 422, "validation_failed"),
    ("refunds", {"amount": -5}, {}, "k", 422, "validation_failed"),
    ("refunds", {"amount": 1.0}, {}, "k", 422, "validation_failed"),
    ("refunds", {"amount": "1"}, {}, "k", 422, "validation_failed"),
    ("refunds", {"amount": True}, {}, "k", 422, "validation_failed"),
    ("refunds", {"amount": [1]}, {}, "k", 422, "validation_failed"),
    ("refunds", {"amount": 10**12}, {}, "k", 422, "validation_failed"),
    ("refunds", b'{"amount": 1' + b"0" * 500 + b"}", {}, "k", 422, "validation_failed"),
    ("refunds", {"amount": 999_999_999_999}, {}, "k", 422, "amount_exceeds_available"),
    ("refunds", {"amount": 1051}, {}, "k", 422, "amount_exceeds_available"),
    ("refunds", {"currency": "INR"}, {}, "k", 422, "validation_failed"),
    ("refunds", {"reason": CARD}, {}, "k", 422, "card_number_refused"),
    ("refunds", {"amount": 1}, {}, CARD, 422, "card_number_refused"),
    ("void", {"amount": 1050}, {}, "k", 422, "validation_failed"),
    ("capture", {}, {}, "k", 409, "operation_not_possible"),
    ("void", {}, {}, "k", 409, "operation_not_possible"),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[5])
def test_what_is_refused_has_no_effect(case: tuple[str, object, dict[str, str], str | None, int, str]) -> None:
    """Wrong bodies, types, amounts and keys: a problem that names the state of the money; the key stays unused."""
    verb, body, headers, key, status, code = case

    async def check(s: Service) -> None:
        id = await s.settled()
        answer = await s.ask(id, verb, key, body, **headers)
        assert (answer.status_code, problem_of(answer)["code"]) == (status, code), answer.text
        assert CARD not in answer.text
        assert len((await s.get(f"/payments/{id}")).json()["operations"]) == 1
        if key == "k":
            assert (await s.ask(id, "refunds", "k", {"amount": 1})).status_code == 202

    serving(check)


@pytest.mark.parametrize("verb", VERBS)
def test_a_query_is_refused(verb: str) -> None:
    """An amount in the query must not look as if it had counted."""

    async def check(s: Service) -> None:
        id = await s.settled()
        answer = await s.client.post(f"/payments/{id}/{verb}?amount=1", headers={"idempotency-key": "k"})
        assert (answer.status_code, problem_of(answer)["errors"][0]["field"]) == (422, "amount")

    serving(check)


def test_a_key_stands_for_one_request_only() -> None:
    """A key that was used for a payment, another payment's operation, another kind or amount is refused; the names say what
    differs; what was done before stays."""

    async def check(s: Service) -> None:
        one, two = await s.settled("p-1"), await s.settled("p-2")
        assert (await s.ask(one, "refunds", "r-1", {"amount": 100})).status_code == 202
        for answer, field in (
            (await s.ask(one, "refunds", "p-1", {"amount": 100}), "path"),
            (await s.ask(two, "refunds", "r-1", {"amount": 100}), "path"),
            (await s.ask(one, "void", "r-1"), "path"),
            (await s.ask(one, "refunds", "r-1", {"amount": 101}), "amount"),
            (await s.ask(one, "refunds", "r-1"), "amount"),
            (await s.post(key="r-1"), "path"),
        ):
            told = problem_of(answer)
            assert (told["code"], [e["field"] for e in told["errors"]]) == ("idempotency_key_reused", [field])
        assert [len((await s.get(f"/payments/{id}")).json()["operations"]) for id in (one, two)] == [2, 1]
        again = await s.ask(one, "refunds", "r-1", {"amount": 100})
        assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
        found = (await s.get("/payments", idempotencyKey="r-1")).json()["data"]
        assert [p["transactionId"] for p in found] == [one]

    serving(check)


def test_a_repeat_is_answered_with_the_operation_as_it_is_now() -> None:
    """After a capture was done its key still answers 202, with SUCCEEDED, although nothing could be captured any more."""

    async def check(s: Service) -> None:
        id = await s.settled(**MANUAL)
        first = await s.ask(id, "capture", "c-1")
        await s.engine.advance(id)
        again = await s.ask(id, "capture", "c-1")
        assert (again.status_code, again.json()["status"], again.json()["payment"]["status"]) == (202, "SUCCEEDED", "SUCCESS")
        assert again.json()["operationId"] == first.json()["operationId"]

    serving(check)


def test_refunds_at_the_same_time_never_exceed_what_was_captured() -> None:
    """Of ten refunds of 60 on 100 one is accepted, whoever comes first; so is what is left once."""

    async def check(s: Service) -> None:
        id = await s.settled(amount=100)
        answers = await asyncio.gather(*(s.ask(id, "refunds", f"r-{n}", {"amount": 60}) for n in range(10)))
        assert codes(list(answers)) == ["accepted"] + ["amount_exceeds_available"] * 9
        rest = await asyncio.gather(*(s.ask(id, "refunds", f"rest-{n}") for n in range(5)))
        assert codes(list(rest)) == ["accepted"] + ["amount_exceeds_available"] * 4
        await s.engine.advance(id)
        assert (await s.get(f"/payments/{id}")).json()["refunded"] == 100

    serving(check)


def test_capture_and_void_exclude_each_other() -> None:
    """Of captures and voids at the same time one is accepted; the others are told to wait."""

    async def check(s: Service) -> None:
        id = await s.settled(**MANUAL)
        asked = [s.ask(id, verb, f"{verb}-{n}") for n in range(4) for verb in ("capture", "void")]
        assert codes(list(await asyncio.gather(*asked))) == ["accepted"] + ["operation_in_progress"] * 7
        assert codes([await s.ask(id, "refunds", "r-1")]) == ["operation_in_progress"]

    serving(check)


def test_one_key_at_the_same_time_is_one_operation() -> None:
    """The same refund sent eight times at once is accepted once and answered eight times."""

    async def check(s: Service) -> None:
        id = await s.settled()
        answers = await asyncio.gather(*(s.ask(id, "refunds", "r-1", {"amount": 60}) for _ in range(8)))
        assert {a.status_code for a in answers} == {202}
        assert len({a.json()["operationId"] for a in answers}) == 1
        assert sum("idempotent-replayed" not in a.headers for a in answers) == 1
        assert len((await s.get(f"/payments/{id}/refunds")).json()["data"]) == 1

    serving(check)


def test_what_is_not_known_yet_is_in_progress() -> None:
    """Before the charge is settled nothing can be captured or refunded: 409, ask again later."""

    async def check(s: Service) -> None:
        id = (await s.accepted(**MANUAL))["transactionId"]
        assert codes([await s.ask(id, "capture", "c"), await s.ask(id, "refunds", "r")]) == ["operation_in_progress"] * 2
        plain = (await s.accepted("k-2"))["transactionId"]
        assert codes([await s.ask(plain, "refunds", "r")]) == ["operation_in_progress"]

    serving(check)


def test_an_account_that_takes_all_or_nothing_says_so() -> None:
    """A partial capture where the account has none: 422, the hold stands, a whole capture goes."""

    async def check(s: Service) -> None:
        id = await s.settled(**MANUAL)
        assert codes([await s.ask(id, "capture", "c", {"amount": 1})]) == ["partial_capture_unsupported"]
        assert (await s.ask(id, "capture", "c", {"amount": 1050})).status_code == 202

    serving(check, accounts=(account(partial_capture=False),))


@pytest.mark.parametrize("path", ["capture", "void", "refunds", "operations", "operations/op_00000000000000000000"])
def test_the_payments_of_others_are_not_there(path: str) -> None:
    """Another merchant's or mode's payment, an unknown one, and what is no id all look the same; nothing is done to it."""
    store = MemoryStore()
    mine: JsonObject = {}

    async def accept(s: Service) -> None:
        mine["id"] = await s.settled()

    async def check(s: Service) -> None:
        bodies = set()
        for id in (mine["id"], FAR, "pay_x", "x" * 300):
            for method in ("GET", "POST"):
                answer = await s.client.request(method, f"/payments/{id}/{path}", headers={"idempotency-key": "k"})
                if answer.status_code == 405:
                    continue
                told = problem_of(answer)
                assert (answer.status_code, told["code"]) == (404, "not_found")
                bodies.add((told["detail"], told["money"], told["next"]))
        assert len(bodies) == 1
        p = await s.store.get(mine["id"])
        assert p is not None
        assert len(p.operations) == 1

    serving(accept, store=store)
    for scope in (Scope("mer_other", "test"), Scope("mer_default", "live")):
        serving(check, store=store, scope=scope)


def test_an_operation_that_the_payment_has_not_is_not_found() -> None:
    """An operation of another payment is not found under this one."""

    async def check(s: Service) -> None:
        one, two = await s.settled("p-1"), await s.settled("p-2")
        other = (await s.get(f"/payments/{two}")).json()["operations"][0]["operationId"]
        answer = await s.get(f"/payments/{one}/operations/{other}")
        assert (answer.status_code, problem_of(answer)["detail"]) == (404, "This payment has no such operation.")

    serving(check)


class LosingStore(MemoryStore):
    """Loses the answer of the second operation of a payment: done or not, nobody knows."""

    def __init__(self, *, done: bool) -> None:
        super().__init__()
        self.done, self.lost = done, False

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        if change.key is None or change.key.operation == "charge" or self.lost:
            return await super().commit(change, expected_version)
        self.lost = True
        if self.done:
            await super().commit(change, expected_version)
        return Unclear()


@pytest.mark.parametrize("done", [True, False])
def test_an_unclear_write_is_one_operation(done: bool) -> None:
    """Whether it was written or not: the same key again ends in one refund, and no answer says that it failed."""

    async def check(s: Service) -> None:
        id = await s.settled()
        first = await s.ask(id, "refunds", "r-1", {"amount": 5})
        assert first.status_code == (202 if done else 503)
        if not done:
            assert (problem_of(first)["code"], first.headers["retry-after"]) == ("retry_same_key", "1")
        again = await s.ask(id, "refunds", "r-1", {"amount": 5})
        assert again.status_code == 202
        assert [r["amount"] for r in (await s.get(f"/payments/{id}/refunds")).json()["data"]] == [5]

    serving(check, store=LosingStore(done=done))


def test_a_store_that_takes_no_write_keeps_the_key_usable() -> None:
    """503 with Retry-After, nothing written; the same key works once the store does."""

    class Full(MemoryStore):
        full = False

        async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
            if self.full:
                raise StoreUnavailable("the disk is full")
            return await super().commit(change, expected_version)

    store = Full()

    async def check(s: Service) -> None:
        id = await s.settled()
        store.full = True
        answer = await s.ask(id, "refunds", "r-1")
        assert (answer.status_code, problem_of(answer)["code"]) == (503, "retry_same_key")
        store.full = False
        answer = await s.ask(id, "refunds", "r-1")
        assert (answer.status_code, "idempotent-replayed" in answer.headers) == (202, False)

    serving(check, store=store)


def test_the_hundredth_operation_is_refused() -> None:
    """A payment takes 99 operations, of which one per attempt is kept for a reversal; and says so then."""

    async def check(s: Service) -> None:
        id = await s.settled()
        for n in range(97):
            assert (await s.ask(id, "refunds", f"r-{n}", {"amount": 1})).status_code == 202
        answer = await s.ask(id, "refunds", "one-more", {"amount": 1})
        assert (answer.status_code, problem_of(answer)["code"]) == (409, "operation_not_possible")
        assert "98 operations" in problem_of(answer)["detail"]

    serving(check)
