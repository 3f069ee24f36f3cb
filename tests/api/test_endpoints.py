"""The paths of webhook endpoints and deliveries: registered, changed, told, looked at; refusals in the words of the API."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest

from payonce.api.endpoints import ROUNDS_MAX
from payonce.api.openapi import document
from payonce.core import news
from payonce.outbound import endpoints as places
from payonce.outbound import guard
from payonce.shown import endpoints as shown

from .hooks import HOOK, Room, hooked
from .service import CARD, TEST, JsonObject, Service, problem_of, serving

standardwebhooks = pytest.importorskip("standardwebhooks", reason="the oracle is a dependency of development")


def test_an_endpoint_is_registered_with_its_secret_once() -> None:
    """201 with the secret, 200 for the same words again; reads do not show it unless they are asked to."""

    async def check(r: Room) -> None:
        made = await r.call("POST", "/webhook-endpoints", HOOK)
        assert made.status_code == 201
        body = made.json()
        assert made.headers["location"] == f"/webhook-endpoints/{body['id']}"
        assert {k: body[k] for k in HOOK} == HOOK
        assert (body["state"], body["mode"], body["secret"][:6]) == ("enabled", "test", "whsec_")
        again = await r.call("POST", "/webhook-endpoints", HOOK)
        assert (again.status_code, again.json(), again.headers["idempotent-replayed"]) == (200, body, "true")
        quiet = {**body, "secret": None}
        assert (await r.get(f"/webhook-endpoints/{body['id']}")).json() == quiet
        assert (await r.get("/webhook-endpoints")).json() == {"data": [quiet]}
        assert (await r.get(f"/webhook-endpoints/{body['id']}", secret="true")).json() == body
        assert "whsec_" not in json.dumps([record.value.decode() for record in await r.registry.endpoints()])

    hooked(check)


def test_the_same_address_in_other_words_is_refused() -> None:
    """With the id of the one there is; a change to an address that another endpoint has, too."""

    async def check(r: Room) -> None:
        made = await r.hook()
        other = problem_of(await r.call("POST", "/webhook-endpoints", {**HOOK, "types": []}))
        assert (other["code"], other["errors"][0]["field"]) == ("validation_failed", "url")
        assert made["id"] in other["detail"]
        second = await r.hook(url="https://shop.example/other")
        moved = problem_of(await r.call("PATCH", f"/webhook-endpoints/{second['id']}", {"url": HOOK["url"]}))
        assert made["id"] in moved["detail"]
        assert len(await r.registry.endpoints()) == 2

    hooked(check)


def test_a_change_leaves_what_it_does_not_name() -> None:
    """Absent and null stay; an empty list means all types, an empty description none; the address may be its own."""

    async def check(r: Room) -> None:
        made = await r.hook()
        path = f"/webhook-endpoints/{made['id']}"
        for change, after in (
            ({}, {}),
            ({"types": None, "url": None, "description": None}, {}),
            ({"url": HOOK["url"]}, {}),
            ({"types": []}, {"types": []}),
            ({"types": ["refund.failed", "payment.failed"]}, {"types": ["payment.failed", "refund.failed"]}),
            ({"description": ""}, {"description": None}),
            ({"url": "https://shop.example/new"}, {"url": "https://shop.example/new"}),
        ):
            made = {**made, **after, "secret": None}
            answer = await r.call("PATCH", path, change)
            assert (answer.status_code, answer.json()) == (200, made)
        assert (await r.get(path)).json() == made

    hooked(check)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "validation_failed", "url"),
        ({"url": "https://shop.example/" + "x" * 480}, "validation_failed", "url"),
        ({"url": "ftp://shop.example"}, "validation_failed", "url"),
        ({"url": "https://shop.example/a b"}, "validation_failed", "url"),
        ({"url": 7}, "validation_failed", "url"),
        ({**HOOK, "types": ["payment.lost"]}, "validation_failed", "types"),
        ({**HOOK, "types": ["webhook.test"]}, "validation_failed", "types"),
        ({**HOOK, "types": "payment.failed"}, "validation_failed", "types"),
        ({**HOOK, "types": ["payment.failed"] * 51}, "validation_failed", "types"),
        ({**HOOK, "description": "x" * 201}, "validation_failed", "description"),
        ({**HOOK, "description": "\ud800"}, "validation_failed", "description"),
        ({**HOOK, "description": "a\nb"}, "validation_failed", "description"),
        ({**HOOK, "secret": "whsec_mine"}, "validation_failed", "secret"),
        ({**HOOK, "description": f"card {CARD}"}, "card_number_refused", None),
        ({"url": f"https://shop.example/{CARD}"}, "card_number_refused", None),
        ({"url": "https://127.0.0.1/x"}, "endpoint_refused", None),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "endpoint_refused", None),
        ({"url": "http://shop.example/x"}, "endpoint_refused", None),
        ({"url": "https://user:pass@shop.example/x"}, "endpoint_refused", None),
    ],
)
def test_what_no_endpoint_may_have(body: JsonObject, code: str, field: str | None) -> None:
    """422 with the field, nothing registered and nothing on the journal; a change is refused the same way."""

    async def check(r: Room) -> None:
        said = problem_of(await r.call("POST", "/webhook-endpoints", body))
        assert (said["status"], said["code"], [e["field"] for e in said["errors"]]) == (422, code, [field] if field else [])
        assert (await r.registry.endpoints(), await r.journal.read()) == ((), ())
        made = await r.hook()
        change = problem_of(await r.call("PATCH", f"/webhook-endpoints/{made['id']}", body)) if body else said
        assert change["code"] == code
        assert (await r.get(f"/webhook-endpoints/{made['id']}")).json() == {**made, "secret": None}

    hooked(check)


def test_there_are_not_too_many() -> None:
    """The limit of a merchant has a code of its own."""

    async def check(r: Room) -> None:
        for n in range(places.ENDPOINTS_MAX):
            await r.hook(url=f"https://shop.example/{n}")
        assert problem_of(await r.call("POST", "/webhook-endpoints", HOOK))["code"] == "endpoints_too_many"

    hooked(check)


def test_bodies_are_read_like_those_of_payments() -> None:
    """Media type, size, JSON, names that stand twice, nesting; where a body may be left out, so may its type."""

    async def check(r: Room) -> None:
        made = await r.hook()
        one = f"/webhook-endpoints/{made['id']}"
        send = r.client.request
        for method, path in (("POST", "/webhook-endpoints"), ("PATCH", one), ("POST", f"{one}/recover")):
            plain = await send(method, path, content=b"{}", headers={"content-type": "text/plain"})
            assert problem_of(plain)["code"] == "media_type_unsupported"
            assert problem_of(await send(method, path))["code"] == "media_type_unsupported"
        for method, path in (
            ("POST", "/webhook-endpoints"),
            ("PATCH", one),
            ("POST", f"{one}/enable"),
            ("POST", f"{one}/test"),
        ):
            for raw in (b"[]", b"{", b'{"a":1,"a":2}', b"\xff", b'{"a":' * 100 + b"1" + b"}" * 100):
                answer = await send(method, path, content=raw, headers={"content-type": "application/json"})
                assert problem_of(answer)["code"] == "body_invalid", (path, raw)
            big = await send(method, path, content=b" " * 70_000, headers={"content-type": "application/json"})
            assert problem_of(big)["code"] == "body_too_large"
        for verb in ("enable", "disable", "test"):
            assert problem_of(await r.call("POST", f"{one}/{verb}", {"reason": "x"}))["errors"][0]["field"] == "reason"
            assert problem_of(await send("POST", f"{one}/{verb}?x=1"))["errors"][0]["field"] == "x"
        assert (await send("POST", f"{one}/rotate-secret")).status_code == 200

    hooked(check)


def test_events_are_delivered_signed_and_can_be_seen() -> None:
    """Those of its types, with the bytes of GET /events, verified by the specification's own library."""

    async def check(r: Room) -> None:
        made = await r.hook()
        await r.settled("k1")
        await r.settled("k2", paymentMethod="tok_stolen")
        await r.drain()
        ((url, headers, body),) = r.receivers.got
        assert url == HOOK["url"]
        told = standardwebhooks.Webhook(made["secret"])
        signed = json.loads(body)
        assert headers["webhook-id"] == signed["id"]
        event = await r.get(f"/events/{signed['id']}")
        assert event.content == body
        assert headers["webhook-signature"] == told.sign(signed["id"], _at(headers), body.decode())
        (d,) = (await r.get(f"/webhook-endpoints/{made['id']}/deliveries")).json()["data"]
        assert (d["eventId"], d["state"], d["tries"], d["lastStatus"]) == (signed["id"], "delivered", 1, 204)
        assert d["transactionId"] == signed["data"]["payment"]["transactionId"]
        assert (await r.get(f"/webhook-deliveries/{d['id']}")).json() == d

    hooked(check)


