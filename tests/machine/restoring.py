"""A backup is put in place of the store, and what `payonce reconcile` does then, in a process of its own."""

import json
from collections.abc import Mapping
from typing import Any

from payonce.core.events import Entry
from payonce.core.payment import Payment, StoredRequest
from payonce.ports import Change, Lost, Response
from payonce.restore import find_lost
from payonce.stores.memory import MemoryStore

from .oracles import Violation, at_once
from .wires import Net
from .world import Worker, World

Backup = tuple[Payment, list[Entry]]


def backup(w: World, payment_id: str) -> Backup:
    return w.payment(payment_id), list(at_once(w.store.history(payment_id, 0, 5000)))


def restore(w: World, kept: Backup, *, hold: bool = True) -> None:
    """The store as it was at the backup, with that payment alone; every worker holds."""
    p, entries = kept
    restored, w.shadow[p.id] = MemoryStore(), p
    bodies = {sha: body for (pid, sha), body in w.store._bodies.items() if pid == p.id}
    at_once(restored.commit(Change(payment=p, entries=tuple(entries), due_us=w.now, bodies=bodies), 0))
    w.store = restored
    for worker in w.workers:
        worker.engine.store.inner = restored  # type: ignore[attr-defined]
        worker.engine.hold = hold


class LookingNet(Net):
    """Looks for lost attempts are not on record. Words for them: ``script(name, "look", ...)``, which are statuses."""

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        doc, world = json.loads(body), self.worker.world
        on_record = any(a.reference == doc["reference"] for a in world.payment(world.ids[0]).attempts)
        if doc["kind"] != "read" or on_record:
            return await super().send(request, body, secret_headers, send_by_us=send_by_us, timeout_ms=timeout_ms)
        await self.worker.pause()
        if word := world.word(request.account, "look"):
            return Response(status=int(word), headers={}, body=b"{}")
        status, said = world.vendors[request.account].handle(world.now, doc)
        return Response(status=status, headers={}, body=json.dumps(said).encode())


def reconcile(w: World, payment_id: str, *, timeout_s: float = 60, lift: bool = True) -> bool:
    """What the accounts have of the payment that the record has not. The hold ends when all of them answered."""
    operator = Worker(w, 9, {name: w.account(name) for name in w.vendors})
    operator.engine.transport, operator.engine.hold = LookingNet(operator), True
    said: list[bool] = []

    async def look() -> None:
        await operator.engine.ingest(payment_id, actor="operator:reconcile")
        said.append(await find_lost(operator.engine, payment_id, timeout_s=timeout_s))

    sent = len(w.sent)
    w.spawn(look)
    w.run(hours=(timeout_s + 60) / 3600)
    if fired := [s for s in w.sent[sent:] if s[2] not in ("read", "close")]:
        raise Violation(f"fired under hold: {fired}")
    if not said:
        raise Violation("it never ended")
    for worker in w.workers if said[0] and lift else ():
        worker.engine.hold = False
    return said[0]


def facts_of(w: World, payment_id: str) -> dict[str, Any]:
    """For messages: where the payment stands, and what each attempt heard."""
    p = w.payment(payment_id)
    heard = {a.account: [(s.kind, type(s.outcome).__name__) for s in a.steps] for a in p.attempts}
    return {"status": p.status, "reason": p.reason, "attempts": heard}
