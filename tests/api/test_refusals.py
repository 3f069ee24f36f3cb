"""Each bad input with its exact code, and that it left nothing behind."""

import json
from collections.abc import AsyncIterator

import pytest

from payonce.api.incoming import BODY_BYTES_MAX

from .service import GOOD, Service, problem_of, serving


def expect_refused(
    body: object,
    status: int,
    code: str,
    *,
    key: str | None = "key-1",
    headers: dict[str, str] | None = None,
    fields: set[str] | None = None,
) -> None:
    """Post it, expect the problem, and that neither payment nor key is left."""

    async def check(s: Service) -> None:
        answer = await s.post(body, key=key, headers=headers)
        told = problem_of(answer)
        assert (answer.status_code, told["code"]) == (status, code), answer.text
        if fields is not None:
            assert {e["field"] for e in told["errors"]} == fields
            assert all(e["rule"] for e in told["errors"])
        assert await s.count() == 0
        if key == "key-1":
            assert (await s.post()).status_code == 202

    serving(check)


@pytest.mark.parametrize(
    "amount",
    [
        "1.0",
        "1e3",
        "10.5",
        '"100"',
        "-1",
        "0",
        "true",
        "null",
        "[]",
        "{}",
        str(10**12),
        str(10**30),
        "1" * 5000,
        "1e400",
        '"₹10"',
    ],
)
def test_a_bad_amount_is_named(amount: str) -> None:
    """amount is a JSON integer within its limits: everything else is 422 naming it."""
    raw = f'{{"amount": {amount}, "currency": "INR", "paymentMethod": "tok_ok"}}'.encode()
    expect_refused(raw, 422, "validation_failed", fields={"amount"})


@pytest.mark.parametrize("amount", [1, 999_999_999_999])
def test_the_limits_of_amount_are_accepted(amount: int) -> None:
    """The smallest and the largest amount are taken."""

    async def check(s: Service) -> None:
        assert (await s.accepted(amount=amount))["amount"] == amount

    serving(check)


@pytest.mark.parametrize("currency", ["XXX", "XAU", "₹", "IN", "INRR", "", "\u0131nr", 356, None, True, ["INR"]])
def test_a_bad_currency_is_named(currency: object) -> None:
    """currency is an ISO 4217 code with a minor unit: everything else is 422 naming it."""
    expect_refused({**GOOD, "currency": currency}, 422, "validation_failed", fields={"currency"})


def test_lower_case_currency_is_accepted_and_shown_in_upper_case() -> None:
    """inr means INR."""

    async def check(s: Service) -> None:
        assert (await s.accepted(currency="inr"))["currency"] == "INR"

    serving(check)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("amout", 5, "amout"),
        ("clientId", 7, "clientId"),
        ("clientId", "x" * 256, "clientId"),
        ("provider", {"name": "mock"}, "provider"),
        ("description", "nul \x00 inside", "description"),
        ("description", "bell \x07", "description"),
        ("description", "delete \x7f", "description"),
        ("captureMethod", "later", "captureMethod"),
        ("captureMethod", ["automatic"], "captureMethod"),
        ("paymentMethod", 7, "paymentMethod"),
        ("paymentMethod", {"token": "tok_ok"}, "paymentMethod"),
        ("paymentMethod", {"type": "card", "cvv": "123"}, "paymentMethod"),
        ("paymentMethod", {"type": "card", "token": 7}, "paymentMethod.token"),
        ("metadata", [], "metadata"),
        ("metadata", {str(n): n for n in range(51)}, "metadata"),
        ("metadata", {"": 1}, "metadata"),
        ("metadata", {"k" * 41: 1}, "metadata"),
        ("metadata", {"k\x00": 1}, "metadata"),
        ("metadata", {"k": "v" * 501}, "metadata.k"),
        ("metadata", {"k": "v\x01"}, "metadata.k"),
        ("metadata", {"k": {"nested": 1}}, "metadata.k"),
        ("metadata", {"k": [1]}, "metadata.k"),
        ("metadata", {"k": 2**63}, "metadata.k"),
        ("metadata", {"k": 1e300}, "metadata.k"),
    ],
)
def test_a_bad_field_is_named(field: str, value: object, named: str) -> None:
    """Unknown fields and values outside the limits are 422 naming field and rule."""
    expect_refused({**GOOD, field: value}, 422, "validation_failed", fields={named})


def test_every_bad_field_is_named_at_once() -> None:
    """All errors come together, not one per try."""
    expect_refused({"amount": "1", "wrong": 1}, 422, "validation_failed", fields={"amount", "currency", "wrong"})


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (rb'{"amount": 1, "currency": "INR", "description": "\ud800"}', "description"),
        (rb'{"amount": 1, "currency": "INR", "metadata": {"\udfff": 1}}', "metadata"),
        (rb'{"amount": 1, "currency": "INR", "metadata": {"k": "\ud800\ud800"}}', "metadata.k"),
        (rb'{"amount": 1, "currency": "INR", "metadata": {"k": 1e999}}', "metadata.k"),
        (rb'{"amount": 1, "currency": "INR", "\ud800 odd\u0000": 1}', "\ufffd odd\ufffd"),
    ],
)
def test_text_that_cannot_be_stored_is_named(raw: bytes, named: str) -> None:
    """Lone surrogates and numbers beyond any double are 422, and their names can be answered."""
    expect_refused(raw, 422, "validation_failed", fields={named})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"not json",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b'{"amount": 1',
        b'{"amount": 01}',
        b"{'amount': 1}",
        b'{"amount": 1} {}',
        b'{"amount": NaN, "currency": "INR"}',
        b'{"amount": 1, "currency": "INR", "metadata": {"k": -Infinity}}',
        b'{"amount": 1, "amount": 2, "currency": "INR"}',
        b'{"amount": 1, "currency": "INR", "metadata": {"k": 1, "k": 1}}',
        b'{"amount": 1, "am\\u006funt": 1}',
        b'{"description": "\xff\xfe"}',
        b'{"description": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"amount": 1}',
        b'{"description": "raw \x00 control"}',
        json.dumps(GOOD).encode("utf-16"),
        b"[" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a":' * 300 + b"1" + b"}" * 300,
    ],
)
def test_what_is_no_json_object_is_body_invalid(raw: bytes) -> None:
    """Anything but one JSON object in UTF-8 with unique names is 400 body_invalid."""
    expect_refused(raw, 400, "body_invalid")


