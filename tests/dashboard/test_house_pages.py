"""Webhooks in and out, keys and settings, the record: what they show, what they ask before they act, and to whom."""

import re
from typing import Any

import pytest

from payonce.config import SETTINGS
from payonce.dashboard.typed import TAKEN_OUT
from payonce.mail import Webhook
from payonce.ports import Scope

from .house import House
from .paid import form, pay
from .test_routing_pages import text_of

TEST = Scope("mer_default", "test")
BY: dict[str, Any] = {"actor": "test", "request_id": ""}
FIRST, SECOND = "wh_5t0c2d9e81b7a3460001", "wh_5t0c2d9e81b7a3460002"


@pytest.fixture
def webhooks(house: House) -> str:
    """A matched one and one that was given up, with words that are no words; the payment of the first."""
    payment = pay(house, "hooked").id
    for n, id in enumerate((FIRST, SECOND)):
        said = b'{"event":"payment.captured","note":"<img src=x onerror=alert(1)>","card":"4242424242424242"}'
        at = {"received_us": 1_795_000_000_000_000 + n, "last_us": 1_795_000_000_000_000 + n}
        w = Webhook(id=id, account="razorpay_mock", event=f"evt_{n}", kind="<b>captured</b>", body=said, **at)
        if house.run(house.app.store.inbox.put(w)):
            told: dict[str, Any] = (
                {"state": "matched", "payment_ids": (payment,)} if n == 0 else {"state": "unmatched", "tries": 17}
            )
            settled = Webhook(**{**{f: getattr(w, f) for f in w.__struct_fields__}, **told})
            assert house.run(house.app.store.inbox.settle(settled))
    return payment


def test_the_inbox_is_shown_and_filtered(house: House, webhooks: str) -> None:
    """Newest first, with a link to the payment; by state; hostile words are text."""
    visitor = house.signed_in("payments:read")
    page = visitor.get("/webhooks")
    assert page.status_code == 200, page.text
    assert page.text.index(SECOND) < page.text.index(FIRST)
    assert f'href="/dashboard/payments/{webhooks}"' in page.text
    assert "<b>captured" not in page.text
    only = visitor.get("/webhooks?state=unmatched").text
    assert (SECOND in only, FIRST in only) == (True, False)
    assert "No webhook is like that" in visitor.get("/webhooks?account=nothing").text
    assert visitor.get("/webhooks?state=lost").status_code == 200
    assert visitor.get("/webhooks?cursor=x").status_code == 422


def test_a_webhook_is_shown_without_what_is_secret(house: House, webhooks: str) -> None:
    """Its facts, what its adapter shows of the body, and no way to act for who may only read."""
    visitor = house.signed_in("payments:read")
    page = visitor.get(f"/webhooks/{SECOND}")
    assert page.status_code == 200, page.text
    assert "Its payment was not found in three days" in page.text
    assert "<img" not in page.text.replace('<img src="/dashboard', "")
    assert "4242424242424242" not in page.text
    assert f"/webhooks/{SECOND}/replay" not in page.text
    assert visitor.get(f"/webhooks/{SECOND}/replay").status_code == 403
    assert visitor.get("/webhooks/wh_5t0c2d9e81b7a346zzzz").status_code == 404


def test_another_look_asks_for_a_reason_and_is_on_the_record(house: House, webhooks: str) -> None:
    """Without one nothing is done and the page says so; with one it is due, and the record names who and why."""
    visitor = house.signed_in("admin")
    path = f"/webhooks/{SECOND}/replay"
    page = visitor.get(path)
    assert "It moves no money by itself" in text_of(page.text)
    fields = form(visitor, path)
    refused = visitor.post(path, {**fields, "reason": " "})
    assert (refused.status_code, "must say why" in refused.text) == (422, True)
    found = house.run(house.app.store.inbox.get(SECOND))
    assert found is not None
    assert found.state == "unmatched"
    done = visitor.post(path, {**fields, "reason": "The <row> is restored."})
    assert (done.status_code, done.headers["location"]) == (303, f"/dashboard/webhooks/{SECOND}")
    found = house.run(house.app.store.inbox.get(SECOND))
    assert found is not None
    assert (found.state, found.tries) == ("new", 0)
    record = visitor.get("/record")
    said = text_of(record.text)
    assert "Had a webhook looked up again" in said
    assert "The <row> is restored." in said
    assert f'href="/dashboard/webhooks/{SECOND}"' in record.text


