"""What people are shown of old histories and of providers' words holds no card number and no secret; what is a merchant's own
and harmless is shown to the letter."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import msgspec
import pytest

from payonce.cli import output
from payonce.core.apply import apply
from payonce.core.events import Accepted, Observed, Resolved, digest, seal, unseal
from payonce.core.idempotency import Details
from payonce.core.outcome import NotSent, Rejected, Unknown, Unreadable
from payonce.core.redact import MASK
from payonce.shown.outcomes import told_outcome
from payonce.shown.story import tell
from payonce.shown.views import history_entry, payment_body, provider_body
from tests.fuzz.rows import histories

CARD, KEY = "4111111111111111", "sk_live_abcdefgh1234"


def old_history() -> list[Any]:
    """A history as an earlier version may have written it: a card number as a label and in a provider's words."""
    (accepted,) = [unseal(raw, digest(raw)).envelope.data for raw in histories()[0][:1]]
    assert isinstance(accepted, Accepted)
    first = seal(msgspec.structs.replace(accepted, client_id=CARD), seq=1, at_us=1, actor="api", request_id="", prev="")
    said = f"they say {CARD} and {KEY}"
    return [first, *(seal(event, seq=2, at_us=2, actor="a", request_id="", prev=first.hash) for event in (
        Observed(about=1, outcome=Rejected(reason=said)), Resolved(verdict="not-charged", reason=said)))]  # fmt: skip


def test_an_old_history_folds_and_is_shown_masked() -> None:
    """The bytes and hashes stay as they are; the story, the entries and the payment show neither number nor key."""
    first, *others = old_history()
    p = apply(None, first)
    assert p.client_id == CARD
    details = Details(description=f"for {CARD}", metadata={CARD: f"n {CARD}", "orderId": "1001", "n": 7}, payment_method=CARD)
    shown = [msgspec.json.encode(history_entry(p.id, each)).decode() for each in (first, *others)]
    shown.append(msgspec.json.encode(payment_body(p, details)).decode())
    shown += [line.text for line in tell([first])[1]]
    assert [text for text in shown if CARD in text or KEY in text] == []
    body = payment_body(p, details)
    assert body.metadata["orderId"] == "1001"
    assert body.metadata["n"] == 7
    assert body.client_id == MASK


@pytest.mark.parametrize("kind", [Rejected, NotSent, Unknown, Unreadable])
def test_the_story_masks_what_a_provider_said(kind: Any) -> None:
    """Free texts of outcomes, whatever wrote them."""
    told = told_outcome(kind(reason=f"{CARD} {KEY}"))
    assert CARD not in told
    assert "abcdefgh1234" not in told
    assert MASK in told


def test_of_a_body_is_shown_what_its_adapter_names() -> None:
    """Without the adapter nothing; with it its fields, masked."""

    class Shows:
        def expose(self, body: bytes) -> bytes:
            return msgspec.json.encode({"status": json.loads(body)["status"], "note": f"{CARD}", "api_key": "x"})

    shows: Any = Shows()
    body = b'{"status":"ok","customer":"Ana"}'
    assert provider_body(None, body) == ""
    assert provider_body(shows, body) == {"status": "ok", "note": MASK, "api_key": MASK}


def test_the_command_line_masks_messages_and_tables() -> None:
    """Messages and cells are masked; what is put is data, to the letter: a new key is shown there, once."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        output.say(f"a {CARD} and {KEY}")
        output.say(f"your key {KEY}", secret=True)
        output.table(("A",), [(f"{CARD}\x1b[2J {KEY}",)])
        output.put(KEY)
    assert err.getvalue() == f"a {MASK} and sk_live_{MASK}\nyour key {KEY}\n"
    assert CARD not in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().splitlines()[-1] == KEY
    assert output.clean(CARD) == MASK