def test_a_rotated_secret_signs_beside_the_old_one_for_a_while() -> None:
    """Two signatures until the overlap is over; with 0 the old one is of no use at once."""

    async def check(r: Room) -> None:
        made = await r.hook()
        path = f"/webhook-endpoints/{made['id']}"
        turned = (await r.call("POST", f"{path}/rotate-secret", {"overlapS": 60})).json()
        assert turned["secret"] not in (made["secret"], None)
        assert turned["oldSecretUntil"]
        await r.call("POST", f"{path}/test")
        await r.drain()
        _, headers, body = r.receivers.got[-1]
        signed = headers["webhook-signature"].split()
        for secret in (made["secret"], turned["secret"]):
            told = standardwebhooks.Webhook(secret)
            assert told.sign(headers["webhook-id"], _at(headers), body.decode()) in signed
        assert (await r.get(path)).json()["oldSecretUntil"] == turned["oldSecretUntil"]
        last = (await r.call("POST", f"{path}/rotate-secret", {"overlapS": 0})).json()
        assert last["oldSecretUntil"] is None
        for bad in (-1, shown.OVERLAP_S_MAX + 1, 1.5, "60", True):
            answer = problem_of(await r.call("POST", f"{path}/rotate-secret", {"overlapS": bad}))
            assert [e["field"] for e in answer["errors"]] == ["overlapS"]

    hooked(check)


