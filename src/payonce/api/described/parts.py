"""The parts that the paths of the OpenAPI document are described with."""

from typing import Any, Final

from payonce.api.problems import CHALLENGES, TOLD_READERS
from payonce.api.rights import HEALTH
from payonce.core.errors import PROBLEMS
from payonce.merchants.keys import KeyScope
from payonce.shown.bodies import EXAMPLE_ID, PAYMENT_ID

Document = dict[str, Any]

SCHEME: Final = "apiKey"
SCHEMES: Final[Document] = {
    SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, `sk_test_...` or `sk_live_...`, as `payonce key create` prints it once. It belongs to one "
        "merchant and one mode, and sees that merchant's payments only: everything else is not there for it. A server serves "
        "one mode; a key of the other one is not valid there. On a machine of your own none is needed until one was made.",
    }
}
# what the door answers before a handler is reached, on routes with a key and without
KEY_PROBLEMS: Final = ("key_missing", "key_invalid", "scope_missing", "rate_limited", "over_capacity", "not_ready")
OPEN_PROBLEMS: Final = ("over_capacity",)
HEADER_KEY: Final = '^(?:[!#-~][!-~]{0,254}|"|"[!#-~]|"[!-~]{2,254})$'  # bare or a quoted string, but not two quotes


def ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def header(description: str, schema: Document, example: object) -> Document:
    return {"description": description, "schema": schema, "required": False, "example": example}


def headers() -> Document:
    named = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}
    return {"Request-Id": {**header("Names this request.", named, "req_5f0c2d9e81b7a3460d1e"), "required": True}}


def ok(description: str, schema: str, example: Document) -> Document:
    content = {"application/json": {"schema": ref(schema), "example": example}}
    return {"description": description, "headers": headers(), "content": content}


def parameter(name: str, where: str, description: str, schema: Document, example: object = None) -> Document:
    said = {"name": name, "in": where, "required": where == "path", "description": description, "schema": schema}
    return said if example is None else {**said, "example": example}


def payment_id() -> Document:
    return parameter("id", "path", "Id of the payment.", {"type": "string", "pattern": PAYMENT_ID}, EXAMPLE_ID)


def request_id() -> Document:
    return parameter(
        "Request-Id",
        "header",
        "Your own name for this request, 1 to 64 of `A-Z a-z 0-9 . _ -`; anything else is replaced by one of ours.",
        {"type": "string"},
        "checkout-42",
    )


def problems(*codes: str, reads: bool = True) -> Document:
    """The answers to refused requests by status; some can happen everywhere. Examples speak of reads or of writes."""
    by_status: dict[int, list[str]] = {}
    for code in ("body_invalid", *codes, "headers_too_large", "internal_error"):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {str(status): _problem_answer(status, grouped, reads) for status, grouped in sorted(by_status.items())}


def behind_the_door(path: str, method: str, needs: KeyScope | None, operation: Document) -> Document:
    """The operation with the key it needs, and with what the door answers."""
    if path in HEALTH:
        return {**operation, "security": []}
    answers, reads = dict(operation["responses"]), method == "get"
    for code in KEY_PROBLEMS if needs else OPEN_PROBLEMS:
        status = str(PROBLEMS[code].status)
        there = answers.get(status, {}).get("content", {}).get("application/problem+json")
        codes = there["schema"]["allOf"][1]["properties"]["code"]["enum"] if there else []
        if code not in codes:
            answers[status] = _problem_answer(int(status), [*codes, code], reads)
    known = {**operation, "responses": dict(sorted(answers.items()))}
    if needs is None:
        return {**known, "security": []}
    said = f"{operation.get('description', '')} Needs a key that may `{needs}`.".strip()
    shown = [{**each, "source": each["source"] + _WITH_KEY} for each in operation.get("x-codeSamples", [])]
    return {**known, "description": said, "security": [{SCHEME: [needs]}], **({"x-codeSamples": shown} if shown else {})}


_WITH_KEY: Final = ' \\\n  -H "Authorization: Bearer $PAYONCE_API_KEY"'


def _problem_answer(status: int, codes: list[str], reads: bool) -> Document:
    told = headers()
    if status in (409, 429, 503):
        told["Retry-After"] = header("Seconds to wait.", {"type": "string", "pattern": "^[0-9]+$"}, "1")
    if CHALLENGES.keys() & set(codes):
        told["WWW-Authenticate"] = header("What is missing (RFC 6750).", {"type": "string"}, 'Bearer realm="payonce"')
    narrowed = {"properties": {"code": {"enum": codes}, "status": {"const": status}}}
    content = {
        "schema": {"allOf": [ref("Problem"), narrowed]},
        "examples": {code: {"summary": PROBLEMS[code].title, "value": _example(code, reads)} for code in codes},
    }
    description = " or ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes) + "."
    return {"description": description, "headers": told, "content": {"application/problem+json": content}}


def _example(code: str, reads: bool) -> Document:
    p = PROBLEMS[code]
    money, what_next = TOLD_READERS.get(code, (p.money, p.next)) if reads else (p.money, p.next)
    named = code in ("validation_failed", "idempotency_key_reused")
    rule = "must be an integer in minor units, 1 to 999999999999" if code == "validation_failed" else "differs from the first"
    return {
        "type": f"/docs#problem-{code}",
        "title": p.title,
        "status": p.status,
        "detail": p.title + ".",
        "instance": "/payments",
        "code": code,
        "money": money,
        "next": what_next,
        "requestId": "req_5f0c2d9e81b7a3460d1e",
        "errors": [{"field": "amount", "rule": rule}] if named else [],
    }


def curl(source: str) -> list[Document]:
    return [{"lang": "Shell", "label": "curl", "source": source}]
