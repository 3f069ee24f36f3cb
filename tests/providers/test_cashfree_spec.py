"""The vendor's own OpenAPI file: every request that the adapter builds, and every answer of the sandbox, is valid by it.

The file lies beside the project, not in it; where it is missing these tests are skipped.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.adapter import Declined, Found, HttpRequest, Intent, Refunded, Response, Succeeded
from payonce.providers.cashfree import ADAPTER
from payonce.sandbox.cashfree import CashfreeVendor
from payonce.sandbox.faults import TOKENS, Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.simulator import Reply, Request
from payonce.testing.provider_cases import Subject

yaml = pytest.importorskip("yaml")
jsonschema_rs = pytest.importorskip("jsonschema_rs")

ROOT = Path(__file__).parents[2]
SPEC = ROOT.parent / "shared" / "specs" / "cashfree" / "openapi.yaml"
FOLDER = ROOT / "tests" / "fixtures" / "providers" / "cashfree"

pytestmark = pytest.mark.skipif(not SPEC.exists(), reason="the vendor's openapi.yaml is not beside the project")


@cache
def spec() -> dict[str, Any]:
    """The file, with every object closed: a field that it does not name is an error, in a request and in an answer."""
    doc = yaml.load(SPEC.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    doc = json.loads(json.dumps(doc, default=str))  # dates are texts
    _close(doc["components"]["schemas"])
    return dict(doc)


def _close(node: Any) -> None:
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
            node["additionalProperties"] = False
            # one entity demands a field that it does not name, against its own example
            required = [name for name in node.pop("required", ()) if name in node["properties"]]
            node.update({"required": required} if required else {})
        node.pop("example", None)
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _close(each)


def operation(method: str, path: str) -> dict[str, Any]:
    """What the spec says of a request line. The fixed path wins over one with a parameter."""
    for template, methods in sorted(spec()["paths"].items(), key=lambda item: item[0].count("{")):
        pattern = re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in methods:
            return dict(methods[method.lower()])
    raise AssertionError(f"{method} {path} is not in the spec")


def problems(schema: Mapping[str, Any], value: Any) -> list[str]:
    whole = {**schema, "components": spec()["components"]}
    return [
        f"{'/'.join(map(str, e.instance_path))}: {e.message}" for e in jsonschema_rs.Draft4Validator(whole).iter_errors(value)
    ]


def request_problems(request: HttpRequest) -> Iterator[str]:
    about = operation(request.method, request.path)
    headers = dict(request.headers)
    for parameter in about["parameters"]:
        given = headers.get(parameter["name"])
        if parameter["in"] == "header" and parameter.get("required") and not given:
            yield f"{parameter['name']} is missing"
        if given and parameter["schema"].get("format") == "UUID" and str(uuid.UUID(given)) != given:
            yield f"{parameter['name']} is no UUID"
    yield from (
        f"{name} is not in the spec"
        for name in headers
        if name not in {p["name"] for p in about["parameters"]} | {"content-type"}
    )
    body = about.get("requestBody")
    if body is None:
        yield from ["a body where there is none"] * bool(request.body)
        return
    if "$ref" in body:
        body = spec()["components"]["requestBodies"][body["$ref"].rpartition("/")[2]]
    yield from problems(body["content"]["application/json"]["schema"], json.loads(request.body))


def answer_problems(method: str, path: str, reply: Reply) -> list[str]:
    told = operation(method, path)["responses"].get(str(reply.status))
    if told is None:
        return [f"{method} {path}: the spec has no {reply.status}"]
    if "$ref" in told:
        told = spec()["components"]["responses"][told["$ref"].rpartition("/")[2]]
    # the vendor's own examples write null for what is not there
    value = json.loads(reply.body, object_hook=lambda doc: {k: v for k, v in doc.items() if v is not None})
    return [f"{method} {path} {reply.status} {each}" for each in problems(told["content"]["application/json"]["schema"], value)]


def test_every_request_of_the_adapter_is_in_the_spec() -> None:
    """Path, method, headers, required and unknown fields, types, limits and enumerations, over all recorded cases."""
    subject = Subject.load(ADAPTER, FOLDER)
    requests = [(c.name, ADAPTER.build(c.intent)) for c in subject.cases]
    requests += [(c.name, asked) for c in subject.cases for asked in subject.converse(c)[0]]
    assert {request.method for _, request in requests} == {"GET", "POST", "PATCH"}
    assert [f"{name}: {problem}" for name, request in requests for problem in request_problems(request)] == []


def test_recorded_answers_are_in_the_spec() -> None:
    """What the cases record as good answers of the vendor could come from the vendor."""
    # older versions; a word of the vendor's pages that its spec leaves out; a word of nobody
    odd = {"fire_numeric_id", "read_flagged", "read_odd_beside_success"}
    # the spec's text names FAILED among the words of a refund, its list of them does not
    odd |= {"refund_failed", "read_refunds_of_every_kind"}
    subject, found = Subject.load(ADAPTER, FOLDER), []
    for case in (each for each in subject.cases if each.name not in odd):
        requests = [ADAPTER.build(case.intent), *subject.converse(case)[0]]
        for request, answer in zip(requests, case.answers(), strict=True):
            if answer.status == 200 and answer.body[-1:] in (b"}", b"]"):
                reply = Reply(status=200, body=answer.body)
                found += [f"{case.name}: {each}" for each in answer_problems(request.method, request.path, reply)]
    assert found == []


def test_every_listing_is_in_the_spec() -> None:
    """Requests of a window and of its later pages; pages as the spec writes them."""
    subject = Subject.load(ADAPTER, FOLDER)
    asked = [(c.name, ADAPTER.build_listing(c.listing)) for c in subject.listings]
    assert len({request.body for _, request in asked}) > 1
    assert [f"{name}: {problem}" for name, request in asked for problem in request_problems(request)] == []
    # the vendor's page writes it in groups, against its spec
    pages = [c for c in subject.listings if c.response.status == 200 and c.name != "listing_grouped"]
    replies = [Reply(status=200, body=c.response.answer().body) for c in pages]
    assert pages
    assert [each for reply in replies for each in answer_problems("POST", "/recon", reply)] == []


def test_the_examples_of_the_spec_are_read() -> None:
    """The vendor's own list of payments and its refund, in an order of theirs, mean what they say."""
    examples = spec()["components"]["examples"]
    (paid, failed) = (p for p in examples["payments_entity_list_example"]["value"] if p["order_id"] == "order_8123")
    order = {"order_id": "order_8123", "order_status": "PAID", "order_amount": 10.01, "order_currency": "INR"}
    refund = {"refund_id": "REF-123", "order_id": "order_8123", "refund_status": "SUCCESS", "refund_amount": 4}
    refund |= {"refund_currency": "INR", "cf_refund_id": "1553338", "cf_payment_id": paid["cf_payment_id"]}
    about = Intent(kind="read", mode="test", amount_minor=1001, currency="INR", reference="order_8123")
    answers = [Response(status=200, headers={}, body=json.dumps(each).encode()) for each in (order, [paid, failed], [refund])]
    found = ADAPTER.parse_read(replace(about, seen=tuple(answers[:2])), answers[2])
    assert isinstance(found, Found)
    (taken, refused) = found.tries
    assert isinstance(taken, Succeeded)
    assert (taken.ref, taken.amount_minor, taken.refunded_minor) == ("12376123", 1001, 400)
    assert isinstance(refused, Declined)
    assert (refused.ref, refused.code) == ("12376124", "authentication_failed")
    assert [(type(r), r.reference) for r in found.refunds] == [(Refunded, "REF-123")]