def test_a_disabled_endpoint_gets_nothing_and_recovers() -> None:
    """What is pending is canceled; enabled again it gets what happens, and with recover all that it missed, nothing twice."""

    async def check(r: Room) -> None:
        made = await r.hook(types=[])
        path = f"/webhook-endpoints/{made['id']}"
        await r.settled("k0")
        await r.drain()
        off = (await r.call("POST", f"{path}/disable")).json()
        assert (off["state"], off["reason"]) == ("disabled", "asked for")
        paid = [await r.settled(f"k{n}") for n in (1, 2)]
        await r.drain()
        assert len(r.receivers.got) == 1
        refused = await r.call("POST", f"{path}/recover", {"since": made["createdAt"]})
        assert problem_of(refused)["code"] == "endpoint_refused"
        on = (await r.call("POST", f"{path}/enable")).json()
        assert (on["state"], on["reason"]) == ("enabled", None)
        answer = await r.call("POST", f"{path}/recover", {"since": made["createdAt"]})
        assert (answer.status_code, answer.json()) == (202, {"deliveries": 2})
        await r.drain()
        got = [json.loads(body)["data"]["payment"]["transactionId"] for _, _, body in r.receivers.got[1:]]
        assert sorted(got) == sorted(paid)
        for since in (None, "yesterday", 7, "2026-11-24"):
            bad = problem_of(await r.call("POST", f"{path}/recover", {"since": since}))
            assert [e["field"] for e in bad["errors"]] == ["since"]

    hooked(check)


def test_a_delivery_is_replayed() -> None:
    """202 with the delivery, pending again with all tries before it; the event comes under the same id."""

    async def check(r: Room) -> None:
        made = await r.hook()
        await r.settled()
        await r.drain()
        (d,) = (await r.get(f"/webhook-endpoints/{made['id']}/deliveries")).json()["data"]
        again = await r.call("POST", f"/webhook-deliveries/{d['id']}/replay")
        assert again.status_code == 202
        assert again.headers["location"] == f"/webhook-deliveries/{d['id']}"
        assert (again.json()["state"], again.json()["tries"]) == ("pending", 0)
        await r.drain()
        assert [headers["webhook-id"] for _, headers, _ in r.receivers.got] == [d["eventId"]] * 2
        await r.call("DELETE", f"/webhook-endpoints/{made['id']}")
        assert (await r.get(f"/webhook-deliveries/{d['id']}")).json()["state"] == "delivered"
        assert (await r.call("POST", f"/webhook-deliveries/{d['id']}/replay")).status_code == 404

    hooked(check)


def test_a_test_event_shows_what_came_of_it() -> None:
    """202, then the delivery says what the endpoint answered; GET /events does not have it."""

    async def check(r: Room) -> None:
        made = await r.hook()
        r.receivers.status = 500
        asked = await r.call("POST", f"/webhook-endpoints/{made['id']}/test")
        assert (asked.status_code, asked.json()["type"], asked.json()["transactionId"]) == (202, "webhook.test", None)
        await r.drain()
        d = (await r.get(asked.headers["location"])).json()
        assert (d["state"], d["lastStatus"], bool(d["lastError"])) == ("failed", 500, True)
        assert (await r.get("/events")).json()["data"] == []
        assert (await r.get(f"/events/{d['eventId']}")).status_code == 404

    hooked(check)


