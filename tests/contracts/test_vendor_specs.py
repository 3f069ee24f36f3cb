"""Holding requests and answers against a vendor's description: what is seen, what is allowed, and when it is skipped."""

import json
from pathlib import Path
from typing import Any

import pytest

from payonce.adapter import HttpRequest, Response
from payonce.providers import load_adapters
from payonce.testing.provider_cases import Subject
from payonce.testing.provider_contract import ProviderContract
from payonce.testing.provider_specs import Description, Newer, VendorSpec, described
from payonce.testing.schema_check import Schemas, nested

FIXTURES = Path(__file__).parents[1] / "fixtures" / "providers"
FORM = "application/x-www-form-urlencoded"
DOC: dict[str, Any] = {
    "paths": {
        "/charges": {
            "post": {
                "parameters": [{"in": "header", "name": "Idempotency-Key", "required": True, "schema": {"type": "string"}}],
                "requestBody": {
                    "required": True,
                    "content": {
                        FORM: {"schema": {"$ref": "#/components/schemas/new"}},
                        "application/json": {"schema": {"$ref": "#/components/schemas/new"}},
                    },
                },
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/charge"}}}},
                },
            },
        },
        "/charges/{id}": {
            "get": {
                "parameters": [
                    {"in": "query", "name": "expand", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"in": "query", "name": "limit", "required": True, "schema": {"type": "integer", "maximum": 100}},
                ],
                "responses": {"200": {"$ref": "#/components/responses/one"}},
            },
        },
    },
    "components": {
        "responses": {"one": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/charge"}}}}},
        "schemas": {
            "new": {
                "type": "object",
                "required": ["amount", "currency"],
                "properties": {
                    "amount": {"type": "integer", "minimum": 1},
                    "currency": {"type": "string", "maxLength": 3},
                    "capture": {"type": "boolean"},
                    "method": {"type": "object", "properties": {"type": {"enum": ["card", "upi"], "type": "string"}}},
                    "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                    "expand": {"type": "array", "items": {"type": "string"}},
                    "until": {"anyOf": [{"type": "integer"}, {"type": "string", "enum": ["now", ""]}]},
                },
            },
            "named": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string", "pattern": "^ch_"}}},
            "charge": {
                "allOf": [
                    {"$ref": "#/components/schemas/named"},
                    {
                        "type": "object",
                        "properties": {
                            "parent": {
                                "oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/charge"}],
                                "nullable": True,
                            },
                            "amount": {"type": "number"},
                            "notes": {"type": "object"},
                        },
                    },
                ],
            },
        },
    },
}
THERE = Description(VendorSpec(kind="openapi", file="x.json", prefix="/v1"), DOC)
KEYED = (("idempotency-key", "k"), ("content-type", FORM))
XML, AS_JSON = ((KEYED[0], ("content-type", kind)) for kind in ("text/xml", "application/json"))
CREATE = "POST /charges request"
READ = "GET /charges/{id}"


def post(body: str, headers: tuple[tuple[str, str], ...] = KEYED) -> HttpRequest:
    return HttpRequest(method="POST", path="/v1/charges", headers=headers, body=body.encode())