@pytest.mark.parametrize(
    "given",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/jsonp",
        "application/+json",
        "json",
        "",
    ],
)
def test_another_media_type_is_415(given: str) -> None:
    """Only JSON in UTF-8 is taken."""
    expect_refused(GOOD, 415, "media_type_unsupported", headers={"content-type": given})


def test_a_compressed_body_is_415() -> None:
    """A Content-Encoding is refused: a small body must not become a large one."""
    expect_refused(GOOD, 415, "media_type_unsupported", headers={"content-encoding": "gzip"})


@pytest.mark.parametrize(
    "given", ["application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"', "application/merge-patch+json"]
)
def test_json_media_types_are_accepted(given: str) -> None:
    """application/json and application/*+json in UTF-8 are taken."""

    async def check(s: Service) -> None:
        assert (await s.post(headers={"content-type": given})).status_code == 202

    serving(check)


def test_a_large_body_is_413() -> None:
    """One byte more than the limit is 413; exactly the limit is read."""
    room = BODY_BYTES_MAX - len(json.dumps({**GOOD, "x": ""}))
    expect_refused({**GOOD, "x": "y" * (room + 1)}, 413, "body_too_large")
    expect_refused({**GOOD, "x": "y" * room}, 422, "validation_failed", fields={"x"})


def test_a_large_body_without_a_length_is_413() -> None:
    """A streamed body is counted as it comes."""

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1024

    async def check(s: Service) -> None:
        headers = {"content-type": "application/json", "idempotency-key": "k"}
        answer = await s.client.post("/payments", content=stream(), headers=headers)
        assert "content-length" not in answer.request.headers
        assert (answer.status_code, problem_of(answer)["code"]) == (413, "body_too_large")

    serving(check)


@pytest.mark.parametrize("announced", [str(2**40), "x", "-1"])
def test_an_absurd_length_is_413(announced: str) -> None:
    """A length that no one will read is refused before anything is read."""
    expect_refused(GOOD, 413, "body_too_large", headers={"content-length": announced})


def test_a_missing_key_is_400() -> None:
    """No key in header or body."""
    expect_refused(GOOD, 400, "idempotency_key_missing", key=None)


@pytest.mark.parametrize("key", ["", " ", "with space", "tab\tinside", "k" * 256, '""', '"with space"', "ключ"])
def test_a_malformed_key_is_400(key: str) -> None:
    """A key is 1 to 255 visible ASCII characters."""
    expect_refused(GOOD, 400, "idempotency_key_invalid", key=key)


@pytest.mark.parametrize("key", ["ключ", "", "a b", 7, True, ["k"], {"k": 1}, "k" * 256, "\x00"])
def test_a_malformed_key_in_the_body_is_400(key: object) -> None:
    """The same rule for idempotencyKey; the problem of the key comes before that of other fields."""
    expect_refused({**GOOD, "idempotencyKey": key, "amount": "bad"}, 400, "idempotency_key_invalid", key=None)


def test_different_keys_in_header_and_body_are_400() -> None:
    """Both and different is an error."""
    expect_refused({**GOOD, "idempotencyKey": "other"}, 400, "idempotency_key_invalid")


def test_two_key_headers_are_400() -> None:
    """More than one Idempotency-Key header is an error, also when they agree."""

    async def check(s: Service) -> None:
        headers = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "a")]
        answer = await s.client.post("/payments", content=json.dumps(GOOD), headers=headers)
        assert (answer.status_code, problem_of(answer)["code"]) == (400, "idempotency_key_invalid")

    serving(check)


def test_checks_come_in_order() -> None:
    """Media type before size before JSON before key before fields."""
    large = b"x" * (BODY_BYTES_MAX + 1)
    expect_refused(large, 415, "media_type_unsupported", key=None, headers={"content-type": "text/plain"})
    expect_refused(large, 413, "body_too_large", key=None)
    expect_refused(b"x", 400, "body_invalid", key=None)
    expect_refused({"amount": "x"}, 400, "idempotency_key_missing", key=None)
    expect_refused({"amount": "x"}, 422, "validation_failed")


def test_query_parameters_of_a_post_are_refused() -> None:
    """Nothing that was sent is silently ignored."""

    async def check(s: Service) -> None:
        headers = {"content-type": "application/json", "idempotency-key": "k"}
        answer = await s.client.post("/payments?wait=10", content=json.dumps(GOOD), headers=headers)
        assert (answer.status_code, problem_of(answer)["errors"][0]["field"]) == (422, "wait")
        assert await s.count() == 0

    serving(check)