def test_a_card_number_does_not_come_back(house: House, webhooks: str) -> None:
    """In a reason for another look: refused, and not shown again."""
    visitor, path = house.signed_in("admin"), f"/webhooks/{SECOND}/replay"
    refused = visitor.post(path, {**form(visitor, path), "reason": "of 4242424242424242, he said"})
    assert refused.status_code == 422
    assert "4242424242424242" not in refused.text
    assert "of [redacted], he said" in refused.text
    assert TAKEN_OUT in text_of(refused.text)


def test_deliveries_are_shown_and_sent_again_with_a_reason(house: House) -> None:
    """Endpoints with their state, deliveries by state, and one that is sent again; a viewer sees none of it."""
    assert house.app.endpoints is not None
    assert house.app.courier is not None
    hook = house.run(house.app.endpoints.create(TEST, "https://shop.example/<hooks>", (), "the <i>shop</i>", **BY))
    id = house.run(house.app.courier.test(TEST, hook.id, **BY)).id
    visitor = house.signed_in("admin")
    page = visitor.get("/deliveries")
    assert page.status_code == 200, page.text
    assert f"/deliveries/{id}" in page.text
    assert "the <i>shop" not in page.text
    assert "https://shop.example/&lt;hooks&gt;" in page.text
    assert "No delivery is like that" in visitor.get("/deliveries?state=delivered").text
    assert f"/deliveries/{id}" in visitor.get(f"/deliveries?endpoint={hook.id}&state=pending").text
    fields = form(visitor, f"/deliveries/{id}")
    assert visitor.post(f"/deliveries/{id}", {**fields, "reason": ""}).status_code == 422
    done = visitor.post(f"/deliveries/{id}", {**fields, "reason": "They lost it."})
    assert (done.status_code, done.headers["location"]) == (303, f"/dashboard/deliveries/{id}")
    assert "They lost it." in visitor.get("/record").text
    viewer = house.signed_in("payments:read")
    assert [viewer.get(path).status_code for path in ("/deliveries", f"/deliveries/{id}", "/settings", "/record")] == [403] * 4
    house.run(house.app.endpoints.disable(TEST, hook.id, reason="off", **BY))
    assert "Its endpoint is disabled" in visitor.get(f"/deliveries/{id}").text
    refused = visitor.post(f"/deliveries/{id}", {**fields, "reason": "again"})
    assert refused.status_code == 422
    assert "is disabled" in refused.text


def test_keys_and_settings_are_shown_without_a_secret(house: House) -> None:
    """Keys of the merchant, every setting with its origin, accounts; another merchant sees their own keys only."""
    key, token = house.key("payments:write", name="the <b>till</b>")
    theirs, _ = house.key("admin", merchant="mer_other")
    page = house.signed_in("admin").get("/settings").text
    said = text_of(page)
    assert key.id in said
    assert "the <b>till</b>" in said
    assert "<b>till" not in page
    for hidden in (theirs.id, key.salt, key.hash, token):
        assert hidden not in page
    assert all(s.key in said for s in SETTINGS)
    assert re.search(r"server\.port</span></th><td[^>]*><span[^>]*>0</span></td><td[^>]*><b>flag</b>", page)
    other = house.signed_in("admin", merchant="mer_other").get("/settings").text
    assert (theirs.id in other, key.id in other, "server.port" in other) == (True, False, False)


def test_the_record_tells_newest_first(house: House) -> None:
    """Who, what, to what and why, page by page; for the house only."""
    for n in range(60):
        data: dict[str, Any] = {"reason": f"no. {n}.", "expires_us": 1_795_000_000_000_000}
        house.run(house.app.journal.write("account.drained", "razorpay_mock", actor="operator:ann@here", data=data))
    visitor = house.signed_in("admin")
    page = visitor.get("/record")
    said = text_of(page.text)
    assert said.index("no. 59.") < said.index("no. 58.")
    assert "Drained an account" in said
    assert "expires: 18 Nov 2026" in said
    older = re.search(r'href="/dashboard(/record\?cursor=\d+)"', page.text)
    assert older
    rest = text_of(visitor.get(older[1]).text)
    assert "no. 0." in rest
    assert "no. 59." not in rest
    assert house.signed_in("admin", merchant="mer_other").get("/record").status_code == 404