REQUESTS: list[tuple[HttpRequest, list[str]]] = [
    (post("amount=1&currency=INR&capture=true&method[type]=card&metadata[a]=1&expand[]=x&expand[]=y&until=now"), []),
    (post("amount=1&currency=INR&expand%5B0%5D=x&until=17"), []),
    (post("amount=ten&currency=INR"), [f"{CREATE} amount: 'ten' is no integer"]),
    (post("amount=0&currency=INRR"), [f"{CREATE} amount: 0, at least 1", f"{CREATE} currency: 4 characters, at most 3"]),
    (post("amount=1"), [f"{CREATE} currency: it is required and missing"]),
    (post("amount=1&currency=INR&amuont=2"), [f"{CREATE} amuont: not in the spec"]),
    (post("amount=1&currency=INR&method[kind]=card"), [f"{CREATE} method.kind: not in the spec"]),
    (post("amount=1&currency=INR&method[type]=cash"), [f"{CREATE} method.type: 'cash' is none of card, upi"]),
    (post("amount=1&currency=INR&method=card"), [f"{CREATE} method: 'card' is no object"]),
    (post("amount=1&currency=INR&capture=yes"), [f"{CREATE} capture: 'yes' is no boolean"]),
    (post("amount=1&currency=INR&metadata[a][b]=1"), [f"{CREATE} metadata.a: {{'b': '1'}} is no string"]),
    (post("amount=1&currency=INR&until=later"), [f"{CREATE} until: 'later' is none of now, "]),
    (post("amount=1&amount=2&currency=INR"), [f"{CREATE} amount: it is sent twice"]),
    (post("amount=1&currency=INR&a]=1"), [f"{CREATE} a]: the brackets of this name do not match"]),
    (post("amount=1&currency=INR", KEYED[1:]), [f"{CREATE} header idempotency-key: it is required and missing"]),
    (post("amount=1&currency=INR", (*KEYED, ("x-odd", "1"))), [f"{CREATE} header x-odd: not in the spec"]),
    (post("{}", XML), [f"{CREATE} content-type: 'text/xml' is none of {FORM}, application/json"]),
    (post('{"amount":"1","currency":"INR"}', AS_JSON), [f"{CREATE} amount: '1' is no integer"]),
    (post("nothing", AS_JSON), [f"{CREATE} body: not JSON"]),
    (HttpRequest(method="PUT", path="/v1/charges"), ["PUT /v1/charges request: not in the spec"]),
    (HttpRequest(method="GET", path="/v1/charges/ch_1?limit=10&expand%5B%5D=a"), []),
    (HttpRequest(method="GET", path="/v1/charges/ch_1?limit=101"), [f"{READ} request query limit: 101, at most 100"]),
    (HttpRequest(method="GET", path="/v1/charges/ch_1?page=1&limit=1"), [f"{READ} request query page: not in the spec"]),
    (HttpRequest(method="GET", path="/v1/charges/ch_1"), [f"{READ} request query limit: it is required and missing"]),
    (HttpRequest(method="GET", path="/v1/charges/a/b"), ["GET /v1/charges/a/b request: not in the spec"]),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "problems"), REQUESTS, ids=[str(n) for n in range(len(REQUESTS))])
def test_a_request_is_held_against_the_description(request_: HttpRequest, problems: list[str]) -> None:
    """Path, method, headers, query, forms with brackets and JSON: each problem is named, and nothing else is one."""
    found = [each.rstrip() for each in THERE.of_request(request_)]
    assert found == [each.rstrip() for each in problems]


ANSWERS: list[tuple[Any, list[str]]] = [
    ({"id": "ch_1", "amount": 10.5, "parent": None, "notes": {"a": [1]}}, []),
    ({"id": "ch_1", "parent": {"id": "ch_2", "parent": "ch_3"}}, []),
    ({"amount": 1}, ["id: it is required and missing"]),
    ({"id": "re_1"}, ["id: 're_1' does not match ^ch_"]),
    ({"id": "ch_1", "parent": {"id": 7}}, ["parent.id: 7 is no string"]),
    ({"id": "ch_1", "amount": True, "odd": 1}, ["amount: True is no number", "odd: not in the spec"]),
    ({"id": None}, ["id: None is no string"]),
    ([], [": [] is no object"]),
]


@pytest.mark.parametrize(("answer", "problems"), ANSWERS, ids=[str(n) for n in range(len(ANSWERS))])
def test_an_answer_is_held_against_the_description(answer: Any, problems: list[str]) -> None:
    """By the schema of its status, with references and alternatives; refusals are not looked at."""
    request = HttpRequest(method="GET", path="/v1/charges/ch_1?limit=1")
    body = json.dumps(answer).encode()
    found = THERE.of_answer(request, Response(status=200, headers={}, body=body))
    assert found == [f"{READ} answer {each}" for each in problems]
    assert THERE.of_answer(request, Response(status=402, headers={}, body=body)) == []
    assert THERE.of_answer(request, Response(status=201, headers={}, body=body)) == [
        f"{READ} answer: the spec has no status 201"
    ]


def test_a_webhook_is_held_against_the_schema_that_is_named() -> None:
    """Without a name nothing is known of webhooks."""
    named = Description(VendorSpec(kind="openapi", file="x.json", webhook="named"), DOC)
    assert named.of_webhook(b'{"id":"ch_1"}') == []
    assert named.of_webhook(b'{"id":"re_1","odd":1}') == ["id: 're_1' does not match ^ch_", "odd: not in the spec"]
    assert THERE.of_webhook(b'{"odd":1}') == []


def test_a_schema_that_names_itself_ends() -> None:
    """Recursion stops with the value, and never hangs."""
    loop = {"components": {"schemas": {"x": {"anyOf": [{"$ref": "#/components/schemas/x"}]}}}}
    assert Schemas(loop).problems({"$ref": "#/components/schemas/x"}, 1) == []


