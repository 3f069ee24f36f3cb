"""The inbox over HTTP: newest first, one with what of it may be shown, and another look with a reason; and the list of all
deliveries to merchants."""

from pathlib import Path
from typing import Any

from .housed import Housed, housed
from .service import CARD, OTHER, START_US, TEST, new_key, problem_of

FIRST, SECOND, THIRD = (f"wh_5t0c2d9e81b7a346000{n}" for n in range(3))
BY: dict[str, Any] = {"actor": "test", "request_id": ""}


async def three(h: Housed, payment: str) -> None:
    """A matched one, one that was given up, and one of another account."""
    await h.heard(FIRST, state="matched", payment_ids=(payment,), due_us=None, refs=("ch_1",))
    await h.heard(SECOND, state="unmatched", tries=17, due_us=None, received_us=START_US + 1, kind="<b>odd</b>")
    await h.heard(THIRD, account="b", received_us=START_US + 2)


def test_the_inbox_is_listed_newest_first(tmp_path: Path) -> None:
    """With filters by state and account, page by page; without bodies."""

    async def check(h: Housed) -> None:
        payment = await h.made("k1")
        await three(h, payment)
        body = (await h.client.get("/inbox")).json()
        assert [(w["id"], w["state"], w["payments"]) for w in body["data"]] == [
            (THIRD, "new", []),
            (SECOND, "unmatched", []),
            (FIRST, "matched", [payment]),
        ]
        assert "body" not in body["data"][0]
        for query, ids in (({"state": "unmatched"}, [SECOND]), ({"account": "b"}, [THIRD]), ({"state": "parked"}, [])):
            found = (await h.client.get("/inbox", params=query)).json()
            assert [w["id"] for w in found["data"]] == ids
        page = (await h.client.get("/inbox", params={"limit": "2"})).json()
        rest = (await h.client.get("/inbox", params={"limit": "2", "cursor": page["nextCursor"]})).json()
        assert ([w["id"] for w in rest["data"]], rest["nextCursor"]) == ([FIRST], None)
        for query in ({"cursor": "x"}, {"state": "lost"}, {"limit": "0"}, {"more": "1"}):
            assert problem_of(await h.client.get("/inbox", params=query))["code"] == "validation_failed"

    housed(tmp_path, check)


def test_a_webhook_shows_what_its_adapter_shows_masked(tmp_path: Path) -> None:
    """Secrets and card numbers are gone; an account that is not configured any more shows nothing of the body."""

    async def check(h: Housed) -> None:
        said = f'{{"event":"captured","card":"{CARD}","api_key":"sk_live_hushhushhush"}}'.encode()
        await h.heard(FIRST, body=said, headers=(("content-type", "application/json"),), references=("abc",))
        await h.heard(SECOND, account="was", body=said)
        body = (await h.client.get(f"/inbox/{FIRST}")).json()
        assert body["body"] == {"event": "captured", "card": "[redacted]", "api_key": "[redacted]"}
        assert (body["bodyBytes"], body["headers"], body["references"]) == (
            len(said),
            {"content-type": "application/json"},
            ["abc"],
        )
        assert (await h.client.get(f"/inbox/{SECOND}")).json()["body"] == ""
        assert problem_of(await h.client.get(f"/inbox/{THIRD}"))["code"] == "not_found"

    housed(tmp_path, check)


def test_another_look_is_on_the_journal_with_its_reason(tmp_path: Path) -> None:
    """The webhook is due at once, as new, and the workers are told; without a reason nothing is done."""

    async def check(h: Housed) -> None:
        await three(h, await h.made("k1"))
        h.woken.ids.clear()
        for body in ({}, {"reason": " "}, {"reason": "x" * 201}, {"reason": "a\nb"}, {"why": "x"}):
            assert problem_of(await h.client.post(f"/inbox/{SECOND}/replay", json=body))["code"] == "validation_failed"
        assert (await h.acts(), h.woken.ids) == ([], [])
        answer = await h.client.post(f"/inbox/{SECOND}/replay", json={"reason": "The row is restored."})
        assert (answer.status_code, answer.json()["state"], answer.json()["tries"]) == (202, "new", 0)
        assert answer.json()["dueAt"] is not None
        assert await h.acts() == [
            ("webhook.replayed", SECOND, {"reason": "The row is restored.", "account": "a", "was": "unmatched"})
        ]
        assert h.woken.ids == [SECOND]
        unknown = await h.client.post("/inbox/wh_5t0c2d9e81b7a3460zzz/replay", json={"reason": "x"})
        assert (unknown.status_code, len(await h.acts())) == (404, 1)

    housed(tmp_path, check)


