"""The mock vendor, sans-I/O: what it answers, what it books, what it saves and what it remembers."""

import json
from pathlib import Path
from typing import Any

import pytest

from payonce.sandbox.faults import HELD_S, LATE_S, SLOW_S, TOKENS
from payonce.sandbox.simulator import Reply

from .mock_by_hand import PAYMENT, S, Vendor, doc


def test_a_charge_is_booked_once_and_replayed_byte_for_byte() -> None:
    """The first answer of a key is saved; a replay gets the same bytes and moves nothing."""
    v = Vendor()
    first, again = v.charge(), v.charge()
    assert (first.status, doc(first)["status"], doc(first)["amount"]) == (200, "succeeded", 500)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert v.taken() == [("charge", 500)]
    assert v.ledger.movements()[0].provider_ref == doc(first)["id"]


def test_a_key_with_another_body_is_refused() -> None:
    """Same key, other body: 400 idempotency_error, and nothing moves."""
    v = Vendor()
    v.charge()
    reply = v.charge(amount=501)
    assert (reply.status, doc(reply)["error"]["type"]) == (400, "idempotency_error")
    assert v.taken() == [("charge", 500)]


def test_a_key_is_forgotten_after_its_window() -> None:
    """After 24 h the vendor takes the same request for a new one: this is why we replay for 2 h only."""
    v = Vendor()
    v.charge()
    v.now += 24 * 3600 * S
    v.charge()
    assert v.taken() == [("charge", 500)]
    v.now += 1
    v.charge()
    assert v.taken() == [("charge", 500), ("charge", 500)]


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Basic sk", "sk", "Bearer other"])
def test_a_wrong_secret_is_401(authorization: str) -> None:
    """Without a secret that it knows the vendor does nothing."""
    v = Vendor(secrets=frozenset({"sk"}))
    body = {"amount": 1, "currency": "INR", "reference": "r"}
    assert v.ask("POST", "/charges", body, key="k", authorization=authorization).status == 401
    assert v.charge().status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"a":' * 9000,
        {},
        *({"amount": a, "currency": "INR", "reference": "r"} for a in (0, -1, 1.5, "1", True, 10**12)),
    ],
)
def test_an_invalid_body_is_400_and_not_saved(body: Any) -> None:
    """Validation comes before the key: the corrected request may use it."""
    v = Vendor()
    assert v.ask("POST", "/charges", body, key="k").status == 400
    assert v.charge(key="k").status == 200


def test_a_post_needs_a_key() -> None:
    """No Idempotency-Key: 400."""
    v = Vendor()
    reply = v.ask("POST", "/charges", {"amount": 1, "currency": "INR", "reference": "r"})
    assert (reply.status, doc(reply)["error"]["code"]) == (400, "idempotency_key_missing")


def test_paths_it_does_not_have_are_404() -> None:
    """Unknown paths and methods."""
    v = Vendor()
    assert [v.ask(m, p, key="k").status for m, p in (("GET", "/"), ("DELETE", "/charges"), ("POST", "/charge"))] == [404] * 3


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("tok_decline_insufficient_funds", "insufficient_funds"),
        ("tok_decline_stolen_card", "stolen_card"),
        ("tok_decline_do_not_honor", "do_not_honor"),
        ("tok_decline_processing_error", "processing_error"),
        ("tok_decline_expired_card", "expired_card"),
        ("tok_nobody_knows", "invalid_card"),
    ],
)
def test_declines(token: str, code: str) -> None:
    """402 with the charge's id and our reference; saved, readable, nothing booked."""
    v = Vendor()
    reply = v.charge(token)
    error = doc(reply)["error"]
    assert (reply.status, error["type"], error["decline_code"], error["reference"]) == (
        402,
        "card_error",
        code,
        PAYMENT + "0100",
    )
    assert v.charge(token).body == reply.body
    assert [(c["id"], c["status"], c["decline_code"]) for c in v.read()] == [(error["charge"], "failed", code)]
    assert v.taken() == []


def test_force_fail_wins_over_the_token() -> None:
    """metadata.forceFail declines; only true does."""
    v = Vendor()
    assert doc(v.charge(metadata={"forceFail": True}))["error"]["decline_code"] == "forced_failure"
    assert v.charge(reference=PAYMENT + "0101", metadata={"forceFail": "true"}).status == 200


def test_no_source_is_tok_ok() -> None:
    """A charge without a payment method goes through."""
    v = Vendor()
    body = {"amount": 500, "currency": "INR", "reference": "r"}
    assert v.ask("POST", "/charges", body, key="k").status == 200
    assert v.taken() == [("charge", 500)]