def webhook_problems(body: bytes) -> list[str]:
    """What is wrong with a webhook by the spec's own schema of it."""
    event = json.loads(body, object_hook=lambda doc: {k: v for k, v in doc.items() if v is not None})
    name = {"PAYMENT": "PaymentWebhook", "REFUND": "RefundWebhook"}[event["type"].split("_")[0]]
    return [f"{event['type']} {each}" for each in problems({"$ref": f"#/components/schemas/{name}"}, event)]


def test_webhooks_of_the_sandbox_are_in_the_spec() -> None:
    """Every event of a payment and of a refund, in fields and types. The spec's refund has its ids as texts and other names
    for its speed; the vendor's page of the webhook, which the sandbox follows, does not."""
    b = Books()
    for token in TOKENS:
        session = b.create(token, order_note="preauth_transaction" if token == "tok_slow_5s" else "a note")[
            "payment_session_id"
        ]
        method = {"card": {"channel": "link", "instrument_id": token}}
        b.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": method})
    b.now_us += 11_000_000
    b.ask("POST", "/orders/tok_slow_5s/authorization", {"action": "CAPTURE", "amount": 4})
    b.now_us += 11_000_000
    for note in ("thanks", "CANCELLED"):
        b.ask("POST", "/orders/tok_ok/refunds", {"refund_amount": 1, "refund_id": f"r-{note}", "refund_note": note})
    bodies = [event.body for event in b.ledger.deliveries.events(0, 100)]
    kinds = {json.loads(body)["type"] for body in bodies}
    assert kinds == {"PAYMENT_SUCCESS_WEBHOOK", "PAYMENT_FAILED_WEBHOOK", "REFUND_STATUS_WEBHOOK"}
    odd = ("cf_refund_id", "cf_payment_id", "entity", "requested_speed", "processed_speed", "service_charge", "service_tax")
    found = [each for body in bodies for each in webhook_problems(body)]
    assert [each for each in found if "REFUND" not in each or not any(name in each for name in odd)] == []


