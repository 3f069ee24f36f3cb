"""What every answer has in common: request ids, security headers, problems for what does not exist or breaks."""

import json
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from payonce.api.app import create_app
from payonce.core.errors import NewerSchema, StoreUnavailable
from payonce.core.payment import Payment
from payonce.ports import Scope
from payonce.stores.memory import MemoryStore

from .service import CARD, GOOD, BrokenStore, Service, all_ok, engine_over, open_door, problem_of, serving

PATHS = ("/payments", "/payments/pay_x", "/livez", "/readyz", "/openapi.json", "/docs", "/docs/style.css", "/nowhere")


def test_every_answer_has_a_request_id_and_security_headers() -> None:
    """Request-Id, nosniff and a content security policy on every answer; ids of ours differ."""

    async def check(s: Service) -> None:
        ids = []
        for path in PATHS:
            answer = await s.get(path)
            ids.append(answer.headers["request-id"])
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "cache-control" in answer.headers
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert {"camera=()", "payment=()"} <= set(answer.headers["permissions-policy"].split(", "))
            assert not {"server", "strict-transport-security", "access-control-allow-origin"} & set(answer.headers)
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(r"req_[0-9a-f]{20}", each) for each in ids)

    serving(check)


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("checkout-42", True),
        ("a" * 64, True),
        ("A.b_c-9", True),
        ("a" * 65, False),
        ("", False),
        ("a b", False),
        ("ü", False),
        ("a/b", False),
    ],
)
def test_an_inbound_request_id_is_kept_when_it_is_well_formed(sent: str, taken: bool) -> None:
    """1 to 64 of A-Z a-z 0-9 . _ - come back, in header and problem; anything else is replaced."""

    async def check(s: Service) -> None:
        answer = await s.client.get("/payments/pay_x", headers={"request-id": sent.encode()})
        assert (answer.headers["request-id"] == sent) == taken
        assert problem_of(answer)["requestId"] == answer.headers["request-id"]

    serving(check)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/payments/", "/payments/x/y", "/docs/", "/docs/other.css", "/%F0%9F%92%A9", "/x//"]
)
def test_an_unknown_path_is_a_problem(path: str) -> None:
    """404 not_found as problem+json, without a redirect."""

    async def check(s: Service) -> None:
        answer = await s.get(path)
        assert (answer.status_code, problem_of(answer)["code"]) == (404, "not_found")
        told = problem_of(answer)
        assert "nothing under this path" in told["detail"]
        assert "/docs" in told["next"]
        payment = problem_of(await s.get("/payments/pay_x"))
        assert "no such payment" in payment["detail"]
        assert payment["next"] != told["next"]
        assert "moved no money" in problem_of(await s.post_to(path))["money"]

    serving(check)


def test_the_address_alone_leads_to_the_docs() -> None:
    """GET / is a 303 to /docs, under a prefix too; a POST is a 405."""

    async def check(s: Service) -> None:
        answer = await s.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
        assert answer.json() == {"docs": "/docs", "openapi": "/openapi.json"}
        assert (await s.client.head("/")).status_code == 303
        assert problem_of(await s.post_to("/"))["code"] == "method_not_allowed"

    serving(check)


def test_an_unknown_method_is_a_problem_with_allow() -> None:
    """405 method_not_allowed with Allow for every path; OPTIONS tells the same without a body."""

    async def check(s: Service) -> None:
        for path, allowed in (
            ("/payments", "GET, HEAD, OPTIONS, POST"),
            ("/payments/x", "GET, HEAD, OPTIONS"),
            ("/livez", "GET, HEAD, OPTIONS"),
        ):
            for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
                answer = await s.client.request(method, path)
                assert (answer.status_code, problem_of(answer)["code"]) == (405, "method_not_allowed")
                assert answer.headers["allow"] == allowed
            options = await s.client.options(path)
            assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")

    serving(check)


def test_head_is_get_without_its_body() -> None:
    """HEAD has the status and headers of GET."""

    async def check(s: Service) -> None:
        id = (await s.accepted())["transactionId"]
        for path in (f"/payments/{id}", "/payments", "/livez", "/docs", "/payments/none"):
            got, head = await s.get(path), await s.client.head(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-type"] == got.headers["content-type"]
            assert head.headers["content-length"] == str(len(got.content))

    serving(check)


def test_head_sends_no_byte_of_a_body() -> None:
    """The application itself leaves the body out: not every server does."""

    async def check(s: Service) -> None:
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "HEAD", "path": "/livez", "query_string": b"", "headers": [], "root_path": ""}
        await s.app(scope, receive, send)
        assert [m.get("body", b"") for m in sent] == [b"", b""]
        assert dict(sent[0]["headers"])[b"content-length"] == b"17"

    serving(check)