@pytest.mark.parametrize("token", ["tok_decline_then_ok", "tok_technical_then_ok", "tok_not_enabled_then_ok"])
def test_a_decline_at_first_counts_references(token: str) -> None:
    """The payment's first reference is declined for ever, its later ones go through."""
    v = Vendor()
    assert v.charge(token).status == 402
    assert v.charge(token, key="another key").status == 402
    assert v.charge(token, reference=PAYMENT + "0101").status == 200
    assert v.charge(token, reference="06ex4k2m9p7q8r5s3t020100").status == 402


@pytest.mark.parametrize(("token", "second"), [("tok_late_then_ok", 200), ("tok_late_then_decline", 402)])
def test_a_decline_that_turns_beside_a_second_reference(token: str, second: int) -> None:
    """The first reference is charged after all, ten seconds later, whatever the second one came to."""
    v = Vendor()
    assert v.charge(token).status == 402
    assert v.charge(token, key="another key", reference=PAYMENT + "0101").status == second
    v.now += int(LATE_S * S)
    assert [c["status"] for c in v.read()] == ["succeeded"]


def test_a_decline_of_the_first_send_counts_sends() -> None:
    """What arrives second goes through, whatever its reference and key."""
    v = Vendor()
    assert v.charge("tok_decline_send_then_ok").status == 402
    assert v.charge("tok_decline_send_then_ok", key="another key").status == 200


def test_timeout_then_ok() -> None:
    """The first send books nothing and is held; a later one goes through."""
    v = Vendor()
    assert v.charge("tok_timeout_then_ok") == Reply(drop=True, hold_s=HELD_S)
    assert (v.read(), v.taken()) == ([], [])
    assert v.charge("tok_timeout_then_ok").status == 200
    assert v.taken() == [("charge", 500)]


def test_lost_response() -> None:
    """Charged, the connection dropped; the replay gets the saved answer."""
    v = Vendor()
    assert v.charge("tok_lost_response") == Reply(drop=True)
    assert v.taken() == [("charge", 500)]
    replay = v.charge("tok_lost_response")
    assert (replay.status, doc(replay)["status"]) == (200, "succeeded")
    assert [c["status"] for c in v.read()] == ["succeeded"]
    assert v.taken() == [("charge", 500)]


def test_500_then_ok() -> None:
    """A 500 before charging is not saved."""
    v = Vendor()
    assert v.charge("tok_500_then_ok").status == 500
    assert v.taken() == []
    assert v.charge("tok_500_then_ok").status == 200


def test_500_after_charge() -> None:
    """Charged, and 500 saved under the key for ever; the read tells."""
    v = Vendor()
    assert [v.charge("tok_500_after_charge").status for _ in range(3)] == [500] * 3
    assert v.taken() == [("charge", 500)]
    assert [c["status"] for c in v.read()] == ["succeeded"]


def test_garbage_response() -> None:
    """Charged; 200 with half a body, the same on every replay; the read tells."""
    v = Vendor()
    first, again = v.charge("tok_garbage_response"), v.charge("tok_garbage_response")
    with pytest.raises(json.JSONDecodeError):
        json.loads(first.body)
    assert (first.status, again.body) == (200, first.body)
    assert [c["status"] for c in v.read()] == ["succeeded"]
    assert v.taken() == [("charge", 500)]


def test_slow_books_when_it_answers_and_refuses_a_second_send_meanwhile() -> None:
    """While the first request is worked on, nothing is booked and the same key gets 409; afterwards it is replayed."""
    v = Vendor()
    body = {"amount": 500, "currency": "INR", "reference": PAYMENT + "0100", "source": "tok_slow_5s"}
    assert v.ask("POST", "/charges", body, key="k") == Reply(hold_s=SLOW_S, resume=True)
    busy = v.ask("POST", "/charges", body, key="k")
    assert (busy.status, doc(busy)["error"]["code"]) == (409, "request_in_progress")
    assert v.ask("POST", "/charges", {**body, "amount": 1}, key="k").status == 400
    assert (v.read(), v.taken()) == ([], [])
    v.now += int(SLOW_S * S)
    done = v.ask("POST", "/charges", body, key="k", resumed=True)
    assert done.status == 200
    assert v.ask("POST", "/charges", body, key="k").body == done.body
    assert v.taken() == [("charge", 500)]


