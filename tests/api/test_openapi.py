"""The OpenAPI document keeps its promises: complete, and nothing the server answers is missing from it."""

import asyncio
import itertools
import re
from collections.abc import Iterator
from typing import Any, Literal

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from payonce.api.app import create_app
from payonce.api.openapi import codes_of, document, operations
from payonce.api.rights import HEALTH, NEEDS
from payonce.core import ids
from payonce.core.errors import PROBLEMS
from payonce.core.idempotency import FIELDS, OPERATION_FIELDS, Details, NewPayment
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.core.redact import has_card_number
from payonce.mail import Webhook
from payonce.shown.bodies import OPERATION_ID, PAYMENT_ID, REFERENCE
from payonce.shown.endpoints import DELIVERY_ID, ENDPOINT_ID
from payonce.shown.inbox_bodies import WEBHOOK_ID
from payonce.shown.news import ID as EVENT_ID
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import TEST, Service, all_ok, engine_over, house_over, new_key, open_door, ring, serving, telling

ANY_ROUTE = {"method_not_allowed"}  # of paths, not of operations


def test_every_problem_code_is_documented() -> None:
    """The Problem schema lists every code with its meaning, and each stands at the operations that can answer it."""
    listed = document()["components"]["schemas"]["Problem"]["properties"]["code"]
    assert listed["enum"] == list(PROBLEMS)
    assert set(listed["x-problems"]) == set(PROBLEMS)
    answered = set().union(*(codes_of(operation) for _, _, operation in operations()))
    assert answered == set(PROBLEMS) - ANY_ROUTE
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            if content := response["content"].get("application/problem+json"):
                codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
                assert {PROBLEMS[code].status for code in codes} == {int(status)}
                assert set(content["examples"]) == set(codes)


def test_every_field_and_parameter_is_described() -> None:
    """Every field of every schema and every parameter has a description; parameters and operations have examples."""
    for name, schema in document()["components"]["schemas"].items():
        assert schema["description"], name
        for field, each in schema["properties"].items():
            assert each.get("description"), f"{name}.{field}"
    for path, _, operation in operations():
        assert operation["summary"]
        assert operation["operationId"]
        for parameter in operation["parameters"]:
            assert parameter["description"], path
            assert "example" in parameter or parameter["name"] == "cursor", (path, parameter["name"])
        for response in operation["responses"].values():
            assert response["headers"]["Request-Id"]["required"]
            if content := response["content"].get("application/json"):
                assert "example" in content or content["schema"] == {"type": "object"}, path


def test_the_request_schema_has_exactly_the_fields_that_are_taken() -> None:
    """What normalise knows and what the document says are the same names; nothing else is allowed."""
    schema = document()["components"]["schemas"]["NewPaymentRequest"]
    assert set(schema["properties"]) == set(FIELDS)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["amount", "currency"]
    for name, fields in (("AmountRequest", {*OPERATION_FIELDS, "note"}), ("VoidRequest", {"idempotencyKey", "note"})):
        schema = document()["components"]["schemas"][name]
        assert (set(schema["properties"]), schema["additionalProperties"]) == (fields, False)
        assert "required" not in schema or schema["required"] == []


def test_the_examples_are_valid() -> None:
    """Every example of a body fits its own schema."""
    for path, _, operation in operations():
        contents = [r["content"].get("application/json") for r in operation["responses"].values()]
        if "requestBody" in operation:
            contents.append(operation["requestBody"]["content"]["application/json"])
        for content in contents:
            if content and "example" in content:
                _validator(content["schema"]).validate(content["example"])
        for response in operation["responses"].values():
            problems = response["content"].get("application/problem+json")
            for example in problems["examples"].values() if problems else ():
                _validator(problems["schema"]).validate(example["value"])
        for parameter in operation["parameters"]:
            if "example" in parameter:
                assert _validator(parameter["schema"]).is_valid(parameter["example"]), (path, parameter["name"])


