"""webhooks list, show, replay: on a real store, without a server."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.mail import Webhook
from payonce.stores.sqlite import open_store
from payonce.testing.inbox_contract import webhook

from .conftest import Payonce, Ran

pytestmark = pytest.mark.usefixtures("one_account")

CARD = "4242424242424242"
Keep = Callable[..., list[Webhook]]


@pytest.fixture
def keep(data: Path) -> Keep:
    """Put webhooks into the store of the test; what is there afterwards."""

    def put(*webhooks: Webhook) -> list[Webhook]:
        async def main() -> list[Webhook]:
            data.mkdir(exist_ok=True)
            store = await open_store(data / "payments.db")
            for each in webhooks:
                await store.inbox.put(each)
                await store.inbox.settle(each)
            shown = (await store.inbox.list(100)).webhooks
            rows = [await store.inbox.get(w.id) for w in shown]
            await store.close()
            return [row for row in rows if row]

        return asyncio.run(main())

    return put


def ids(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [row["id"] for row in ran.json["webhooks"]]


def some() -> list[Webhook]:
    """One of each state, at two accounts."""
    body = json.dumps({"id": "evt_1", "type": "paid", "data": {"id": "ch_1", "name": "Asha"}, "secret": "x"}).encode()
    return [
        webhook(1, state="matched", payment_ids=("pay_1", "pay_2"), due_us=None, body=body),
        webhook(2, state="parked", tries=3),
        webhook(3, state="unmatched", tries=17, due_us=None, account="other"),
        webhook(4),
    ]


def test_list_shows_the_newest_first_with_their_state(payonce: Payonce, keep: Keep) -> None:
    """Tab-separated, a row each; --json has the same and where to go on."""
    keep(*some())
    lines = [line.split("\t") for line in payonce("webhooks", "list").out.splitlines()]
    assert lines[0][:6] == ["ID", "ACCOUNT", "KIND", "STATE", "PAYMENT", "DELIVERIES"]
    assert [line[3] for line in lines[1:]] == ["new", "unmatched", "parked", "matched"]
    assert lines[4][4] == "pay_1,pay_2"
    first = payonce("webhooks", "list", "--limit", "3", "--json")
    assert first.json["webhooks"][2]["tries"] == 3
    rest = payonce("webhooks", "list", "--limit", "3", "--json", "--cursor", first.json["nextCursor"])
    assert [*ids(first), *ids(rest)] == [webhook(n).id for n in (4, 3, 2, 1)]
    assert rest.json["nextCursor"] is None


def test_list_can_be_narrowed(payonce: Payonce, keep: Keep) -> None:
    """By state and by account; nothing that matches is said, and is no failure."""
    keep(*some())
    assert ids(payonce("webhooks", "list", "--state", "parked", "--json")) == [webhook(2).id]
    assert ids(payonce("webhooks", "list", "--account", "other", "--json")) == [webhook(3).id]
    none = payonce("webhooks", "list", "--state", "new", "--account", "other")
    assert (none.code, none.err) == (0, "No webhook matches.\n")


def test_show_tells_what_it_names_and_what_became_of_it(payonce: Payonce, keep: Keep) -> None:
    """Its names and headers, and of the body only what the adapter shows, secrets masked."""
    keep(*some())
    ran = payonce("webhooks", "show", webhook(1).id)
    assert ran.code == 0
    for words in ("charge.succeeded", "matched", "pay_1, pay_2", "ch_1, order_1", "content-type: application/json", "evt_1"):
        assert words in ran.out
    assert "secret" not in ran.out
    whole = payonce("webhooks", "show", webhook(1).id, "--json").json
    assert (whole["references"], whole["headers"]) == (["a" * 24], {"content-type": "application/json"})
    assert whole["body"]["id"] == "evt_1"
    assert "secret" not in whole["body"]


def test_show_shows_nothing_of_what_no_adapter_knows(payonce: Payonce, keep: Keep) -> None:
    """An account that is gone from the configuration: nobody can say what of the body may be shown, so nothing is."""
    body = json.dumps({"card": CARD, "password": "hunter22", "note": "a\x1b[31mb"}).encode()
    keep(webhook(1, account="gone", body=body), webhook(2, account="gone", body=b"x=\x1b[31m&card=%s\xff" % CARD.encode()))
    for n in (1, 2):
        ran = payonce("webhooks", "show", webhook(n).id)
        assert (ran.code, "may be shown" in ran.out) == (0, True)
        assert not any(word in ran.out for word in (CARD, "hunter22", "note", "\x1b"))
    keep(webhook(3, body=b""))
    assert "Nothing of its 0 bytes may be shown." in payonce("webhooks", "show", webhook(3).id).out


def test_replay_makes_one_due_again(payonce: Payonce, keep: Keep) -> None:
    """Whatever became of it: new, with all tries before it; the others are left alone."""
    before = keep(*some())
    ran = payonce("webhooks", "replay", webhook(3).id)
    assert (ran.code, ran.out) == (0, "1 webhook will be looked up again.\n")
    after = {w.id: w for w in keep()}
    row = after.pop(webhook(3).id)
    assert (row.state, row.tries, row.payment_ids) == ("new", 0, ())
    assert row.due_us is not None
    assert list(after.values()) == [w for w in before if w.id != row.id]
    assert payonce("webhooks", "replay", webhook(1).id, "--json").json == {"replayed": [webhook(1).id]}


def test_replay_parked_takes_all_without_a_payment(payonce: Payonce, keep: Keep) -> None:
    """Parked and unmatched ones, however many; those that are matched or new are as they were."""
    keep(*some(), *(webhook(n, state="parked", tries=1) for n in range(10, 215)))
    ran = payonce("webhooks", "replay", "--parked", "--json")
    assert len(ran.json["replayed"]) == 207
    assert ids(payonce("webhooks", "list", "--state", "parked", "--json")) == []
    assert ids(payonce("webhooks", "list", "--state", "unmatched", "--json")) == []
    assert ids(payonce("webhooks", "list", "--state", "matched", "--json")) == [webhook(1).id]
    assert payonce("webhooks", "replay", "--parked").out == "0 webhooks will be looked up again.\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("show", "wh_nothing"), 3, "there is no webhook"),
        (("replay", "wh_nothing"), 3, "Nothing was changed"),
        (("replay",), 2, "--parked"),
        (("replay", "wh_1", "--parked"), 2, "--parked"),
        (("list", "--limit", "0"), 2, "1 to 100"),
        (("list", "--cursor", "x"), 2, "--cursor"),
        (("list", "--state", "lost"), 2, "unmatched"),
    ],
)
def test_what_is_wrong_is_said(payonce: Payonce, keep: Keep, args: tuple[str, ...], code: int, said: str) -> None:
    """One message with what to do, nothing on standard output, and the exit code that stands for it."""
    keep(webhook(1))
    ran = payonce("webhooks", *args)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_mistyped_folder_is_no_empty_inbox(payonce: Payonce) -> None:
    """Where there is no store nothing is listed or made."""
    for args in (("list",), ("show", "wh_1"), ("replay", "--parked")):
        ran = payonce("webhooks", *args)
        assert (ran.code, "there is no store" in ran.err) == (2, True)


def test_replay_wins_against_a_worker_that_settles(data: Path, keep: Keep) -> None:
    """A row that changes between the look and the write is looked at again: the replay is not lost."""
    from payonce.inbox import replay

    keep(webhook(1, state="parked", tries=1))

    async def main() -> None:
        store = await open_store(data / "payments.db", executor="inline")
        inbox, raced = store.inbox, 0
        settle: Any = inbox.settle

        async def race(webhook: Webhook) -> bool:
            nonlocal raced
            raced += 1
            if raced == 1:
                assert await settle(replace(webhook, state="unmatched", due_us=None))
            return bool(await settle(webhook))

        inbox.settle = race  # type: ignore[method-assign]
        assert await replay(inbox, webhook(1).id, 7)
        row = await inbox.get(webhook(1).id)
        assert row is not None
        assert (row.state, row.due_us, raced) == ("new", 7, 2)
        await store.close()

    asyncio.run(main())


def test_doctor_says_who_takes_no_webhooks(payonce: Payonce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account at a real provider without a webhook secret gets a hint with its fix; one with a secret, and the sandbox,
    get none."""
    monkeypatch.setenv("MOCK_SECRET", "sandbox-key")
    monkeypatch.setenv("MOCK_HOOK", "whsec_1234567890")
    real = 'adapter = "mock"\nbase_url = "http://127.0.0.1:9"\nsecret = "env:MOCK_SECRET"\n'
    (tmp_path / "payonce.toml").write_text(
        f'version = 1\n[providers.mock]\n[providers.deaf]\n{real}[providers.hears]\n{real}webhook_secret = "env:MOCK_HOOK"\n'
    )
    checks = {c["name"]: c for c in payonce("doctor", "--json").json["checks"]}
    assert [name for name in checks if name.startswith("webhooks ")] == ["webhooks deaf"]
    found = checks["webhooks deaf"]
    assert (found["state"], "webhook_secret" in found["says"], "/webhooks/deaf" in found["fix"]) == ("warn", True, True)


def test_doctor_says_when_webhooks_were_given_up(payonce: Payonce, keep: Keep) -> None:
    """An unmatched one is a warning with the way to it; parked ones are still looked up and are none."""
    keep(webhook(2, state="parked", tries=1))
    for state, given_up in (("ok", []), ("warn", [webhook(3, state="unmatched", due_us=None)])):
        keep(*given_up)
        (found,) = (c for c in payonce("doctor", "--json").json["checks"] if c["name"] == "webhooks")
        assert (found["state"], bool(found["fix"])) == (state, state == "warn")
        assert "1 parked" in found["says"]
