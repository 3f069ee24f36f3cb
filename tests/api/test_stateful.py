"""Schemathesis walks through the API along the links of its document, with the key of one merchant, while another one knocks
with every id that the first one has."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from msgspec.structs import replace
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from payonce.api.app import create_app
from payonce.api.described.links import LINKS
from payonce.api.openapi import operations
from payonce.api.rights import NEEDS
from payonce.core.idempotency import Details, NewPayment
from payonce.merchants.keys import Keyring
from payonce.outbound.endpoints import ACTIVE_AFTER_US
from payonce.ports import Filters
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import OTHER, TEST, TickingClock, account, all_ok, engine_over, house_over, new_key, open_door, ring, telling

WALKS, STEPS = 100, 10
DONE_MIN: Final = 12  # of the operations that links lead to; with this document it is 18 of 21
BY: Final[dict[str, Any]] = {"actor": "test", "request_id": ""}
STARTS: Final = {
    ("/payments", "POST"): {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok"},
    ("/webhook-endpoints", "POST"): {"url": ""},
}
OPERATIONS: Final = {operation["operationId"]: (path, method.upper()) for path, method, operation in operations()}
LED: Final = {name for told in LINKS.values() for names, _ in told for name in names}


class World:
    """A service with two merchants who have a key each; the first has a charged payment and an endpoint that was told of it, so
    that no listing leads nowhere. Fresh for each walk: what a walk finds must not depend on those before."""

    def __init__(self) -> None:
        self.store, registry = MemoryStore(), MemoryRegistry()
        own = replace(account(), merchants=frozenset({TEST.merchant_id}))
        self.engine = engine_over(self.store, own)
        keys = ring(registry, self.engine.clock)
        self.endpoints, self.courier = telling(self.engine, self.store, registry)
        door = open_door(self.engine, keys=keys)
        told: dict[str, Any] = {"endpoints": self.endpoints, "courier": self.courier}
        self.app = create_app(self.engine, door=door, ready=all_ok, house=house_over(self.engine, registry), **told)
        self.numbers: Iterator[int] = itertools.count()
        asyncio.run(self.begin(keys))

    async def begin(self, keys: Keyring) -> None:
        self.mine, self.theirs = await new_key(keys), await new_key(keys, OTHER)
        hook = await self.endpoints.create(TEST, f"https://shop.example/{next(self.numbers)}", (), "", **BY)
        await self.courier.test(TEST, hook.id, **BY)
        wish = NewPayment(amount_minor=1050, currency="INR", details=Details(payment_method="tok_ok"))
        p = (await self.engine.submit(TEST, wish, f"fresh-{next(self.numbers)}", actor="test")).payment
        await self.engine.advance(p.id)


world = World()


async def front(scope: Any, receive: Any, send: Any) -> None:
    """The application of the walk that is under way."""
    await world.app(scope, receive, send)


schema = schemathesis.openapi.from_asgi("/openapi.json", front)
schema.config.phases.stateful.inference.algorithms = []  # the links of the document, and no guesses
Walk: Any = schema.as_state_machine()
for rule in [name for name in vars(Walk) if name.startswith("RANDOM") and "_id_" in name]:
    delattr(Walk, rule)  # a walk begins with an id that there is: those of nothing are for other tests


def test_links_lead_to_operations_with_their_parameters() -> None:
    """Each link names an operation of the document, gives all parameters of its path, and each operation that takes an id of
    ours can be reached."""
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            for link in response.get("links", {}).values():
                where, _ = OPERATIONS[link["operationId"]]
                assert {f"{{{name}}}" for name in link["parameters"]} == {p for p in where.split("/") if p.startswith("{")}
            assert bool(response.get("links")) == ((operation["operationId"], status) in LINKS), (path, method)
    taking = {name for name, (path, method) in OPERATIONS.items() if "{" in path and NEEDS[path][method]}
    assert taking == LED


class Walking(Walk):  # type: ignore[misc]
    """Walks with MINE. What was asked is worked on at once, as if a worker ran."""

    done: Counter[str] = Counter()
    refused = 0

    def setup(self) -> None:
        global world  # noqa: PLW0603 - the application is known to the schema by its front
        world = World()

    def get_call_kwargs(self, case: Any) -> dict[str, Any]:
        return {"headers": world.mine}

    def before_call(self, case: Any) -> None:
        """What no schema can say of a good request: one fresh key, a public address, an amount that there is, a clock."""
        made = case.meta.generation.mode == GenerationMode.POSITIVE
        if made and case.method.upper() == "POST" and case.path.startswith("/payments"):
            case.headers["Idempotency-Key"] = f"fresh-{next(world.numbers)}"
            if isinstance(case.body, dict):
                case.body = {k: v for k, v in case.body.items() if k not in ("idempotencyKey", "provider")}
                case.body |= {"amount": 1} if "{" in case.path and case.body.get("amount") else {}
        if made and case.query:  # filters are not for walks: they would end here
            case.query = {name: value for name, value in case.query.items() if name in ("limit", "secret")}
        if made and (case.path, case.method.upper()) in STARTS:
            manual = {"captureMethod": "manual"} if next(world.numbers) % 2 else {}
            case.body = dict(STARTS[case.path, case.method.upper()]) | (manual if case.path == "/payments" else {})
        if made and isinstance(case.body, dict) and case.body.get("url") is not None:
            case.body = {**case.body, "url": f"https://shop.example/{next(world.numbers)}"}
        self.knock(case)

    def knock(self, case: Any) -> None:
        """The other merchant is told of nothing, first: whatever is there afterwards, it was there for the one who has it."""
        self.theirs = None
        if case.method.upper() in NEEDS[case.path] and NEEDS[case.path][case.method.upper()] and "{" in case.path:
            self.theirs = case.call(headers=world.theirs)
            assert self.theirs.status_code >= 400, (case.path, self.theirs.status_code)

    def after_call(self, response: Any, case: Any) -> None:
        super().after_call(response, case)
        if not 200 <= response.status_code < 300:
            return
        name = next((n for n, at in OPERATIONS.items() if at == (case.path, case.method.upper())), "")
        Walking.done[name] += 1
        if self.theirs is not None:
            assert (self.theirs.status_code, self.theirs.json()["code"]) == (404, "not_found"), case.path
            Walking.refused += 1
        if case.path.startswith("/payments") and response.status_code == 202:
            asyncio.run(world.engine.advance(response.json()["transactionId"]))
        if name == "createWebhookEndpoint" and isinstance(world.engine.clock, TickingClock):
            world.engine.clock.at_us += ACTIVE_AFTER_US

    def validate_response(self, response: Any, case: Any, additional_checks: Any = None, **kwargs: Any) -> None:
        """What the state of a payment or endpoint refuses is no fault of the request."""
        case.validate_response(
            response, excluded_checks=[positive_data_acceptance], transport_kwargs=kwargs or None, recorder=self.recorder
        )

    def teardown(self) -> None:
        """The other one has got nothing by knocking."""
        asyncio.run(self.theirs_is_nothing())

    async def theirs_is_nothing(self) -> None:
        assert await world.endpoints.all(OTHER) == ()
        assert (await world.store.feed(OTHER, 1)).entries == ()
        assert (await world.store.list(OTHER, Filters(), 1)).payments == ()


def test_a_walk_along_the_links_finds_nothing() -> None:
    """Every answer is as documented, none is a 5xx, a key that is missing or wrong opens nothing, and to the other merchant no
    id is there. The walks came far: most of what links lead to was done."""
    assert ignored_auth in schemathesis.checks.CHECKS.get_all()
    Walking.run(
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            phases=[Phase.generate],
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
    )
    assert len(LED & set(Walking.done)) >= DONE_MIN, Walking.done
    assert Walking.refused >= 2 * WALKS