def test_a_key_is_not_busy_for_ever() -> None:
    """If the process died while it worked, the key can be used again soon."""
    v = Vendor()
    v.charge("tok_slow_5s")
    v.now += 11 * S
    assert v.charge("tok_slow_5s").resume


def test_rate_limited() -> None:
    """429 with Retry-After twice, nothing saved, then it goes through."""
    v = Vendor()
    replies = [v.charge("tok_rate_limited") for _ in range(3)]
    assert [(r.status, r.headers.get("retry-after")) for r in replies] == [(429, "1"), (429, "1"), (200, None)]
    assert v.taken() == [("charge", 500)]


def test_wrong_amount() -> None:
    """100 more than asked is taken, and said."""
    v = Vendor()
    assert doc(v.charge("tok_wrong_amount"))["amount"] == 600
    assert v.taken() == [("charge", 600)]


def test_never_resolves() -> None:
    """202 processing for ever, in reads too; nothing is booked."""
    v = Vendor()
    assert [v.charge("tok_never_resolves").status for _ in range(2)] == [202, 202]
    v.now += 100 * 24 * 3600 * S
    assert [c["status"] for c in v.read()] == ["processing"]
    assert v.taken() == []


def test_late_success() -> None:
    """A hard decline that turns out to be a charge ten seconds later, in reads and in the books."""
    v = Vendor()
    declined = v.charge("tok_late_success")
    assert (declined.status, doc(declined)["error"]["decline_code"]) == (402, "late_success_declined")
    v.now += int(LATE_S * S) - 1
    assert [c["status"] for c in v.read()] == ["failed"]
    v.now += 1
    assert [(c["status"], c["decline_code"]) for c in v.read()] == [("succeeded", None)]
    assert v.charge("tok_late_success").body == declined.body
    assert [(m.kind, m.amount, m.at) for m in v.ledger.movements()] == [("charge", 500, "2027-01-15T08:00:10.000000Z")]


def test_refunds() -> None:
    """A refund is keyed, cannot exceed what was taken, and shows in reads and books under its own reference."""
    v = Vendor()
    charge = doc(v.charge())["id"]

    def refund(amount: int, reference: str, charge: str = charge) -> Reply:
        body = {"charge": charge, "amount": amount, "reference": reference}
        return v.ask("POST", "/refunds", body, key=f"refund {reference}")

    first = refund(300, "r1")
    assert refund(300, "r1").body == first.body
    assert [refund(201, "r2").status, refund(200, "r3").status, refund(1, "r4").status] == [400, 200, 400]
    assert [refund(1, "r5", c).status for c in ("ch_000000000999", "", "ch_x", "re_000000000001")] == [400] * 4
    moves = [m for m in v.ledger.movements() if m.kind == "refund"]
    assert [(m.reference, m.refund_reference, m.amount) for m in moves] == [
        (PAYMENT + "0100", "r1", 300),
        (PAYMENT + "0100", "r3", 200),
    ]
    (shown,) = v.read()
    assert (shown["refunded"], [r["reference"] for r in shown["refunds"]]) == (500, ["r1", "r3"])
    assert doc(v.ask("GET", "/refunds?reference=r1"))["data"] == [doc(first)]
    assert doc(v.ask("GET", "/refunds?reference=r2"))["data"] == []


def test_a_declined_charge_cannot_be_refunded() -> None:
    """Only what was taken can be given back."""
    v = Vendor()
    charge = doc(v.charge("tok_decline_stolen_card"))["error"]["charge"]
    assert v.ask("POST", "/refunds", {"charge": charge, "amount": 1, "reference": "r"}, key="k").status == 400


def test_first_times_are_shared_by_processes(tmp_path: Path) -> None:
    """What a token did once it does not do again in another process or after a restart."""
    one, two = Vendor(tmp_path / "l.db"), Vendor(tmp_path / "l.db")
    assert one.charge("tok_500_then_ok").status == 500
    assert two.charge("tok_500_then_ok").status == 200
    one.ledger.close()
    two.ledger.close()
    three = Vendor(tmp_path / "l.db")
    assert three.charge("tok_500_then_ok").headers["idempotent-replayed"] == "true"
    assert three.taken() == [("charge", 500)]
    three.ledger.close()


def test_every_token_is_tested() -> None:
    """A new token needs a test in this file or in the one about holds, refunds and customers."""
    text = "".join(
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in (Path(__file__).name, "test_mock_life.py")
    )
    assert [token for token in TOKENS if f'"{token}"' not in text] == []