def test_deliveries_are_listed_page_by_page_and_filtered() -> None:
    """Newest first; by state and type; for a type within bounds: a page may be short although there is more."""

    async def check(r: Room) -> None:
        made = await r.hook(types=[])
        path = f"/webhook-endpoints/{made['id']}/deliveries"
        await r.settled("first", paymentMethod="tok_stolen")
        for n in range(ROUNDS_MAX + 2):
            await r.settled(f"k{n}")
            await r.drain()
        await r.call("POST", f"/webhook-endpoints/{made['id']}/test")
        every = (await r.get(path, limit="100")).json()["data"]
        assert [d["type"] for d in every] == ["webhook.test", *["payment.succeeded"] * (ROUNDS_MAX + 2), "payment.failed"]
        got, cursor, pages = list[str](), None, 0
        while True:
            body = (await r.get(path, limit="3", **({"cursor": cursor} if cursor else {}))).json()
            got, cursor, pages = [*got, *(d["id"] for d in body["data"])], body["nextCursor"], pages + 1
            if cursor is None:
                break
        assert (got, pages) == ([d["id"] for d in every], 3)
        assert [d["type"] for d in (await r.get(path, state="pending")).json()["data"]] == ["webhook.test"]
        first = (await r.get(path, type="payment.failed", limit="1")).json()
        assert first["data"] == []
        rest = (await r.get(path, type="payment.failed", limit="1", cursor=first["nextCursor"])).json()
        assert ([d["type"] for d in rest["data"]], rest["nextCursor"]) == (["payment.failed"], None)
        for query, field in (
            ({"state": "lost"}, "state"),
            ({"type": "x"}, "type"),
            ({"cursor": "x"}, "cursor"),
            ({"x": "1"}, "x"),
        ):
            assert [e["field"] for e in problem_of(await r.get(path, **query))["errors"]] == [field]

    hooked(check)


def test_a_removed_endpoint_is_gone() -> None:
    """204 without a body, then 404; what is pending for it is canceled when its turn comes."""

    async def check(r: Room) -> None:
        made = await r.hook()
        asked = (await r.call("POST", f"/webhook-endpoints/{made['id']}/test")).json()
        gone = await r.call("DELETE", f"/webhook-endpoints/{made['id']}")
        assert (gone.status_code, gone.content) == (204, b"")
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries"), ("POST", "/enable")):
            said = problem_of(await r.call(method, f"/webhook-endpoints/{made['id']}{path}"))
            assert (said["status"], said["detail"]) == (404, "There is no such endpoint for you.")
        await r.drain()
        assert (await r.get(f"/webhook-deliveries/{asked['id']}")).json()["state"] == "canceled"
        assert r.receivers.got == []

    hooked(check)


def test_who_did_it_is_on_the_journal() -> None:
    """Each act with the caller, where they came from and their request; without secrets."""

    async def check(r: Room) -> None:
        headers = {"request-id": "shop-7"}
        made = (await r.client.post("/webhook-endpoints", json=HOOK, headers=headers)).json()
        path = f"/webhook-endpoints/{made['id']}"
        for method, verb in (
            ("POST", "/disable"),
            ("POST", "/enable"),
            ("POST", "/rotate-secret"),
            ("POST", "/test"),
            ("DELETE", ""),
        ):
            assert (await r.client.request(method, path + verb, headers=headers)).status_code < 300
        acts = [each.act for each in await r.journal.read()]
        assert [act.what.partition(".")[2] for act in acts] == [
            "created",
            "disabled",
            "enabled",
            "secret_rotated",
            "tested",
            "removed",
        ]
        assert {(act.subject, act.actor, act.request_id, act.merchant_id, act.mode) for act in acts} == {
            (made["id"], "api@127.0.0.1", "shop-7", TEST.merchant_id, TEST.mode)
        }
        assert "whsec_" not in str(acts)

    hooked(check)


def test_a_store_that_takes_no_write_says_so_without_promises_of_keys() -> None:
    """503 not_ready with Retry-After: there is no idempotency key here; nothing was registered."""

    async def check(r: Room) -> None:
        made = await r.hook()
        r.registry.full = True
        for method, path in (("POST", ""), ("DELETE", f"/{made['id']}"), ("POST", f"/{made['id']}/disable")):
            answer = await r.call(method, f"/webhook-endpoints{path}", {"url": "https://b.example"} if not path else None)
            said = problem_of(answer)
            assert (said["status"], said["code"], answer.headers["retry-after"]) == (503, "not_ready", "1")
            assert "key" not in said["detail"]
        r.registry.full = False
        assert (await r.get("/webhook-endpoints")).json()["data"] == [{**made, "secret": None}]

    hooked(check)


