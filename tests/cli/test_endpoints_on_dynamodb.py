"""endpoints, deliveries and events on DynamoDB's tables: as on a file, where a signing key is set; else what to do is said."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.receiver import Receiver

from .conftest import Payonce
from .test_endpoints import good
from .test_on_dynamodb import at_aws, tables

__all__ = ["at_aws", "tables"]

pytestmark = pytest.mark.usefixtures("one_account", "tables")
KEY = "a signing key with more than 32 characters"


def test_endpoints_and_deliveries_on_tables(
    payonce: Payonce, paid: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made, tested against a real receiver, recovered, replayed, removed."""
    monkeypatch.setenv("PAYONCE_WEBHOOK_ALLOW_HOSTS", "127.0.0.1")
    monkeypatch.setenv("PAYONCE_WEBHOOK_SIGNING_KEY", "env:HOOK_KEY")
    monkeypatch.setenv("HOOK_KEY", KEY)
    with Receiver() as shop:
        hook = good(payonce("endpoints", "create", f"{shop.url}/hook", "--json")).json
        assert good(payonce("endpoints", "show", hook["id"], "--secret", "--json")).json == hook
        good(payonce("endpoints", "test", hook["id"]))
        assert len(shop.got) == 1
        (d,) = good(payonce("deliveries", "list", "--json")).json["data"]
        assert (d["state"], d["lastStatus"]) == ("delivered", 204)
        assert good(payonce("deliveries", "replay", d["id"], "--json")).json["state"] == "pending"
        assert good(payonce("endpoints", "recover", hook["id"], "--since", "2026-01-01", "--json")).json == {"deliveries": 0}
        good(payonce("endpoints", "remove", hook["id"]))
        assert good(payonce("endpoints", "list", "--json")).json == {"data": []}


def test_events_on_tables(payonce: Payonce, paid: Callable[..., dict[str, Any]]) -> None:
    """What is listed is what happened, in order; events of the last seconds may wait there, so the page may be short."""
    ids = [paid(token)["transactionId"] for token in ("tok_ok", "tok_stolen")]
    page = good(payonce("events", "list", "--json")).json
    assert [e["data"]["payment"]["transactionId"] for e in page["data"]] == ids[: len(page["data"])]
    assert page["nextCursor"]


def test_without_a_signing_key_it_says_what_to_do(payonce: Payonce, tables: Mapping[str, str]) -> None:
    """No secret can be made there, and nothing is registered; what there is can be looked at."""
    ran = payonce("endpoints", "create", "https://shop.example/hook")
    assert (ran.code, ran.out) == (2, "")
    assert "webhooks.signing_key" in ran.err
    assert good(payonce("endpoints", "list", "--json")).json == {"data": []}
