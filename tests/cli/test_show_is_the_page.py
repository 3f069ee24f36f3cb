"""``payonce show`` and ``GET /payments/{id}/story`` tell the same story, line by line, of payments of every kind."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from payonce.bootstrap import App, open_app
from payonce.config import load
from payonce.serving import api_of, door_of

from .conftest import Payonce

CONFIG: Final = "version = 1\n[providers.mock]\n[providers.cashfree_mock]\n"
ROUNDS: Final = 3
# what is paid -> (fields, what is asked of it when it was worked on: path and body)
KINDS: Final[Mapping[str, tuple[dict[str, Any], tuple[tuple[str, dict[str, Any]], ...]]]] = {
    "declined": ({"paymentMethod": "tok_decline_stolen_card"}, ()),
    "failover": ({"paymentMethod": "tok_decline_then_ok"}, ()),
    "unknown, then resolved": ({"paymentMethod": "tok_lost_response"}, (("check", {"note": "the customer called"}),)),
    "refunded": ({"paymentMethod": "tok_ok"}, (("refunds", {"amount": 250, "note": "one item came back"}),)),
    "captured": ({"paymentMethod": "tok_ok", "captureMethod": "manual"}, (("capture", {"note": "shipped"}),)),
    "voided": ({"paymentMethod": "tok_ok", "captureMethod": "manual"}, (("void", {"note": "out of stock"}),)),
    "customer acts": ({"paymentMethod": "tok_action_ok"}, ()),
    "in doubt": (
        {"paymentMethod": "tok_wrong_amount"},
        (("resolve", {"decision": "not-charged", "reason": "ticket 4711"}),),
    ),
    "not sent": ({"paymentMethod": "tok_ok", "metadata": {"wait": True}}, ()),
}


async def told(app: App) -> dict[str, Any]:
    """The story of one payment of each kind, by what it is."""
    transport = httpx2.ASGITransport(app=api_of(app, door_of(app)))
    stories = {}
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        for kind, (fields, asked) in KINDS.items():
            body = {"amount": 1050, "currency": "INR", **fields}
            made = await client.post("/payments", json=body, headers={"idempotency-key": f"k {kind}".replace(" ", "-")})
            id = made.json()["transactionId"]
            for path, more in (("", {}), *asked):
                if path:
                    headers = {"idempotency-key": f"{path} {kind}".replace(" ", "-")}
                    answer = await client.post(f"/payments/{id}/{path}", json=more, headers=headers)
                    assert answer.status_code in (200, 202), (kind, answer.text)
                for _ in range(0 if kind == "not sent" else ROUNDS):
                    await app.engine.advance(id)
            answer = await client.get(f"/payments/{id}/story")
            assert answer.status_code == 200, answer.text
            stories[kind] = answer.json()
    return stories


@pytest.fixture
def stories(payonce: Payonce, tmp_path: Path, data: Path) -> dict[str, Any]:
    """Of an app over the data folder of the command line."""
    (tmp_path / "payonce.toml").write_text(CONFIG)

    async def go() -> dict[str, Any]:
        async with open_app(load({"store.data_dir": str(data)}, {}), worker=False) as app:
            return await told(app)

    return asyncio.run(go())


def test_show_and_the_page_tell_the_same(payonce: Payonce, stories: dict[str, Any]) -> None:
    """Each line with its call, the state of the money, what to do, and what is due, of every kind of payment."""
    ends = {kind: story["payment"]["status"] for kind, story in stories.items()}
    assert ends == {
        "declined": "FAILED",
        "failover": "PENDING",  # the second one is working on it
        "unknown, then resolved": "SUCCESS",
        "refunded": "SUCCESS",
        "captured": "SUCCESS",
        "voided": "CANCELED",
        "customer acts": "REQUIRES_ACTION",
        "in doubt": "FAILED",
        "not sent": "PENDING",
    }
    for kind, story in stories.items():
        shown = payonce("show", story["payment"]["transactionId"], "--json").json
        assert shown["timeline"] == story["lines"], kind
        assert (shown["money"], shown["next"]) == (story["money"], story["next"]), kind
        assert (shown["due"] or "").split(", ")[0] == (story["due"] or "").split(", ")[0], kind
        assert [h["hash"] for h in shown["history"]] == [line["hash"] for line in story["lines"]], kind
    assert {line["call"]["account"] for line in stories["failover"]["lines"] if line["call"]} == {"mock", "cashfree_mock"}
    text = payonce("show", stories["refunded"]["payment"]["transactionId"]).out
    assert "a refund of 2.50 INR is asked" in text
    assert "because: one item came back" in text
    everything = str(stories)
    assert all(said in everything for said in ("the customer called", "shipped", "out of stock", "ticket 4711"))
