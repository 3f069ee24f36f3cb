"""GET /workers: what waits and who is to do it; for whoever runs payonce only."""

from msgspec.structs import replace

from payonce import __version__
from payonce.config import load
from payonce.mail import Webhook
from payonce.ports import Scope
from payonce.shown.views import stamp
from payonce.stores.memory import MemoryInbox, MemoryStore

from .service import OTHER, START_US, Service, account, engine_over, house_over, new_key, open_door, problem_of, ring, serving

QUIET = {"now": 0, "overdue": 0, "oldestS": None, "nextAt": None}


def test_at_rest() -> None:
    """Version, store, no hold, no worker, nothing due, and every account of the process, others' too."""

    async def check(s: Service) -> None:
        told = (await s.get("/workers")).json()
        assert (told["version"], told["startedAt"], told["store"]) == (__version__, stamp(START_US), load({}, {}).kept_at)
        assert (told["held"], told["worker"], told["trouble"]) == (False, False, None)
        assert all(told[name] == QUIET for name in ("due", "webhooksDue", "notices", "deliveriesDue"))
        assert told["deliveries"] == {"pending": 0, "delivered": 0, "failed": 0, "canceled": 0}
        assert told["inbox"] == {"new": 0, "matched": 0, "parked": 0, "unmatched": 0}
        assert told["accounts"] == [
            {"account": "tiny", "inFlight": 0, "callsMax": None},
            {"account": "their", "inFlight": 0, "callsMax": 3},
        ]

    their = replace(account("their"), merchants=frozenset({OTHER.merchant_id}), calls_max=3)
    serving(check, accounts=(account(), their))


def test_what_is_due_is_counted() -> None:
    """Now and overdue, for how long the oldest, and when the next comes; every merchant's."""

    async def check(s: Service) -> None:
        await s.accepted("k1")
        await s.engine.clock.sleep(90)
        await s.accepted("k2")
        due = (await s.get("/workers")).json()["due"]
        assert (due["now"], due["overdue"], due["oldestS"]) == (2, 1, 90)
        assert due["nextAt"] < (await s.get("/workers")).json()["asOf"]

    serving(check)


def test_what_comes_later_is_not_due() -> None:
    """A payment that waits for its next look is the next, and nothing is due."""

    async def check(s: Service) -> None:
        await s.settled("k1", paymentMethod="tok_lost")
        told = (await s.get("/workers")).json()
        assert (told["due"]["now"], told["due"]["oldestS"]) == (0, None)
        assert told["due"]["nextAt"] > told["asOf"]

    serving(check)


def test_webhooks_that_wait_are_counted() -> None:
    """By state, and those that have to be looked up; a hold, trouble and calls under way are told too."""
    store, inbox = MemoryStore(), MemoryInbox()
    engine = engine_over(store)

    async def trouble() -> str:
        return "its disk is full"

    house = house_over(engine, inbox=inbox, trouble=trouble, worker=True)

    async def check(s: Service) -> None:
        for n, (state, due_us) in enumerate((("new", START_US), ("parked", START_US + 10**12), ("unmatched", None))):
            w = Webhook(id=f"wh_{n:020d}", account="tiny", event=str(n), kind="x", received_us=START_US, last_us=0)
            await inbox.put(replace(w, state=state, due_us=due_us))
        await house.hold.begin()
        with house.lanes.flight("tiny", house.clock):
            told = (await s.get("/workers")).json()
        assert told["inbox"] == {"new": 1, "matched": 0, "parked": 1, "unmatched": 1}
        assert (told["webhooksDue"]["now"], told["webhooksDue"]["nextAt"]) == (1, stamp(START_US))
        assert (told["held"], told["worker"], told["trouble"]) == (True, True, "its disk is full")
        assert told["accounts"][0]["inFlight"] == 1

    serving(check, store=store, house=house)


def test_to_another_merchant_it_is_not_there() -> None:
    """With a key that may do everything: the path is unknown."""
    keys = ring()

    async def check(s: Service) -> None:
        await new_key(keys)
        headers = await new_key(keys, Scope(OTHER.merchant_id, "test"))
        answer = await s.client.get("/workers", headers=headers)
        assert problem_of(answer)["detail"] == problem_of(await s.client.get("/nowhere", headers=headers))["detail"]
        assert answer.status_code == 404

    serving(check, door=lambda engine: open_door(engine, keys=keys))