class Books:
    """The sandbox's Cashfree, whose every answer is held against the spec."""

    def __init__(self) -> None:
        self.ledger, self.now_us, self.found, self.seen = Ledger(":memory:"), 1_800_000_000_000_000, list[str](), set[int]()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        named = {"x-client-id": "id", "x-client-secret": "secret", "x-api-version": "2025-01-01"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = json.dumps(body).encode() if body is not None else b""
        with self.ledger.transaction():
            CashfreeVendor().settle(self.ledger, self.now_us)
            request = Request(method=method, path=path, headers=named, body=raw)
            reply = CashfreeVendor().simulate(request, self.ledger, Profile(), self.now_us)
        if reply.drop:
            return None
        self.seen.add(reply.status)
        try:
            self.found += answer_problems(method, path, reply)
            return json.loads(reply.body)
        except json.JSONDecodeError:
            return None  # tok_garbage_response

    def create(self, id: str, **more: Any) -> Any:
        customer = {
            "customer_id": "ana",
            "customer_phone": "9999999999",
            "customer_name": "Ana",
            "customer_email": "a@b.example",
        }
        body = {
            "order_id": id,
            "order_amount": 10.5,
            "order_currency": "INR",
            "customer_details": customer,
            "order_tags": {"a": "b"},
        }
        return self.ask("POST", "/orders", body | more, x_idempotency_key=f"key of {id}")

    def look(self, id: str) -> None:
        for below in ("", "/payments", "/refunds"):
            self.ask("GET", f"/orders/{id}{below}")


def test_every_answer_of_the_sandbox_is_in_the_spec() -> None:
    """Orders, payments of every token by card and by UPI, terminations, refunds, simulations and refusals."""
    b = Books()
    for token in [*TOKENS, "tok_nobody_knows"]:
        for method in ({"card": {"channel": "post", "instrument_id": token}}, {"upi": {"channel": "collect", "upi_id": token}}):
            id = f"{token}-{next(iter(method))}"
            session = b.create(id)["payment_session_id"]
            b.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": method})
            b.look(id)
            b.ask("PATCH", f"/orders/{id}", {"order_status": "TERMINATED"})
            for note in ("thanks", "PENDING"):
                b.ask(
                    "POST", f"/orders/{id}/refunds", {"refund_amount": 1, "refund_id": f"{id[:30]}-{note}", "refund_note": note}
                )
    b.now_us += 11_000_000
    for token in TOKENS:
        b.look(f"{token}-card")
    (payment,) = b.ask("GET", "/orders/tok_never_resolves-card/payments")
    wanted = {"payment_status": "FAILED", "payment_error_code": "ISSUER_NOT_AVAILABLE"}
    made = b.ask(
        "POST", "/simulate", {"entity": "PAYMENTS", "entity_id": payment["cf_payment_id"], "entity_simulation": wanted}
    )
    b.ask("GET", f"/simulate/{made['simulation_id']}")
    b.ask("GET", f"/orders/tok_never_resolves-card/payments/{payment['cf_payment_id']}")
    b.ask("GET", "/orders/tok_ok-card/refunds/tok_ok-card-thanks")
    hold(b)
    refuse(b)
    assert b.found == []
    assert b.seen == {200, 400, 401, 404, 409, 422, 429, 500}


def hold(b: Books) -> None:
    """Holds that are captured, at once and slowly, released and left; customers at banks and in UPI apps; the events."""
    for id, token, action in (("h1", "tok_ok", "CAPTURE"), ("h2", "tok_slow_5s", "CAPTURE"), ("h3", "tok_ok", "VOID")):
        session = b.create(id + "-hold", order_note="preauth_transaction")["payment_session_id"]
        method: dict[str, Any] = {"card": {"channel": "link", "instrument_id": token}}
        b.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": method})
        b.now_us += 6_000_000
        b.look(id + "-hold")
        b.ask("POST", f"/orders/{id}-hold/authorization", {"action": action} | ({"amount": 4.2} if action == "CAPTURE" else {}))
        b.look(id + "-hold")
        b.ask("POST", f"/orders/{id}-hold/authorization", {"action": action})
        b.now_us += 6_000_000
        b.look(id + "-hold")
    hows: list[dict[str, Any]] = [
        {"upi": {"channel": "link"}},
        {"netbanking": {"channel": "link", "netbanking_bank_code": 3021}},
    ]
    for n, how in enumerate(hows):
        meta = {"return_url": "https://shop.example/back"}
        session = b.create(f"acts-{n}", order_meta=meta, order_expiry_time="2027-02-01T08:00:00Z")["payment_session_id"]
        b.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": how})
        b.look(f"acts-{n}")
    window = {"start_date": "2027-01-01T00:00:00Z", "end_date": "2027-03-01T00:00:00Z"}
    assert len(b.ask("POST", "/recon", {"pagination": {"limit": 50}, "filters": window})["data"]) > 10


def refuse(b: Books) -> None:
    """A refusal of each status."""
    b.ask("GET", "/orders/nobody")
    b.ask("GET", "/orders/nobody", x_client_secret="")
    b.create("another", order_amount=0)
    b.ask("POST", "/orders", {})
    b.create("tok_ok-card", order_amount=11)  # the key is known with another body
    body = {"order_id": "tok_ok-card", "order_amount": 1, "order_currency": "INR"}
    b.ask("POST", "/orders", body | {"customer_details": {"customer_id": "ana", "customer_phone": "9999999999"}})