def test_answers_hold_exactly_what_is_documented() -> None:
    """Every body has the fields of its schema, no more and no fewer, and fits it."""

    async def check(r: Room) -> None:
        made = await r.hook(types=[])
        path = f"/webhook-endpoints/{made['id']}"
        await r.settled()
        await r.drain()
        tried = (await r.call("POST", f"{path}/test")).json()
        since = {"since": made["createdAt"]}
        for name, body in (
            ("EndpointBody", made),
            ("EndpointBody", (await r.call("POST", f"{path}/rotate-secret")).json()),
            ("EndpointBody", (await r.get(path)).json()),
            ("EndpointList", (await r.get("/webhook-endpoints")).json()),
            ("DeliveryPage", (await r.get(f"{path}/deliveries")).json()),
            ("DeliveryBody", tried),
            ("DeliveryBody", (await r.get(f"/webhook-deliveries/{tried['id']}")).json()),
            ("Recovery", (await r.call("POST", f"{path}/recover", since)).json()),
            ("EndpointBody", (await r.call("POST", f"{path}/disable")).json()),
        ):
            schema = document()["components"]["schemas"][name]
            assert set(body) == set(schema["properties"]) == set(schema["required"])
            whole = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
            jsonschema_rs.Draft202012Validator(whole).validate(body)

    hooked(check)


def test_where_webhooks_are_not_set_up_events_still_are() -> None:
    """503 webhooks_unavailable on every path of endpoints and deliveries."""

    async def check(s: Service) -> None:
        await s.settled()
        assert len((await s.get("/events")).json()["data"]) == 1
        one, d = "/webhook-endpoints/whe_06gywnk043sq5zmmz0n2", "/webhook-deliveries/dlv_06gywnk043sq5zmmz0n3"
        asked: list[tuple[str, str, object]] = [("GET", "/webhook-endpoints", None), ("POST", "/webhook-endpoints", HOOK)]
        asked += [("GET", one, None), ("PATCH", one, {}), ("DELETE", one, None), ("GET", f"{one}/deliveries", None)]
        asked += [("POST", f"{one}/{verb}", None) for verb in ("enable", "disable", "test", "rotate-secret")]
        asked += [
            ("POST", f"{one}/recover", {"since": "2026-11-24T00:00:00Z"}),
            ("GET", d, None),
            ("POST", f"{d}/replay", None),
        ]
        for method, path, body in asked:
            answer = await s.client.request(method, path, **({} if body is None else {"json": body}))  # type: ignore[arg-type]
            assert problem_of(answer)["code"] == "webhooks_unavailable", path

    serving(check)


def test_a_description_is_what_the_document_says() -> None:
    """For every character but surrogates, which no pattern can name: the pattern of the document and the code say the same."""
    differing = [hex(n) for n in range(0x110000) if bool(re.fullmatch(shown.LINE, chr(n))) != shown.is_line(chr(n), 1)]
    assert differing == [hex(n) for n in range(0xD800, 0xE000)]


def test_what_a_description_may_hold_is_taken_and_the_rest_is_not() -> None:
    """Blanks and signs of any script, also such that do not show, are kept as they came; control characters are refused."""

    async def check(s: Room) -> None:
        for number, text in enumerate(("\u3000 \u0378\u200d\ufeff", "\N{SHOPPING TROLLEY}", "\u00a0")):
            made = await s.hook(url=f"https://shop.example/{number}", description=text)
            changed = await s.call("PATCH", f"/webhook-endpoints/{made['id']}", {"description": text + "x"})
            assert (made["description"], changed.json()["description"]) == (text, text + "x")
            for bad in ("\u008aQ", "\x85", "\u2028", "\x7f", "\t"):
                for method, path in (("POST", "/webhook-endpoints"), ("PATCH", f"/webhook-endpoints/{made['id']}")):
                    answer = await s.call(method, path, {"url": "https://shop.example/x", "description": bad})
                    assert [e["field"] for e in problem_of(answer)["errors"]] == ["description"], (method, bad)

    hooked(check)


def test_the_documents_bounds_are_those_that_hold() -> None:
    """What is said of endpoints is what ``outbound`` enforces; every event type can be subscribed to."""
    assert shown.URL_CHARS_MAX == guard.URL_CHARS_MAX
    assert shown.DESCRIPTION_CHARS_MAX == places.DESCRIPTION_CHARS_MAX
    assert shown.OVERLAP_S_MAX == places.OVERLAP_S_MAX
    assert (*news.TYPES, *places.GROUPS) == shown.SUBSCRIBED


def _at(headers: Mapping[str, str]) -> Any:
    return datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
