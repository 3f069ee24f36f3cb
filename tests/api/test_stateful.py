"""Schemathesis walks through the API along the links of its document, with the key of one merchant, while another one knocks
with every id that the first one has."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from payonce.api.app import create_app
from payonce.api.links import LINKS
from payonce.api.openapi import document, operations
from payonce.api.rights import NEEDS
from payonce.outbound.endpoints import ACTIVE_AFTER_US
from payonce.stores.memory import MemoryRegistry, MemoryStore

from .service import OTHER, TEST, TickingClock, all_ok, engine_over, new_key, open_door, ring, telling

WALKS, STEPS = 100, 10
STARTS: Final = {
    ("/payments", "POST"): {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok"},
    ("/webhook-endpoints", "POST"): {"url": ""},
}
OPERATIONS: Final = {operation["operationId"]: (path, method.upper()) for path, method, operation in operations()}
LED: Final = {name for told in LINKS.values() for names, _ in told for name in names}

_numbers: Iterator[int] = itertools.count()
store, registry = MemoryStore(), MemoryRegistry()
engine = engine_over(store)
keys = ring(registry, engine.clock)
MINE, THEIRS = asyncio.run(new_key(keys)), asyncio.run(new_key(keys, OTHER))
endpoints, courier = telling(engine, store, registry)
app = create_app(engine, door=open_door(engine, keys=keys), ready=all_ok, endpoints=endpoints, courier=courier)
schema = schemathesis.openapi.from_asgi("/openapi.json", app)
Walk: Any = schema.as_state_machine()


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
    manual = False
    seen: Counter[str] = Counter()

    def get_call_kwargs(self, case: Any) -> dict[str, Any]:
        return {"headers": MINE}

    def before_call(self, case: Any) -> None:
        """What no schema can say of a good request: one fresh key, a public address, an amount that there is, a clock."""
        made = case.meta.generation.mode == GenerationMode.POSITIVE
        if made and case.method.upper() == "POST" and case.path.startswith("/payments"):
            case.headers["Idempotency-Key"] = f"fresh-{next(_numbers)}"
            if isinstance(case.body, dict):
                case.body = {k: v for k, v in case.body.items() if k not in ("idempotencyKey", "provider")}
                case.body |= {"amount": 1} if "{" in case.path and case.body.get("amount") else {}
        if made and (case.path, case.method.upper()) in STARTS:
            Walking.manual = not Walking.manual
            manual = {"captureMethod": "manual"} if Walking.manual else {}
            case.body = dict(STARTS[case.path, case.method.upper()]) | (manual if case.path == "/payments" else {})
        if made and isinstance(case.body, dict) and case.body.get("url") is not None:
            case.body = {**case.body, "url": f"https://shop.example/{next(_numbers)}"}
        self.knock(case)

    def knock(self, case: Any) -> None:
        """The other merchant is told of nothing, first: whatever is there afterwards, it was there for the one who has it."""
        self.theirs = None
        if case.method.upper() in NEEDS[case.path] and NEEDS[case.path][case.method.upper()] and "{" in case.path:
            self.theirs = case.call(headers=THEIRS)
            assert self.theirs.status_code >= 400, (case.path, self.theirs.status_code)

    def after_call(self, response: Any, case: Any) -> None:
        super().after_call(response, case)
        Walking.seen[f"{case.method} {case.path} {response.status_code} {case.meta.generation.mode.value}"] += 1
        if not 200 <= response.status_code < 300:
            return
        name = next((n for n, at in OPERATIONS.items() if at == (case.path, case.method.upper())), "")
        Walking.done[name] += 1
        if self.theirs is not None:
            assert (self.theirs.status_code, self.theirs.json()["code"]) == (404, "not_found"), case.path
            Walking.refused += 1
        if case.path.startswith("/payments") and response.status_code == 202:
            asyncio.run(engine.advance(response.json()["transactionId"]))
        if name == "createWebhookEndpoint" and isinstance(engine.clock, TickingClock):
            engine.clock.at_us += ACTIVE_AFTER_US

    def validate_response(self, response: Any, case: Any, additional_checks: Any = None, **kwargs: Any) -> None:
        """What the state of a payment or endpoint refuses is no fault of the request."""
        case.validate_response(
            response, excluded_checks=[positive_data_acceptance], transport_kwargs=kwargs or None, recorder=self.recorder
        )

    def teardown(self) -> None:
        """Room for the endpoints of the next walk, and nothing that the other one could list."""
        asyncio.run(self.tidy())

    async def tidy(self) -> None:
        by = {"actor": "test", "request_id": ""}
        for each in await endpoints.all(TEST):
            await endpoints.remove(TEST, each.id, **by)
        assert await endpoints.all(OTHER) == ()
        assert (await store.feed(OTHER, 1)).entries == ()


def test_a_walk_along_the_links_finds_nothing() -> None:
    """Every answer is as documented, none is a 5xx, a key that is missing or wrong opens nothing, and to the other merchant no
    id is there. All that a link leads to was done, each at least once."""
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
    print(Walking.done, Walking.refused, *sorted(Walking.seen.items()), sep="\n")
    assert LED - set(Walking.done) == set()
    assert Walking.refused >= len(LED)
    assert document()["paths"]
