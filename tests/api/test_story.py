"""A payment's story, a look at its provider, and a person's decision, over HTTP."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.core import ids
from payonce.inbox import Receiver
from payonce.mail import Delivery, Webhook
from payonce.ports import Scope
from payonce.stores.memory import MemoryInbox, MemoryRegistry, MemoryStore

from .service import CARD, OTHER, START_US, TEST, JsonObject, Service, account, engine_over, problem_of, serving, telling

DAY_S = 86_400
SECRET = "shh-this-is-a-credential"
TOKEN = "pm_1Nabcdefghijklmnop_lost"


async def story(s: Service, id: str) -> JsonObject:
    answer = await s.get(f"/payments/{id}/story")
    assert answer.status_code == 200, answer.text
    body: JsonObject = answer.json()
    return body


async def doubted(s: Service, key: str = "key-1") -> str:
    """A payment of which nobody knows what became of it."""
    id = await s.settled(key, paymentMethod="tok_lost")
    for _ in range(9):
        await s.engine.clock.sleep(DAY_S)
        await s.engine.advance(id)
    return id


def act(told: JsonObject, name: str) -> JsonObject:
    found: JsonObject = next(a for a in told["actions"] if a["action"] == name)
    return found


def lasting(told: JsonObject) -> list[tuple[str, str, str, str]]:
    return [(b["row"], b["kind"], b["label"], b["tone"]) for b in told["bars"]]


def test_the_story_of_a_plain_success() -> None:
    """Lines with their hashes and calls, the money in a sentence, what can be done, why this account, and the bars."""

    async def check(s: Service) -> None:
        id = await s.settled()
        told = await story(s, id)
        assert told["payment"] == (await s.get(f"/payments/{id}")).json()
        entries = (await s.get(f"/payments/{id}/history")).json()["data"]
        assert [(e["seq"], e["hash"], e["at"], e["requestId"]) for e in entries] == [
            (line["seq"], line["hash"], line["at"], line["requestId"]) for line in told["lines"]
        ]
        assert told["money"] == "10.50 INR was taken, once (ch_1)."
        sent = told["lines"][1]["call"]
        assert (sent["method"], sent["url"], sent["outcome"]) == ("POST", "https://tiny.invalid/charges", "Succeeded")
        assert (sent["request"]["reference"], sent["answer"]["ref"]) == (f"{id[4:]}0100", "ch_1")
        assert [line["call"] is None for line in told["lines"]] == [True, False, True]
        assert told["route"]["by"] == "no rule"
        assert told["route"]["candidates"] == told["payment"]["route"]
        assert {a["action"]: a["allowed"] for a in told["actions"]} == {
            "capture": False, "void": False, "refund": True, "check": False, "resolve": False,
        }  # fmt: skip
        assert act(told, "refund")["maxAmount"] == 1050
        assert "refund it" in act(told, "void")["why"]
        assert lasting(told) == [
            ("Payment", "accept", "accepted", "neutral"),
            ("attempt 1 tiny", "call", "fire", "ok"),
        ]
        assert (told["due"], told["dueAt"]) == (None, None)

    serving(check)


def test_waits_and_operations_have_bars_of_their_own() -> None:
    """What was not answered is unknown until it is read; between two looks there is a wait with its reason, and the last bar is
    open; the refund has its row."""

    async def check(s: Service) -> None:
        id = await s.settled(paymentMethod="tok_lost")
        await s.engine.clock.sleep(5)
        await s.engine.advance(id)
        told = await story(s, id)
        calls = [b for b in told["bars"] if b["kind"] == "call"]
        assert (calls[0]["label"], calls[0]["tone"]) == ("fire", "unknown")
        waits = [b for b in told["bars"] if b["kind"] == "wait"]
        assert "nobody knows yet whether the last send was charged" in waits[0]["text"]
        assert [b["untilMs"] is None for b in waits] == [False] * (len(waits) - 1) + [True]
        assert [b["fromMs"] for b in told["bars"]] == sorted(b["fromMs"] for b in told["bars"])
        assert all(b["untilMs"] is None or b["untilMs"] >= b["fromMs"] for b in told["bars"])
        assert (waits[-1]["text"], waits[-1]["row"]) == (told["due"], "attempt 1 tiny")
        assert told["dueAt"] > told["lines"][-1]["at"]
        waited = [line for line in told["lines"] if line["waited"]]
        assert [line["waitedMs"] >= 900 for line in waited] == [True] * len(waited) != []
        assert told["money"].startswith("10.50 INR may have been taken")
        paid = await s.settled("key-2")
        await s.ask(paid, "refunds", "r-1", {"amount": 250})
        await s.engine.advance(paid)
        rows = lasting(await story(s, paid))
        assert ("refund 2", "action", "refund", "neutral") in rows
        assert ("refund 2", "call", "refund", "ok") in rows

    serving(check)


def test_no_secret_token_or_card_number_is_told() -> None:
    """Planted where they could be: in the customer's token, in credentials that an adapter writes into bodies, in a provider's
    words."""
    planted = replace(account(), credentials={"secret": SECRET})
    build = planted.adapter.build

    def leaking(intent: Any) -> Any:
        built = build(intent)
        return replace(built, body=json.dumps(json.loads(built.body) | {"auth_note": f"{SECRET} {CARD}"}).encode())

    planted.adapter.build = leaking  # type: ignore[method-assign]

    async def check(s: Service) -> None:
        for key, token in (("k-1", TOKEN), ("k-2", "tok_rejected")):
            id = await s.settled(key, paymentMethod=token)
            text = json.dumps(await story(s, id))
            assert "auth_note" in text
            assert [word for word in (SECRET, CARD, TOKEN) if word in text] == []

    serving(check, accounts=(planted,))


def test_a_request_that_was_erased_is_said_to_be_gone() -> None:
    """Nothing is invented for what is not kept any more, nor for an account that is another one now."""

    async def check(s: Service) -> None:
        id = await s.settled()
        p = await s.engine.find(TEST, id)
        request = p.attempts[0].steps[0].request
        assert request is not None
        assert isinstance(s.store, MemoryStore)
        del s.store._bodies[(id, request.body_sha256)]
        assert (await story(s, id))["lines"][1]["call"]["request"] == "not kept any more"
        other = await s.settled("key-2")
        s.engine.accounts.clear()
        told = await story(s, other)
        assert told["lines"][1]["call"]["request"].startswith("not shown")
        assert "not in this configuration" in act(told, "refund")["why"]

    serving(check)


# --- reasons ----------------------------------------------------------------------------------------------------------


def test_a_note_is_on_record_and_no_part_of_the_key() -> None:
    """It stands in the history and in the story; the same key with another note answers with the first operation."""

    async def check(s: Service) -> None:
        id = await s.settled()
        first = await s.ask(id, "refunds", "r-1", {"amount": 250, "note": "one item came back"})
        again = await s.ask(id, "refunds", "r-1", {"amount": 250, "note": "something else"})
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json()["operationId"] == first.json()["operationId"]
        (asked,) = [e for e in (await s.get(f"/payments/{id}/history")).json()["data"] if e["kind"] == "Asked"]
        assert asked["data"]["note"] == "one item came back"
        line = (await story(s, id))["lines"][asked["seq"] - 1]
        assert (line["note"], line["text"].partition(", because: ")[2]) == ("one item came back", "one item came back")
        assert "something else" not in json.dumps(await story(s, id))

    serving(check)


@pytest.mark.parametrize("path", ["capture", "void", "refunds", "check", "resolve"])
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (f"paid with {CARD}", "card_number_refused"),
        ("x" * 201, "validation_failed"),
        ("two\nlines", "validation_failed"),
        ("   ", "validation_failed"),
        ("", "validation_failed"),
        (7, "validation_failed"),
    ],
)
def test_a_bad_reason_changes_nothing(path: str, said: object, code: str) -> None:
    """1 to 200 characters on one line, and no card number; else nothing is stored."""

    async def check(s: Service) -> None:
        id = await s.settled(captureMethod="manual")
        before = await s.store.history(id)
        body = {"decision": "not-charged", "reason": said} if path == "resolve" else {"note": said}
        problem = problem_of(await s.ask(id, path, "k", body))
        assert problem["code"] == code
        assert CARD not in json.dumps(problem)
        assert code != "validation_failed" or [e["field"] for e in problem["errors"]] == [list(body)[-1]]
        assert await s.store.history(id) == before

    serving(check)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    """A bad amount beside a bad note: both."""

    async def check(s: Service) -> None:
        id = await s.settled()
        problem = problem_of(await s.ask(id, "refunds", "k", {"amount": -1, "note": "", "more": 1}))
        assert {e["field"] for e in problem["errors"]} == {"amount", "note", "more"}

    serving(check)


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_look_is_taken_once_and_told() -> None:
    """202 with who asked and why on record; a second time it is asked for already; afterwards the provider was read."""

    async def check(s: Service) -> None:
        id = await s.settled(captureMethod="manual")
        assert act(await story(s, id), "check")["allowed"]
        answer = await s.ask(id, "check", None, {"note": "the customer called"})
        assert (answer.status_code, answer.json()["transactionId"]) == (202, id)
        line = (await story(s, id))["lines"][-1]
        assert (line["kind"], line["note"], line["actor"]) == ("Hinted", "the customer called", "api@127.0.0.1")
        assert line["requestId"] == answer.headers["request-id"]
        assert "a look at the provider is asked" in line["text"]
        again = problem_of(await s.ask(id, "check", None))
        assert again["code"] == "operation_not_possible"
        assert "asked for already" in again["detail"]
        await s.engine.advance(id)
        last = [line["call"] for line in (await story(s, id))["lines"] if line["call"]][-1]
        assert (last["kind"], last["method"], last["request"]) == ("read", None, None)

    serving(check)


def test_where_nothing_can_be_read_the_state_of_the_money_is_said() -> None:
    """Nothing was sent yet, or all is known: no event is written."""

    async def check(s: Service) -> None:
        fresh, done = (await s.accepted())["transactionId"], await s.settled("key-2")
        for id, why, money in (
            (fresh, "Nothing was sent", "Nothing was sent yet."),
            (done, "known to its end", "was taken, once"),
        ):
            before = await s.store.history(id)
            problem = problem_of(await s.ask(id, "check", None))
            assert problem["code"] == "operation_not_possible"
            assert why in problem["detail"]
            assert money in problem["detail"]
            assert await s.store.history(id) == before

    serving(check)


# --- resolve ----------------------------------------------------------------------------------------------------------


def test_a_payment_in_doubt_is_resolved_and_on_record() -> None:
    """The story names the decisions; one is recorded with its reason and who it was; then there is nothing more to decide."""

    async def check(s: Service) -> None:
        id = await doubted(s)
        told = await story(s, id)
        assert told["payment"]["status"] == "IN_DOUBT"
        assert act(told, "resolve")["decisions"] == [
            {"decision": "charged", "operationId": None, "needs": ["providerRef", "amount"]},
            {"decision": "not-charged", "operationId": None, "needs": []},
            {"decision": "reversed", "operationId": None, "needs": []},
        ]
        body = {"decision": "not-charged", "reason": "their support says so"}
        answer = await s.ask(id, "resolve", None, body)
        assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (200, "FAILED", "not_charged")
        line = (await story(s, id))["lines"][-1]
        assert (line["kind"], line["note"], line["actor"]) == ("Resolved", "their support says so", "api@127.0.0.1")
        assert line["requestId"] == answer.headers["request-id"]
        assert problem_of(await s.ask(id, "resolve", None, body))["code"] == "nothing_to_resolve"

    serving(check)


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        ({"decision": "charged", "reason": "r"}, "resolution_incomplete", ["providerRef", "amount"]),
        ({"decision": "charged", "reason": "r", "providerRef": "c"}, "resolution_incomplete", ["amount"]),
        ({"decision": "charged", "reason": "r", "providerRef": "c", "amount": 7}, "resolution_incomplete", ["amount"]),
        ({"decision": "not-charged"}, "resolution_incomplete", ["reason"]),
        ({"reason": "r"}, "validation_failed", ["decision"]),
        ({"decision": "yes", "reason": "r"}, "validation_failed", ["decision"]),
        ({"decision": "done", "reason": "r"}, "validation_failed", ["operationId"]),
        ({"decision": "charged", "reason": "r", "operationId": "op_x"}, "validation_failed", ["operationId"]),
        ({"decision": "done", "reason": "r", "operationId": "op_x"}, "nothing_to_resolve", []),
        ({"decision": "reversed", "reason": "r", "amount": 5}, "validation_failed", ["decision"]),
        ({"decision": "charged", "reason": "r", "providerRef": "c", "amount": True}, "validation_failed", ["amount"]),
        ({"decision": "charged", "reason": "r", "acceptAmount": "yes"}, "validation_failed", ["acceptAmount"]),
        ({"decision": "not-charged", "reason": "r", "force": True}, "validation_failed", ["force"]),
    ],
)
def test_an_incomplete_decision_names_what_is_missing(body: JsonObject, code: str, fields: list[str]) -> None:
    """In the names of the body; nothing is recorded."""

    async def check(s: Service) -> None:
        id = await doubted(s)
        before = await s.store.history(id)
        problem = problem_of(await s.ask(id, "resolve", None, body))
        assert (problem["code"], [e["field"] for e in problem["errors"]]) == (code, fields)
        assert await s.store.history(id) == before

    serving(check)


def test_another_amount_is_kept_when_it_is_accepted() -> None:
    """A charge that the provider shows with another amount."""

    async def check(s: Service) -> None:
        id = await doubted(s)
        body = {"decision": "charged", "reason": "r", "providerRef": "ch_9", "amount": 1150, "acceptAmount": True}
        taken = (await s.ask(id, "resolve", None, body)).json()
        assert (taken["status"], taken["captured"], taken["attention"]) == ("SUCCESS", 1150, "amount_accepted")

    serving(check)


# --- who was told, and who told -----------------------------------------------------------------------------------------


def test_webhooks_and_deliveries_are_in_the_story() -> None:
    """A webhook that a hint names is shown with its row of the inbox; another one as far as its hint goes; deliveries of this
    payment to this merchant's endpoints."""
    inbox, store = MemoryInbox(), MemoryStore()
    engine = engine_over(store)
    receiver = Receiver(inbox, store, {}, engine.ingest, clock=engine.clock, wake=engine.wake)
    _, courier = telling(engine, store, MemoryRegistry())

    async def check(s: Service) -> None:
        id = await s.settled(captureMethod="manual")
        at_us = START_US + 60_000
        await inbox.put(Webhook(id="wh_1", account="tiny", event="e", kind="charge.held", received_us=at_us, last_us=at_us))
        await inbox.put(Webhook(id="wh_1", account="tiny", event="e", kind="charge.held", received_us=at_us, last_us=at_us))
        await s.engine.ingest(id, "wh_1", actor="webhook")
        await s.engine.advance(id)
        await s.engine.ingest(id, "ch_1", actor="webhook")
        for scope, n in ((TEST, 1), (OTHER, 2)):
            d = Delivery(id=f"dlv_{n}", endpoint_id="whe_1", merchant_id=scope.merchant_id, mode="test", created_us=at_us,
                         event_id=ids.event_id(id, 3), type="payment.authorized", payment_id=id, seq=3, tries=2, status=500,
                         said=f"it answered 500 {CARD}")  # fmt: skip
            await store.outbox.add(d)
        told = await story(s, id)
        assert [(w["id"], w["kind"], w["state"], w["deliveries"]) for w in told["webhooks"]] == [
            ("wh_1", "charge.held", "new", 2),
            (None, "", "matched", 1),
        ]
        assert [(d["id"], d["state"], d["tries"], d["status"]) for d in told["deliveries"]] == [("dlv_1", "pending", 2, 500)]
        assert CARD not in json.dumps(told)
        rows = lasting(told)
        assert ("Webhooks", "webhook", "charge.held", "neutral") in rows
        assert ("Deliveries", "delivery", "payment.authorized", "wait") in rows

    serving(check, store=store, webhooks=receiver, courier=courier)


@pytest.mark.parametrize(("scope", "told"), [(TEST, "operator:ann@desk"), (OTHER, "operator")])
def test_who_operates_is_told_to_the_house_only(scope: Scope, told: str) -> None:
    """A merchant sees `operator`; an admin of those who run payonce sees the name."""

    async def check(s: Service) -> None:
        id = await s.settled(captureMethod="manual")
        await s.engine.ingest(id, actor="operator:ann@desk", note="n")
        assert (await story(s, id))["lines"][-1]["actor"] == told

    serving(check, scope=scope)
