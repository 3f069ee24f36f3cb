"""What a release is kept with: payments of every kind on a real file, made by that release's own code, which is first on
the path when ``tools/release.py`` runs this. The same seed gives the same rows.

    python -m tests.releases.workload .../payonce/testing/versions.py FOLDER SEED
"""

import asyncio
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from payonce.core.events import Asked
from payonce.core.idempotency import normalise
from payonce.sandbox.faults import Profile
from payonce.sandbox.simulator import Reply, Request

from .world import Killed, S, Spell, Storm, World

START_US = 1_795_600_000 * S  # 2026-11-25
OPERATED_S, LATE_S = 75, 85  # after the horizon of sandbox accounts; when the last payments come
STRANGERS = "mer_other"
Body = Mapping[str, Any]


def pay(token: str, provider: str = "", amount: int = 1050, currency: str = "INR", **more: Any) -> Body:
    """A request as a client sends it."""
    named = {"provider": provider} if provider else {}
    return {"amount": amount, "currency": currency, "paymentMethod": token, **named, **more}


# key -> the request. What takes a minute to its end, or cannot come to one.
EARLY: Mapping[str, Body] = {
    "ok-mock": pay(
        "tok_ok", "mock", clientId="shop-7", description="Order 1001", metadata={"orderId": "1001", "express": True}
    ),
    "ok-razorpay": pay("tok_ok", currency="inr"),
    "late": pay("tok_late_success"),  # a hold that is left; then declined, charged all the same, given back
    "wrong-mock": pay("tok_wrong_amount", "mock"),
    "wrong-charged": pay("tok_wrong_amount", "cashfree_mock"),
    "wrong-not-charged": pay("tok_wrong_amount", "razorpay_mock"),
    "wrong-reversed": pay("tok_wrong_amount", "mock", amount=770),
    "never-mock": pay("tok_never_resolves", "mock"),
    "canceled": pay("tok_ok", "mock"),
    "restored": pay("tok_ok", "mock"),
}
# What comes to its end at once, or nearly: some of it is still watched when the release is kept.
SOON: Mapping[str, Body] = {
    "ok-cashfree": pay("tok_ok", "cashfree_mock", currency="USD"),
    "ok-kind": pay("tok_ok", "mock", paymentMethod={"type": "card", "token": "tok_ok"}, clientId="Łódź ☂"),
    "hard-decline": pay("tok_decline_stolen_card", "mock"),
    "goes-on": pay("tok_decline_then_ok"),
    "lost-answer": pay("tok_lost_response", "mock"),
    "garbage": pay("tok_garbage_response", "cashfree_mock"),
}
# key -> (the request, in which call the process dies: a part of its path, before it or after)
CUT: Mapping[str, tuple[Body, str, str]] = {
    "cut-capture": (pay("tok_ok"), "/capture", "after"),
    "cut-create": (pay("tok_ok"), "/orders", "after"),
    "cut-fire": (pay("tok_ok"), "/payments/create", "after"),
    "cut-cashfree": (pay("tok_ok", "cashfree_mock"), "/orders/sessions", "after"),
    "cut-unsent": (pay("tok_ok", "mock"), "/charges", "before"),
    "cut-charged": (pay("tok_ok", "mock"), "/charges", "after"),
}
# When nothing of it is done yet: cashfree is out, razorpay drained.
LAST: Mapping[str, Body] = {
    "out-1": pay("tok_ok", "cashfree_mock"),
    "out-2": pay("tok_decline_expired_card", "cashfree_mock"),
    **{f"out-{n}": pay("tok_ok", "cashfree_mock", amount=100 * n) for n in range(3, 8)},
    "drained": pay("tok_ok", "razorpay_mock"),
    "untouched": pay("tok_ok"),
}