def test_answers_hold_nothing_undocumented() -> None:
    """Payments, operations, lists and histories have exactly the documented fields, in a new and in a settled state."""

    async def check(s: Service) -> None:
        id = (await s.accepted(metadata={"a": 1}))["transactionId"]
        other = (await s.accepted("k2", paymentMethod="tok_stolen"))["transactionId"]
        await s.engine.advance(other)
        acting = await s.settled("k3", paymentMethod="tok_action")
        await s.engine.advance(id)
        asked = (await s.ask(id, "refunds", "k4")).json()["operationId"]
        for path, name in (
            (f"/payments/{id}", "PaymentBody"),
            (f"/payments/{other}", "PaymentBody"),
            (f"/payments/{acting}", "PaymentBody"),
            (f"/payments/{id}/operations", "OperationList"),
            (f"/payments/{id}/refunds", "OperationList"),
            (f"/payments/{id}/operations/{asked}", "OperationBody"),
            ("/payments", "PaymentList"),
            (f"/payments/{other}/history", "History"),
            ("/livez", "Live"),
            ("/readyz", "Readiness"),
        ):
            body = (await s.get(path)).json()
            schema = document()["components"]["schemas"][name]
            _validator({"$ref": f"#/components/schemas/{name}"}).validate(body)
            assert set(body) == set(schema["properties"]) == set(schema["required"])

    serving(check)


