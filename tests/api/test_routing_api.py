"""GET /routing and POST /routing/dry-run: the rules in words, and which account changed ones would have asked first."""

import asyncio
from pathlib import Path
from typing import Any

from payonce.api.routing import RoutingDoor
from payonce.core.events import digest
from payonce.core.idempotency import Details, NewPayment
from payonce.dryrun import over_last
from payonce.outside import Outside

from .housed import ACCOUNTS, RULES, Housed, housed
from .service import CARD, OTHER, TEST, new_key, problem_of

CHANGED = RULES.replace('use = ["b"]', 'use = ["a"]')


async def dry_run(h: Housed, toml: str, **fields: Any) -> dict[str, Any]:
    answer = await h.client.post("/routing/dry-run", json={"toml": toml, **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_rules_are_told_in_words_and_as_text(tmp_path: Path) -> None:
    """Each rule with its conditions and accounts, what the accounts take, and a text that changes nothing when it is tried."""

    async def check(h: Housed) -> None:
        body = (await h.client.get("/routing")).json()
        assert [(r["title"], r["when"], r["then"]) for r in body["rules"]] == [
            ("rule inr", ["currency INR"], "b, and no other"),
            ("rule 2", [], "a, then any other that takes it"),
        ]
        assert body["origin"] == str(tmp_path / "payonce.toml")
        assert [(a["account"], a["adapter"], a["merchants"]) for a in body["accounts"]] == [
            ("a", "mock", "*"),
            ("b", "mock", "*"),
        ]
        await h.made("k1")
        found = await dry_run(h, body["toml"])
        assert (found["of"], found["changed"], found["reordered"], found["warnings"]) == (1, 0, 0, body["warnings"])

    housed(tmp_path, check)


def test_a_dry_run_counts_and_groups_what_would_have_changed(tmp_path: Path) -> None:
    """Payments of the rule that changed, by where they would have gone, the newest as examples; those that name an account and
    those whose customer data is gone are counted apart; nothing is written."""

    async def check(h: Housed) -> None:
        rupees = [await h.made(f"k{n}") for n in range(7)]
        await h.made("eur", currency="EUR")
        await h.made("named", provider="a")
        gone = await h.made("gone", metadata={"plan": "gold"})
        p = await h.store.get(gone)
        assert p is not None
        del h.store._bodies[gone, p.details_sha256]
        before = [digest(e.raw) for id in rupees for e in await h.store.history(id)]
        found = await dry_run(h, CHANGED)
        counts = {
            name: found[name] for name in ("of", "changed", "reordered", "unroutable", "named", "cannotTell", "truncated")
        }
        assert counts == {
            "of": 10,
            "changed": 7,
            "reordered": 0,
            "unroutable": 0,
            "named": 1,
            "cannotTell": 1,
            "truncated": False,
        }
        assert found["groups"] == [
            {"from": "b", "to": "a", "fromRule": "inr", "toRule": "inr", "count": 7, "examples": rupees[:1:-1]}
        ]
        assert before == [digest(e.raw) for id in rupees for e in await h.store.history(id)]
        assert await h.acts() == []
        assert (await dry_run(h, CHANGED, last=3))["of"] == 3

    housed(tmp_path, check)


def test_what_no_account_could_take_and_what_only_moves_behind(tmp_path: Path) -> None:
    """A payment that no rule would match is unroutable and changed; one with the same first account is reordered only."""

    async def check(h: Housed) -> None:
        await h.made("k1")
        await h.made("k2", currency="EUR")
        found = await dry_run(h, '[[rules]]\nname = "inr"\nwhen = { currency = "INR" }\nuse = ["b"]\n')
        assert (found["changed"], found["reordered"], found["unroutable"]) == (1, 1, 1)
        (group,) = found["groups"]
        assert (group["from"], group["to"], group["fromRule"], group["toRule"]) == ("a", None, "rule 2", None)

    housed(tmp_path, check)


def test_customer_data_decides_as_in_real_routing(tmp_path: Path) -> None:
    """Metadata and the type of the payment method are looked at: the dry run of a rule says what real payments then do."""
    rules = '[[rules]]\nname = "gold"\nwhen = { metadata = { plan = "gold" } }\nuse = ["a"]\n[[rules]]\nuse = ["b"]\n'

    async def before(h: Housed) -> None:
        await h.made("k1", metadata={"plan": "gold"})
        await h.made("k2")
        found = await dry_run(h, rules)
        assert [(g["from"], g["to"], g["toRule"], g["count"]) for g in found["groups"]] == [("b", "a", "gold", 1)]

    async def after(h: Housed) -> None:
        id = await h.made("k1", metadata={"plan": "gold"})
        assert (await h.client.get(f"/payments/{id}")).json()["provider"] == "a"

    housed(tmp_path, before)
    housed(tmp_path, after, ACCOUNTS + rules)


def test_a_bad_text_is_refused_with_line_and_reason(tmp_path: Path) -> None:
    """As problem ``validation_failed`` of the field toml; a card number in it is refused before it is read."""

    async def check(h: Housed) -> None:
        bad = await h.client.post("/routing/dry-run", json={"toml": '\n[[rules]]\nuse = ["aa"]\n'})
        problem = problem_of(bad)
        assert (problem["status"], problem["code"], problem["errors"][0]["field"]) == (422, "validation_failed", "toml")
        said = "the text, line 3: [[rules]] rule 1: use names aa, and there is no such account; did you mean a?"
        assert problem["detail"].startswith(said)
        for body in ({}, {"toml": 1}, {"toml": "", "last": 0}, {"toml": "", "last": 10_001}, {"toml": "", "more": 1}):
            assert problem_of(await h.client.post("/routing/dry-run", json=body))["code"] == "validation_failed"
        card = await h.client.post("/routing/dry-run", json={"toml": f"# {CARD}"})
        assert problem_of(card)["code"] == "card_number_refused"

    housed(tmp_path, check)


def test_it_stops_when_its_time_is_over(tmp_path: Path) -> None:
    """After some of the payments, and says how many there were."""

    async def check(h: Housed) -> None:
        for n in range(45):
            await h.engine.submit(*_wish(), f"k{n}", actor="test")
        present = Outside(accounts=h.house.accounts, rules=h.house.settings.rules)
        run: dict[str, Any] = {"last": 45, "clock": h.house.clock}
        found = await over_last(h.store, TEST, present, present.rules, run_s=0, **run)
        assert (found.of, found.truncated) == (20, True)
        whole = await over_last(h.store, TEST, present, present.rules, **run)
        assert (whole.of, whole.truncated) == (45, False)

    housed(tmp_path, check)


def _wish() -> tuple[Any, Any]:
    return TEST, NewPayment(amount_minor=5, currency="INR", details=Details(payment_method="tok_ok"))


def test_one_at_a_time_and_others_are_served_meanwhile(tmp_path: Path) -> None:
    """A second dry run is told to come later; other requests are answered between the chunks of the first."""

    async def check(h: Housed) -> None:
        for n in range(60):
            await h.engine.submit(*_wish(), f"k{n}", actor="test")
        running = asyncio.create_task(dry_run(h, CHANGED))
        door = next(r.app._handlers["POST"].__self__ for r in h.app.routes if r.path == "/routing/dry-run")  # type: ignore[attr-defined]
        assert isinstance(door, RoutingDoor)
        while not door._running:
            await asyncio.sleep(0)
        second = await h.client.post("/routing/dry-run", json={"toml": CHANGED})
        problem = problem_of(second)
        assert (problem["code"], second.headers["retry-after"]) == ("over_capacity", "2")
        assert not running.done()
        assert (await running)["changed"] == 60
        assert (await dry_run(h, CHANGED))["changed"] == 60

    housed(tmp_path, check)


def test_it_is_for_the_house_only(tmp_path: Path) -> None:
    """To a key of another merchant the paths are not there; a viewer of the house may try rules, as nothing is changed."""

    async def check(h: Housed) -> None:
        viewer, other = await new_key(h.house.keys, TEST, "payments:read"), await new_key(h.house.keys, OTHER)
        assert (await h.client.get("/routing", headers=viewer)).status_code == 200
        assert (await h.client.post("/routing/dry-run", json={"toml": ""}, headers=viewer)).status_code == 200
        for answer in (
            await h.client.get("/routing", headers=other),
            await h.client.post("/routing/dry-run", json={"toml": ""}, headers=other),
        ):
            assert (answer.status_code, problem_of(answer)["detail"]) == (404, "There is nothing under this path.")

    housed(tmp_path, check)
