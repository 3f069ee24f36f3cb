"""Signatures of Standard Webhooks, with the specification's own package as oracle."""

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.errors import WebhookRefused
from payonce.outbound import signing

standardwebhooks = pytest.importorskip("standardwebhooks", reason="the oracle is a dependency of development")

NOW_US = 1_750_000_000_000_000
SECRETS = tuple(signing.derived(b"k" * 32, "whe_x", n) for n in (1, 2, 3))
BODY = '{"type":"payment.succeeded","text":"für"}'.encode()


def now_us() -> int:
    """The oracle looks at the real time."""
    return int(time.time() * 1_000_000)


@given(st.text(alphabet="abc_0", min_size=1, max_size=40), st.text(max_size=200), st.binary(min_size=24, max_size=64))
def test_the_oracle_takes_what_we_sign(id: str, text: str, raw: bytes) -> None:
    """Any id, any body, any secret of the specification's lengths."""
    try:
        body = text.encode()
    except UnicodeEncodeError:
        return
    secret = "whsec_" + base64.b64encode(raw).decode()
    headers = signing.headers(id, now_us(), body, [secret])
    standardwebhooks.Webhook(secret).verify(body, headers, json_parse=False)


def test_we_take_what_the_oracle_signs() -> None:
    """The other way round, with a time in UTC: the package takes any other zone's digits for UTC."""
    at = datetime.fromtimestamp(NOW_US // 1_000_000, tz=UTC)
    signature = standardwebhooks.Webhook(SECRETS[0]).sign("evt_1", at, BODY.decode())
    headers = {signing.ID: "evt_1", signing.TIMESTAMP: str(NOW_US // 1_000_000), signing.SIGNATURE: signature}
    assert signing.verify(headers, BODY, SECRETS[:1], NOW_US) == "evt_1"
    assert signing.headers("evt_1", NOW_US, BODY, SECRETS[:1]) == headers


def test_the_time_is_that_of_the_machine_whatever_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the world's zones would make a message hours old."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        headers = signing.headers("evt_1", now_us(), BODY, SECRETS[:1])
        standardwebhooks.Webhook(SECRETS[0]).verify(BODY, headers)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_with_two_secrets_both_verify() -> None:
    """While a secret is being replaced, who has the old one and who has the new one are served by the same message."""
    headers = signing.headers("evt_1", now_us(), BODY, SECRETS[:2])
    for secret in SECRETS[:2]:
        standardwebhooks.Webhook(secret).verify(BODY, headers)
        assert signing.verify(headers, BODY, [secret], now_us()) == "evt_1"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRETS[2]).verify(BODY, headers)
    with pytest.raises(WebhookRefused):
        signing.verify(headers, BODY, SECRETS[2:], now_us())


@pytest.mark.parametrize("what", ["body", "id", "time", "signature", "version", "missing", "old", "new", "number", "foreign"])
def test_what_is_not_as_it_was_signed_is_refused(what: str) -> None:
    """Tampered, stale (more than 5 minutes, either way), incomplete, or signed by somebody else; the oracle agrees."""
    at = now_us()
    headers, body = signing.headers("evt_1", at, BODY, SECRETS[:1]), BODY
    match what:
        case "body":
            body += b" "
        case "id":
            headers[signing.ID] = "evt_2"
        case "time":
            headers[signing.TIMESTAMP] = str(at // 1_000_000 + 1)
        case "signature":
            headers[signing.SIGNATURE] = "v1," + base64.b64encode(b"0" * 32).decode()
        case "version":
            headers[signing.SIGNATURE] = headers[signing.SIGNATURE].replace("v1,", "v2,")
        case "missing":
            del headers[signing.SIGNATURE]
        case "old":
            headers = signing.headers("evt_1", at - 301_000_000, BODY, SECRETS[:1])
        case "new":
            headers = signing.headers("evt_1", at + 302_000_000, BODY, SECRETS[:1])
        case "number":
            headers[signing.TIMESTAMP] = "now"
        case "foreign":
            headers = signing.headers("evt_1", at, BODY, SECRETS[1:2])
    with pytest.raises(WebhookRefused):
        signing.verify(headers, body, SECRETS[:1], at)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRETS[0]).verify(body, headers)


@given(st.dictionaries(st.sampled_from([signing.ID, signing.TIMESTAMP, signing.SIGNATURE]), st.text(max_size=60)))
def test_whatever_headers_come_it_is_refused_and_nothing_else(headers: dict[str, str]) -> None:
    """A verifier that falls over is a way to stop a receiver."""
    with pytest.raises(WebhookRefused):
        signing.verify(headers, BODY, SECRETS, NOW_US)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", ""])
def test_a_secret_that_is_none_is_said(secret: str) -> None:
    """An empty secret would sign anything."""
    headers = signing.headers("evt_1", NOW_US, BODY, SECRETS[:1])
    with pytest.raises(WebhookRefused, match="secret"):
        signing.verify(headers, BODY, [secret], NOW_US)


def test_secrets_are_derived_and_all_different() -> None:
    """The same endpoint and generation always have the same secret of 32 bytes; no other one, and no other key, has it."""
    made = {
        signing.derived(key, id, n): (key, id, n)
        for key in (b"a" * 32, b"b" * 32)
        for id in ("whe_1", "whe_11")
        for n in (1, 11)
    }
    assert len(made) == 8
    for secret, (key, id, n) in made.items():
        assert signing.derived(key, id, n) == secret
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == signing.SECRET_BYTES
    assert signing.fingerprint(b"a" * 32) != signing.fingerprint(b"b" * 32)