def test_every_operation_says_which_key_it_needs() -> None:
    """The table that the application enforces stands in the document: the scheme, the scope, and what the door answers."""
    assert document()["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for path, method, operation in operations():
        needs = NEEDS[path][method.upper()]
        assert operation["security"] == ([{"apiKey": [needs]}] if needs else []), path
        door = {"key_missing", "key_invalid", "scope_missing", "rate_limited"}
        assert door & codes_of(operation) == (door if needs else set()), path
        assert ("over_capacity" in codes_of(operation)) == (path not in HEALTH), path
        if needs:
            assert f"`{needs}`" in operation["description"], path
            assert "WWW-Authenticate" in operation["responses"]["401"]["headers"], path
            assert "Retry-After" in operation["responses"]["429"]["headers"], path


def test_every_path_is_routed_and_every_route_is_documented() -> None:
    """The document and the application have the same paths and methods."""

    async def check(s: Service) -> None:
        documented = {route.path for route in s.app.routes if route.include_in_schema}  # type: ignore[attr-defined]
        assert documented == set(document()["paths"])
        assert {route.path for route in s.app.routes} - documented == {"/"}  # type: ignore[attr-defined]  # the way to /docs
        for path, methods in document()["paths"].items():
            answer = await s.client.options(re.sub("{id}", "x", path))
            heads = {"HEAD"} if "get" in methods else set()
            assert set(answer.headers["allow"].split(", ")) == {m.upper() for m in methods} | heads | {"OPTIONS"}

    serving(check)


def _validator(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator({**schema, "components": document()["components"]})


# --- schemathesis: what it makes of the document, sent to the application ---------------------------------------------

FORMS = {  # of names in paths; those of accounts stay what they are
    "operationId": re.compile(OPERATION_ID),
    "reference": re.compile(REFERENCE),
    "account": re.compile("(?!)"),
}
IDS = {  # forms of {id}, by the first part of the path
    "payments": re.compile(PAYMENT_ID),
    "events": re.compile(EVENT_ID),
    "webhook-endpoints": re.compile(ENDPOINT_ID),
    "webhook-deliveries": re.compile(DELIVERY_ID),
    "inbox": re.compile(WEBHOOK_ID),
}
WHOLE = ("amount", "actionExpiresIn", "overlapS", "last")
HEARD = Webhook(id="wh_06gywnk043sq5zmmz0n5", account="tiny", event="evt_1", kind="x", received_us=1, last_us=1)
_numbers: Iterator[int] = itertools.count()
store, registry = MemoryStore(), MemoryRegistry()
engine = engine_over(store)
keys = ring(registry, engine.clock)
KEY = asyncio.run(new_key(keys))  # of TEST, for everything
endpoints, courier = telling(engine, store, registry)
house = house_over(engine, registry, keys=keys)
told: dict[str, Any] = {"endpoints": endpoints, "courier": courier, "house": house}
app = create_app(engine, door=open_door(engine, keys=keys), ready=all_ok, **told)
schema = schemathesis.openapi.from_asgi("/openapi.json", app)


def made_good(case: Any) -> bool:
    """What no schema can say of a valid request: it has one fresh key, names an account, a payment, an operation, an event, an
    endpoint and a delivery that exist, an endpoint's address is public, an integer is written without a fraction (to JSON
    Schema 1.0 is one), and a cursor is one that a page gave. Invalid ones stay. False for one that happens to hold a card
    number: chance makes some."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return True
    if case.path.startswith("/payments") and case.method.upper() == "POST":
        case.headers["Idempotency-Key"] = f"fresh-{next(_numbers)}"
    if isinstance(case.body, dict):
        body = {k: v for k, v in case.body.items() if k not in ("idempotencyKey", "provider")}
        body |= {"url": f"https://shop.example/{next(_numbers)}"} if body.get("url") else {}
        body |= {"since": "2026-11-01T00:00:00Z"} if "since" in body else {}
        body |= {"toml": "# none"} if "toml" in body else {}
        case.body = {k: int(v) if isinstance(v, float) and k in WHOLE else v for k, v in body.items()}
    first, manual = case.path.split("/")[1], case.path.endswith(("/capture", "/void"))
    if case.path == "/webhook-endpoints":
        asyncio.run(_hooked())  # there is room for one more
    if first == "providers" and case.path_parameters:
        case.path_parameters = {"account": "tiny"}
    forms = {**FORMS, "id": IDS.get(first, FORMS["account"])}
    if case.path_parameters and all(forms[name].fullmatch(str(v)) for name, v in case.path_parameters.items()):
        names = asyncio.run(_hooked() if first.startswith("webhook-") else _names(manual=manual))
        case.path_parameters = {name: names[first if name == "id" else name] for name in case.path_parameters}
    if case.query and "cursor" in case.query:
        case.query = {k: v for k, v in case.query.items() if k != "cursor"}
    return not has_card_number([case.query, case.body if isinstance(case.body, dict) else None])


async def _names(*, manual: bool) -> dict[str, str]:
    """A fresh payment that is held, or else was charged: whatever amount is asked for can be captured or given back."""
    key = f"fresh-{next(_numbers)}"
    kind: Literal["automatic", "manual"] = "manual" if manual else "automatic"
    wish = NewPayment(
        amount_minor=AMOUNT_MINOR_MAX, currency="INR", capture_method=kind, details=Details(payment_method="tok_ok")
    )
    p = (await engine.submit(TEST, wish, key, actor="test")).payment
    await engine.advance(p.id)
    await house.inbox.put(HEARD)
    return {
        "inbox": HEARD.id,
        "payments": p.id,
        "operationId": p.operations[0].id,
        "reference": f"{p.id[4:]}0100",
        "events": ids.event_id(p.id, 3),
    }


async def _hooked() -> dict[str, str]:
    """One fresh endpoint with one delivery, and no other."""
    by: dict[str, Any] = {"actor": "test", "request_id": ""}
    for old in await endpoints.all(TEST):
        await endpoints.remove(TEST, old.id, **by)
    hook = await endpoints.create(TEST, f"https://shop.example/{next(_numbers)}", (), "", **by)
    return {"webhook-endpoints": hook.id, "webhook-deliveries": (await courier.test(TEST, hook.id, **by)).id}


@schema.parametrize()
@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_schemathesis_finds_nothing(case: Any) -> None:
    """No 5xx, no undocumented status, header, media type or shape; valid is accepted, invalid refused."""
    if made_good(case):
        case.call_and_validate(headers=KEY)


@schema.parametrize()
@settings(max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_without_a_key_only_the_open_operations_answer(case: Any) -> None:
    """Whatever is sent: 401 key_missing, documented, with its challenge; an open operation answers as if there were no keys."""
    if made_good(case):
        case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"}
        answer = case.call()
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])
        if case.method.upper() not in NEEDS[case.path]:
            assert answer.status_code in (204, 405)
        elif NEEDS[case.path][case.method.upper()] is None:
            assert answer.status_code not in (401, 403) or answer.json()["code"] == "webhook_refused"
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
            assert answer.headers["www-authenticate"] == ['Bearer realm="payonce"']


def test_the_shown_request_is_good() -> None:
    """The request the documents show is accepted as it stands."""
    example = document()["paths"]["/payments"]["post"]["requestBody"]["content"]["application/json"]["example"]

    async def check(s: Service) -> None:
        assert (await s.post(example)).status_code == 202

    serving(check)