def test_a_bug_is_a_500_that_gives_nothing_away(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown exception becomes internal_error with the request id; log and answer hold nothing of the request."""

    async def check(s: Service) -> None:
        answer = await s.post({**GOOD, "description": "private words"}, headers={"request-id": "find-me"})
        logs = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        body = problem_of(answer)
        assert (answer.status_code, body["code"], body["requestId"]) == (500, "internal_error", "find-me")
        assert "RuntimeError" not in answer.text
        failed = [entry for entry in logs if entry["event"] == "request failed"]
        assert [(e["request_id"], e["error"], e["route"]) for e in failed] == [("find-me", "RuntimeError", "/payments")]
        assert any("commit" in frame for frame in failed[0]["where"])
        for secret in (CARD, "private words"):
            assert secret not in answer.text
            assert secret not in json.dumps(logs)

    serving(check, store=BrokenStore())


def test_a_row_of_a_newer_version_is_not_ready() -> None:
    """A row this version cannot read is a 503 that touches nothing."""

    class Newer(MemoryStore):
        async def get(self, payment_id: str) -> Payment | None:
            raise NewerSchema("schema 99")

    async def check(s: Service) -> None:
        id = (await s.accepted())["transactionId"]
        answer = await s.get(f"/payments/{id}")
        assert (answer.status_code, problem_of(answer)["code"]) == (503, "not_ready")

    serving(check, store=Newer())


def test_liveness_asks_nobody() -> None:
    """/livez answers with the store closed."""

    async def check(s: Service) -> None:
        await s.store.close()
        answer = await s.get("/livez")
        assert (answer.status_code, answer.json()) == (200, {"status": "live"})

    serving(check)


def test_readiness_shows_its_checks_or_fails_by_name() -> None:
    """/readyz is 200 with every finding, or 503 not_ready naming the failing checks with Retry-After."""
    findings: dict[str, str] = {"store": "ok", "worker": "ok: 3 due"}

    async def ready(_scope: Scope | None) -> Mapping[str, str]:
        if findings["store"] == "closed":
            raise StoreUnavailable("closed")
        return findings

    async def check(s: Service) -> None:
        answer = await s.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "checks": findings})
        findings["store"] = "read-only"
        failing = await s.get("/readyz")
        assert (failing.status_code, problem_of(failing)["code"], failing.headers["retry-after"]) == (503, "not_ready", "1")
        assert "store" in failing.json()["detail"]
        findings["store"] = "closed"
        assert (await s.get("/readyz")).status_code == 503

    serving(check, ready=ready)


def test_extra_routes_get_the_same_envelope() -> None:
    """Routes handed in get request ids and security headers; their 404, 405 and bugs become problems."""

    async def fine(_request: object) -> PlainTextResponse:
        return PlainTextResponse("fine", headers={"cache-control": "max-age=5"})

    async def broken(_request: object) -> PlainTextResponse:
        raise RuntimeError(CARD)

    async def check(s: Service) -> None:
        answer = await s.get("/extra")
        assert (answer.text, answer.headers["cache-control"]) == ("fine", "max-age=5")
        assert answer.headers["request-id"]
        assert problem_of(await s.client.post("/extra"))["code"] == "method_not_allowed"
        assert problem_of(await s.get("/broken"))["code"] == "internal_error"

    serving(check, extra_routes=(Route("/extra", fine), Route("/broken", broken)))


def test_it_can_be_mounted() -> None:
    """Under a prefix, links and problem types carry the prefix."""

    async def check() -> None:
        engine = engine_over(MemoryStore())
        outer = Starlette(routes=[Mount("/pay", create_app(engine, door=open_door(engine), ready=all_ok))])
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=outer), base_url="http://outer.test") as client:
            answer = await client.post("/pay/payments", json=GOOD, headers={"idempotency-key": "k"})
            assert (await client.get("/pay/")).headers["location"] == "/pay/docs"
            location = answer.headers["location"]
            assert location == f"/pay/payments/{answer.json()['transactionId']}"
            assert (await client.get(location)).status_code == 200
            missing = (await client.get("/pay/payments/x")).json()
            assert missing["type"] == "/pay/docs#problem-not_found"
            assert missing["instance"] == "/pay/payments/x"
            assert 'href="/pay/docs/style.css"' in (await client.get("/pay/docs")).text.replace("'", '"')

    import asyncio

    asyncio.run(check())


def test_the_docs_page_is_whole_and_loads_nothing_from_outside() -> None:
    """/docs: strict policy, no script, no outside host, a row for every problem code and field, one h1, landmarks."""
    from payonce.api.openapi import document
    from payonce.core.errors import PROBLEMS

    async def check(s: Service) -> None:
        answer = await s.get("/docs")
        page = answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        for code in PROBLEMS:
            assert page.count(f"id='problem-{code}'") == 1, code
        for name, schema in document()["components"]["schemas"].items():
            for field in schema["properties"] if name in ("NewPaymentRequest", "PaymentBody") else ():
                assert f"<code>{field}</code>" in page, field
        assert "<script" not in page
        assert "style=" not in page
        assert not re.search(r"(?:src|href)=['\"](?:https?:)?//", page)
        assert page.count("<h1") == 1
        for landmark in ("<header", "<nav aria-label", "<main", "<footer", "<html lang='en'>"):
            assert page.count(landmark) == 1, landmark
        anchors = set(re.findall(r"id='([^']+)'", page))
        assert set(re.findall(r"href='#([^']+)'", page)) <= anchors
        assert len(re.findall(r"id='", page)) == len(anchors)
        css = await s.get("/docs/style.css")
        assert css.headers["content-type"] == "text/css; charset=utf-8"
        assert "@import" not in css.text
        assert "url(" not in css.text

    serving(check)


def test_no_machine_path_is_in_the_page() -> None:
    """Documents name no folder of the machine that built them."""

    async def check(s: Service) -> None:
        for path in ("/docs", "/openapi.json"):
            assert str(Path.home()) not in (await s.get(path)).text

    serving(check)