def test_brackets_nest() -> None:
    """As deep as they go; empty ones are the next place."""
    assert nested([("a[b][c]", "1"), ("a[b][d][]", "2"), ("a[b][d][]", "3"), ("e", "")])[0] == {
        "a": {"b": {"c": "1", "d": {"0": "2", "1": "3"}}},
        "e": "",
    }
    assert nested([("a", "1"), ("a[b]", "2")])[1] == ["a[b]: it is sent twice"]


def mock(specs: Path | None, **spec: Any) -> Subject:
    made = VendorSpec(**({"kind": "openapi", "file": "mock.json"} | spec))
    return Subject.load(load_adapters()["mock"], FIXTURES / "mock", spec=made, specs=specs)


def test_a_contract_with_a_description_fails_for_what_is_not_in_it(tmp_path: Path) -> None:
    """Each difference once, with the case that shows it; allowed ones pass, and must be there."""
    (tmp_path / "mock.json").write_text(json.dumps({"paths": {}}))
    with pytest.raises(AssertionError, match="POST /refunds request: not in the spec"):
        ProviderContract().test_requests_are_in_the_vendors_description(mock(tmp_path))
    everything = {"* request: not in the spec": "a description of nothing", "POST /moon*": "nobody goes there"}
    ProviderContract().test_requests_are_in_the_vendors_description(mock(tmp_path, allowed=everything))
    with pytest.raises(AssertionError, match=r"POST /moon\*: nothing differs like this"):
        ProviderContract().test_exceptions_from_the_description_are_needed(mock(tmp_path, allowed=everything))
    with pytest.raises(AssertionError, match="fire_succeeded: nothing is wrong with its answers"):
        ProviderContract().test_exceptions_from_the_description_are_needed(mock(tmp_path, unchecked={"fire_succeeded": "x"}))


def test_what_is_newer_is_put_in_until_it_is_there(tmp_path: Path) -> None:
    """An overlay adds to an older description, and fails when the description has been renewed."""
    (tmp_path / "mock.json").write_text(json.dumps(DOC))
    at = "/components/schemas/new/properties"
    added = (
        Newer(at=f"{at}/fee", schema={"type": "integer"}, why="x"),
        Newer(at=f"{at}/method/properties/type/enum/-", schema="cash", why="x"),
    )
    doc = described(mock(tmp_path, newer=added)).doc["components"]["schemas"]["new"]["properties"]
    assert (doc["fee"], doc["method"]["properties"]["type"]["enum"]) == ({"type": "integer"}, ["card", "upi", "cash"])
    for known in (
        Newer(at=f"{at}/amount", schema={}, why="x"),
        Newer(at=f"{at}/method/properties/type/enum/-", schema="upi", why="x"),
    ):
        with pytest.raises(AssertionError, match="the description has it"):
            described(mock(tmp_path, newer=(known,)))


def test_samples_know_fields_and_types(tmp_path: Path) -> None:
    """A folder of answers: what no sample of the same kind has is reported; null says nothing."""
    (tmp_path / "mocks").mkdir()
    (tmp_path / "mocks" / "one.json").write_text(
        json.dumps({"items": [{"entity": "pay", "id": "a", "fee": None, "n": {"x": 1}}]})
    )
    there = described(mock(tmp_path, kind="samples", file="mocks"))
    request = HttpRequest(method="GET", path="/any")

    def of(value: Any) -> list[str]:
        return there.of_answer(request, Response(status=200, headers={}, body=json.dumps(value).encode()))

    assert of({"entity": "pay", "id": "b", "fee": 7, "n": {"y": 1}}) == []
    assert of([{"entity": "pay", "id": 7, "tax": 1}]) == [
        "answer pay.id: 7 is no text",
        "answer pay.tax: in no sample of the vendor",
    ]
    assert of({"entity": {"odd": 1}}) == of({"entity": "other", "x": 1}) == []
    assert there.of_request(request) == []
    assert there.of_webhook(b'{"payload":{"entity":"pay","tax":1}}') == ["pay.tax: in no sample of the vendor"]


def test_without_a_description_it_is_skipped_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, no file, no name: each says which; the variable names another folder."""
    monkeypatch.delenv("PAYONCE_VENDOR_SPECS", raising=False)
    for subject, why in (
        (Subject.load(load_adapters()["mock"], FIXTURES / "mock"), "names no description"),
        (mock(None), "PAYONCE_VENDOR_SPECS"),
        (mock(tmp_path / "gone"), "no folder"),
        (mock(tmp_path), "has no mock.json"),
    ):
        with pytest.raises(pytest.skip.Exception, match=why):
            described(subject)
    (tmp_path / "mock.json").write_text(json.dumps(DOC))
    monkeypatch.setenv("PAYONCE_VENDOR_SPECS", str(tmp_path))
    assert described(mock(None)).doc == DOC
