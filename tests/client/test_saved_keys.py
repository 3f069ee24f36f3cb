"""Keys that outlive a crash, and webhooks as the client checks them."""

import base64
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from payonce.client import SavedKeys, WebhookInvalid, verify_webhook
from payonce.client.webhooks import check_signature

SECRET = "whsec_" + base64.b64encode(b"0" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"1" * 32).decode()
NOW = 1_795_676_400
EVENT = {
    "id": "evt_1",
    "type": "payment.succeeded",
    "timestamp": "2026-11-26T07:00:00Z",
    "data": {
        "payment": {
            "transactionId": "pay_1",
            "status": "SUCCESS",
            "amount": 1,
            "currency": "INR",
            "attempts": 1,
            "idempotencyKey": "k",
            "mode": "test",
            "createdAt": "",
            "updatedAt": "",
        }
    },
}
BODY = msgspec.json.encode(EVENT)


def test_a_purpose_keeps_its_key(tmp_path: Path) -> None:
    """The first key that was saved counts, for everybody who opens the file; a forgotten purpose begins anew."""
    keys = SavedKeys(tmp_path / "keys.db")
    assert keys.key_of("order 1", "a") == "a"
    assert SavedKeys(tmp_path / "keys.db").key_of("order 1", "b") == "a"
    assert keys.key_of("order 2", "c") == "c"
    keys.forget("order 1")
    assert keys.key_of("order 1", "d") == "d"


def test_a_killed_program_comes_back_with_the_same_key(tmp_path: Path) -> None:
    """The key is on the disk before key_of returns: kill -9 right after it changes nothing."""
    file = tmp_path / "keys.db"
    code = (
        "import os, signal, sys\nfrom payonce.client import SavedKeys\n"
        f"print(SavedKeys({str(file)!r}).key_of('order', sys.argv[1]), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    said = [
        subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False).stdout.strip()
        for name in ("first", "second")
    ]
    assert said == ["first", "first"]


@pytest.mark.parametrize("purpose", ["", "x" * 501])
def test_a_purpose_has_a_length(purpose: str, tmp_path: Path) -> None:
    """Refused before anything is sent."""
    with pytest.raises(ValueError, match="purpose"):
        SavedKeys(tmp_path / "keys.db").key_of(purpose, "a")


def signed(secret: str, body: bytes = BODY, at_s: int = NOW, id: str = "evt_1") -> dict[str, str]:
    """Headers as the official library makes them."""
    signature = Webhook(secret).sign(id, datetime.fromtimestamp(at_s, UTC), body.decode())
    return {"Webhook-Id": id, "Webhook-Timestamp": str(at_s), "Webhook-Signature": signature}


def test_what_the_official_library_signs_is_taken() -> None:
    """The event comes out, under one secret, or several during a rotation."""
    assert verify_webhook(signed(SECRET), BODY, SECRET, NOW).data.payment.transaction_id == "pay_1"
    assert verify_webhook(signed(SECRET), BODY, [OTHER, SECRET], NOW + 299).id == "evt_1"
    both = signed(SECRET)
    both["Webhook-Signature"] = signed(OTHER)["Webhook-Signature"] + " " + both["Webhook-Signature"]
    assert verify_webhook(both, BODY, SECRET, NOW).type == "payment.succeeded"


@given(at=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_a_changed_body_is_refused(at: int, bit: int) -> None:
    """Any single bit."""
    other = BODY[:at] + bytes([BODY[at] ^ (1 << bit)]) + BODY[at + 1 :]
    with pytest.raises(WebhookInvalid):
        check_signature(signed(SECRET), other, SECRET, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"Webhook-Id": "evt_2"},
        {"Webhook-Timestamp": str(NOW + 1)},
        {"Webhook-Timestamp": "x"},
        {"Webhook-Timestamp": ""},
        {"Webhook-Signature": ""},
        {"Webhook-Signature": "v1,"},
        {"Webhook-Signature": "v1,%%%"},
        {"Webhook-Signature": "v2," + "A" * 43 + "="},
    ],
)
def test_a_changed_header_is_refused(change: dict[str, str]) -> None:
    """Id and time are signed too, and an empty signature is none."""
    with pytest.raises(WebhookInvalid):
        check_signature(signed(SECRET) | change, BODY, SECRET, NOW)


@pytest.mark.parametrize("late_s", [301, -301])
def test_a_stale_one_is_refused(late_s: int) -> None:
    """Five minutes, to both sides."""
    with pytest.raises(WebhookInvalid):
        check_signature(signed(SECRET), BODY, SECRET, NOW + late_s)


def test_another_secret_is_refused() -> None:
    """And what is no secret is a mistake of the caller."""
    with pytest.raises(WebhookInvalid):
        check_signature(signed(SECRET), BODY, OTHER, NOW)
    with pytest.raises(ValueError, match="whsec_"):
        check_signature(signed(SECRET), BODY, "whsec_%", NOW)