class Workload:
    """One process of the release, and what it was asked."""

    def __init__(self, world: World, code: Any) -> None:
        self.world, self.code = world, code
        self.asked: dict[str, dict[str, Any]] = {}  # payment id -> how it was asked
        self.ids: dict[str, str] = {}

    @property
    def engine(self) -> Any:
        return self.world.processes[0].engine

    async def accept(self, key: str, body: Body, merchant: str = "mer_default") -> str:
        scope = self.code.Scope(merchant, "test")
        payment_id: str = (
            await self.engine.submit(scope, normalise(body), key, actor="api", request_id=f"req-{key}")
        ).payment.id
        self.ids[key] = payment_id
        self.asked[payment_id] = {"key": key, "merchant": merchant, "body": dict(body)}
        return payment_id

    async def early(self) -> None:
        """What ends by itself, then what an operator does to the rest."""
        for key, body in EARLY.items():
            await self.accept(key, body)
        await self.accept("ok-mock", pay("tok_ok", "mock", amount=5), STRANGERS)
        await self._cancel("canceled")
        await self._adopt_nowhere("restored")
        self._ask_for_action("")
        await self.world.settle(START_US + 6 * S)
        await self._cancel("never-mock")
        await self.engine.ingest(self.ids["never-mock"], "evt-77", actor="webhook")
        await self.world.settle(START_US + OPERATED_S * S)
        await self._operate()
        for key, body in SOON.items():
            await self.accept(key, body)
        await self.world.settle(START_US + LATE_S * S)

    async def _cancel(self, key: str) -> None:
        """No verb asks it yet; the machine knows it."""
        engine = self.engine
        await engine._write(await engine.store.get(self.ids[key]), [Asked(kind="cancel")], actor="api")

    async def _adopt_nowhere(self, key: str) -> None:
        """As after a restore, when a lost attempt was found that fits nowhere."""
        await self.engine.adopt(await self.engine.store.get(self.ids[key]), "")

    async def _operate(self) -> None:
        scope = self.code.Scope("mer_default", "test")
        for key, decision in (
            ("wrong-charged", "charged"),
            ("wrong-not-charged", "not-charged"),
            ("wrong-reversed", "reversed"),
        ):
            p = await self.engine.store.get(self.ids[key])
            seen: Any = {}
            if decision == "charged":
                mismatch = next(t for s in p.steps() for t in getattr(s.outcome, "tries", ()) if hasattr(t, "amount_minor"))
                seen = {"provider_ref": mismatch.ref, "amount_minor": 1150, "accept_amount": True}
            if decision == "reversed":
                self._give_back(p)
            await self.engine.resolve(scope, p.id, decision, reason="seen in the dashboard", actor="olga", **seen)

    def _give_back(self, p: Any) -> None:
        """Somebody refunds a charge at the mock vendor by hand."""
        reference = p.attempts[0].reference
        charge = self.world.ledger.by_reference("mock", "charge", reference)[0]
        body = {"charge": f"ch_{charge.id:012d}", "amount": charge.doc["amount"], "reference": "by-hand"}
        headers = {"authorization": "Bearer x", "idempotency-key": "by-hand"}
        asked = Request(method="POST", path="/refunds", headers=headers, body=json.dumps(body).encode())
        assert self.world.simulate("mock", asked).status == 200

    # --- the end ----------------------------------------------------------------------------------------------------

    async def late(self) -> None:
        """Payments in the middle of a call, one that waits for its customer, an outage, and what nobody has touched."""
        w = self.world
        for key, (body, path, when) in CUT.items():
            await self._cut(await self.accept(key, body), path, when)
        self._ask_for_action(await self.accept("acting", pay("tok_ok", "razorpay_mock")))
        await w.settle(w.now + S // 10)
        w.storm = Storm(0, spells=(Spell("cashfree", w.now, w.now + 3600 * S, Profile(outage=True)),))
        await w.processes[0].health.drain("razorpay_mock", "maintenance at the vendor", "olga")
        for key, body in LAST.items():
            if key != "untouched":
                await self.accept(key, body)
                await w.settle(w.now)
        await self.accept("untouched", LAST["untouched"])

    async def _cut(self, payment_id: str, path: str, when: str) -> None:
        """Its process dies in the call; a new one goes on with the others."""
        w = self.world
        wire = w.processes[0].wire

        def here(request: Any) -> bool:
            return w.at == payment_id and request.method == "POST" and path in request.path

        def before(request: Any) -> None:
            if here(request) and when == "before":
                raise Killed

        def after(request: Any, reply: Reply) -> Reply:
            if here(request) and when == "after":
                raise Killed
            return reply

        wire.before, wire.after = before, after
        deaths = w.deaths
        while w.deaths == deaths:
            assert await w.turn(w.now + 5 * S), f"{payment_id} makes no such call"

    def _ask_for_action(self, payment_id: str) -> None:
        """The vendor's answer to its fire sends the customer somewhere first, as a bank may ask."""

        def after(request: Any, reply: Reply) -> Reply:
            if self.world.at != payment_id or "/payments/create" not in request.path:
                return reply
            doc = {**json.loads(reply.body), "next": [{"action": "redirect", "url": "https://bank.example/3ds"}]}
            return Reply(status=reply.status, headers=reply.headers, body=json.dumps(doc).encode())

        self.world.processes[0].wire.after = after


async def keep(folder: Path, seed: int, code: Any) -> None:
    """Write ``payments.db``, ``sandbox-ledger.db``, ``histories.jsonl`` and ``stopped.json`` into an empty folder."""
    store = folder / "payments.db"
    w = World(store, folder / "sandbox-ledger.db", seed=seed, now_us=START_US)
    await w.start([code])
    try:
        work = Workload(w, code)
        await work.early()
        await work.late()
        with (folder / "histories.jsonl").open("w", encoding="utf-8") as out:
            for payment_id in await w.processes[0].store.ids("", 1000):
                out.write(
                    json.dumps(await _kept(w.processes[0].store, payment_id, work.asked[payment_id]), ensure_ascii=False) + "\n"
                )
    finally:
        await w.close()
    stopped = {"seed": seed, "version": code.version, "file_schema": code.file_schema, "row_schema": code.row_schema}
    (folder / "stopped.json").write_text(json.dumps({**stopped, "now_us": w.now}) + "\n", encoding="utf-8")


VIEW = (
    *("status", "reason", "attention", "version", "head", "schema", "merchant_id", "amount_minor", "currency", "winner"),
    *("provider_ref", "authorized_minor", "captured_minor", "refunded_minor", "created_us", "updated_us"),
)


async def _kept(store: Any, payment_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A payment as this release sees it, and each event as stored."""
    p = await store.get(payment_id)
    entries = await store.history(payment_id, limit=1000)
    return {
        "id": payment_id,
        "asked": asked,
        "view": {name: getattr(p, name) for name in VIEW},
        "accounts": [a.account for a in p.attempts],
        "due_us": await store.due_of(payment_id),
        "open_step": any(s.outcome is None for s in p.steps()),
        "operations": [[o.kind, o.state, o.amount_minor] for o in p.operations],
        "events": [{"hash": e.hash, "kind": e.envelope.kind, "raw": e.raw.decode()} for e in entries],
    }


def main() -> None:
    """Arguments: the file of ``versions`` (this release may not have it), an empty folder, the seed."""
    versions, folder, seed = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("versions", versions)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["versions"] = module
    spec.loader.exec_module(module)
    asyncio.run(keep(Path(folder), int(seed), module.today()))


if __name__ == "__main__":
    main()