def test_the_inbox_is_the_houses_and_replay_an_admins(tmp_path: Path) -> None:
    """Another merchant finds nothing under any of the paths; who may only read may not replay."""

    async def check(h: Housed) -> None:
        await three(h, await h.made("k1"))
        viewer, other = await new_key(h.house.keys, TEST, "payments:read"), await new_key(h.house.keys, OTHER)
        assert (await h.client.get(f"/inbox/{FIRST}", headers=viewer)).status_code == 200
        refused = await h.client.post(f"/inbox/{FIRST}/replay", json={"reason": "x"}, headers=viewer)
        assert problem_of(refused)["code"] == "scope_missing"
        for method, path in (("GET", "/inbox"), ("GET", f"/inbox/{FIRST}"), ("POST", f"/inbox/{FIRST}/replay")):
            answer = await h.client.request(method, path, json={"reason": "x"} if method == "POST" else None, headers=other)
            assert (answer.status_code, problem_of(answer)["detail"]) == (404, "There is nothing under this path.")
        assert await h.acts() == []

    housed(tmp_path, check)


def test_all_deliveries_of_a_merchant_are_listed(tmp_path: Path) -> None:
    """To every endpoint, newest first, with filters and pages; one's own only."""

    async def check(h: Housed) -> None:
        one = await h.endpoints.create(TEST, "https://shop.example/1", (), "", **BY)
        two = await h.endpoints.create(TEST, "https://shop.example/2", (), "", **BY)
        theirs = await h.endpoints.create(OTHER, "https://shop.example/3", (), "", **BY)
        ids = [(await h.courier.test(TEST, e.id, **BY)).id for e in (one, two, one)]
        await h.courier.test(OTHER, theirs.id, **BY)
        body = (await h.client.get("/webhook-deliveries")).json()
        assert [d["id"] for d in body["data"]] == ids[::-1]
        for query, found in (
            ({"endpoint": two.id}, [ids[1]]),
            ({"endpoint": theirs.id}, []),
            ({"state": "failed"}, []),
            ({"payment": "pay_06gywnk043sq5zmmz0n0"}, []),
            ({"limit": "1"}, [ids[2]]),
        ):
            assert [d["id"] for d in (await h.client.get("/webhook-deliveries", params=query)).json()["data"]] == found
        assert problem_of(await h.client.get("/webhook-deliveries", params={"cursor": "x"}))["code"] == "validation_failed"

    housed(tmp_path, check)


def test_a_delivery_is_sent_again_with_a_reason_on_the_journal(tmp_path: Path) -> None:
    """The reason stands in the journal with the replay, which is written first; without one the replay alone does."""

    async def check(h: Housed) -> None:
        hook = await h.endpoints.create(TEST, "https://shop.example/1", (), "", **BY)
        id = (await h.courier.test(TEST, hook.id, **BY)).id
        before = len(await h.acts())
        assert (await h.client.post(f"/webhook-deliveries/{id}/replay")).status_code == 202
        answer = await h.client.post(f"/webhook-deliveries/{id}/replay", json={"reason": "They lost it."})
        assert answer.status_code == 202
        assert [(what, data) for what, subject, data in (await h.acts())[before:] if subject == id] == [
            ("delivery.replayed", {}),
            ("delivery.replayed", {"reason": "They lost it."}),
        ]
        bad = await h.client.post(f"/webhook-deliveries/{id}/replay", json={"reason": "a\nb"})
        assert problem_of(bad)["code"] == "validation_failed"

    housed(tmp_path, check)
