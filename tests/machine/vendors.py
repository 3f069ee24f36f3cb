"""Fake providers of every kind that protocol.md section 2 tells apart, each with a ledger of its own: the outside witness.

One vocabulary (JSON over a fake wire) and one adapter serve them all; what differs is what a kind promises."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from payonce.adapter import (
    Absent,
    Authorized,
    Capabilities,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Processing,
    Refunded,
    Rejected,
    RequiresAction,
    Response,
    Succeeded,
    Terms,
    Unknown,
    Unreadable,
    Voided,
    retry_after_s,
)

S = 1_000_000
HOUR = 3600 * S

WATCH_S = 50_000  # shorter than the default: an hourly read is a slow thing to fold again and again
TERMS: dict[str, Terms] = {
    "closable": Terms(container=True, closable=True, watch_s=WATCH_S),
    "manual": Terms(container=True, own_capture=True, watch_s=WATCH_S),
    "keyed": Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, watch_s=WATCH_S),
    "keyed_blind": Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, readable=False, watch_s=WATCH_S),
    "unique": Terms(watch_s=WATCH_S),
    "keyless": Terms(readable=False, watch_s=WATCH_S),
}
WINDOW_US = 24 * HOUR  # after it a keyed vendor has forgotten its keys


@dataclass
class Move:
    """One movement of money in a vendor's books."""

    at_us: int
    vendor: str
    kind: str  # charge, authorize, capture, void, refund
    reference: str
    ref: str
    amount_minor: int
    currency: str


@dataclass
class Try:
    ref: str
    reference: str
    doc: dict[str, Any]
    key: str = ""
    states: list[tuple[int, str]] = field(default_factory=list)
    code: str = ""
    hard: bool = False
    flips_until_us: int | None = None
    refund_reference: str = ""

    def state(self, at_us: int) -> str:
        return next((s for t, s in reversed(self.states) if t <= at_us), "")


@dataclass
class Box:
    """A container, or the invisible one around a single charge."""

    id: str
    reference: str
    tries: list[Try] = field(default_factory=list)
    born_us: int = 0
    closed_us: int | None = None


def _nobody(_reference: str) -> None:
    """Hears of every change when no webhook is wired."""


class Vendor:
    """Sans-I/O: ``handle`` moves money in ``ledger``; ``at`` schedules what happens by itself later."""

    def __init__(self, name: str, kind: str, decide: Callable[[], str], at: Callable[[int, Callable[[], None]], None]) -> None:
        self.name, self.kind, self.decide, self.at = name, kind, decide, at
        self.terms = TERMS[kind]
        self.boxes: list[Box] = []
        self.keys: dict[str, tuple[int, Try | Box]] = {}
        self.ledger: list[Move] = []
        self.honours_keys = kind.startswith("keyed")  # container kinds: per world
        self.one_box = False  # a second container with the same reference is refused
        self.now = 0
        self.hold_us = 5 * 24 * HOUR
        self.changed: Callable[[str], None] = _nobody

    def handle(self, now_us: int, doc: dict[str, Any], lag_us: int = 0) -> tuple[int, dict[str, Any]]:
        self.now = now_us
        if doc["kind"] == "read":
            return self._read(doc, now_us - lag_us)
        method: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]] = getattr(self, "_" + doc["kind"])
        return method(doc)

    # --- money -------------------------------------------------------------------------------------------------

    def _create(self, doc: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        known = self.keys.get(doc["key"])
        if known and self.honours_keys and isinstance(known[1], Box):
            box = known[1]
        elif self.one_box and any(b.reference == doc["reference"] for b in self.boxes):
            return 409, {"why": "duplicate reference"}
        else:
            box = Box(f"box_{self.name}{len(self.boxes)}", doc["reference"], born_us=self.now)
            self.boxes.append(box)
            self.keys[doc["key"]] = (self.now, box)
        return 200, {"state": "created", "container": box.id, "reference": box.reference}

    def _fire(self, doc: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        known = self.keys.get(doc["key"])
        if self.honours_keys and known and self.now < known[0] + WINDOW_US and isinstance(known[1], Try):
            return 200, self.view(known[1], self.now)
        if self.terms.container:
            box = self._box(doc["container"])
            if box is None or box.closed_us is not None:
                return 422, {"why": "no such container"}
            if paid := self._paid(box):
                return (200, self.view(paid, self.now)) if self.terms.closable else (422, {"why": "already paid"})
            if any(t.state(self.now) == "processing" for t in box.tries):
                return 409, {"why": "in progress"}
        elif self.kind == "unique" and any(b.reference == doc["reference"] for b in self.boxes):
            return 409, {"why": "duplicate reference"}
        else:
            box = Box("", doc["reference"], born_us=self.now)
            self.boxes.append(box)
        t = Try(f"t_{self.name}{sum(len(b.tries) for b in self.boxes)}", doc["reference"], doc, doc["key"])
        box.tries.append(t)
        self.keys[doc["key"]] = (self.now, t)
        self._begin(box, t, self.decide())
        return 200, self.view(t, self.now)

    def _begin(self, box: Box, t: Try, decision: str) -> None:
        """``yes soft hard funds processing_yes:S processing_no:S action_yes:S provisional_yes:S provisional_no lie_yes:S``"""
        word, _, seconds = decision.partition(":")
        later = self.now + int(seconds or 0) * S
        if word == "yes":
            self._take(box, t)
        elif word in ("soft", "hard", "funds"):
            self._refuse(t, {"soft": "declined", "hard": "stolen_card", "funds": "insufficient_funds"}[word], word == "hard")
        elif word.startswith(("processing", "action")):
            self._set(t, "processing" if word[0] == "p" else "action")
            self.at(later, lambda: self._take(box, t) if word.endswith("yes") else self._refuse(t, "declined", False))
        elif word.startswith("provisional"):
            t.flips_until_us = self.now + 3 * HOUR
            self._refuse(t, "declined", False)
            if word.endswith("yes"):
                self.at(min(later, t.flips_until_us), lambda: self._take(box, t))
        elif word == "lie_yes":
            self._refuse(t, "declined", False)
            self.at(later, lambda: self._take(box, t))
        else:
            raise ValueError(decision)

    def _take(self, box: Box, t: Try) -> None:
        if self._paid(box):
            return self._refuse(t, "declined", False)
        if self.terms.own_capture:
            self._set(t, "authorized")
            self._book("authorize", t)
            self.at(self.now + self.hold_us, lambda: self._lapse(t))
        else:
            self._set(t, "succeeded")
            self._book("charge", t)
        return None

    def _refuse(self, t: Try, code: str, hard: bool) -> None:
        t.code, t.hard = code, hard
        self._set(t, "declined")

    def _lapse(self, t: Try) -> None:
        if t.state(self.now) == "authorized":
            t.code = "hold_lapsed"
            self._set(t, "declined")
            self._book("void", t)

    def _capture(self, doc: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        box, t = self._try(doc["provider_ref"])
        if box is None or t is None:
            return 404, {}
        if t.state(self.now) == "captured":
            return 200, {**self.view(t, self.now), "state": "captured"}
        if t.state(self.now) != "authorized" or self._paid(box):
            return 422, {"why": "not capturable"}
        self._set(t, "captured")
        self._book("capture", t)
        return 200, {**self.view(t, self.now), "state": "captured"}

    def _close(self, doc: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        box = self._box(doc["container"])
        if box is None:
            return 404, {}
        if any(t.state(self.now) in ("processing", "action", "succeeded", "captured", "authorized") for t in box.tries):
            return 409, {"why": "not closable now"}
        box.closed_us = box.closed_us or self.now
        return 200, {"state": "closed", "container": box.id, "reference": box.reference}

    def _void(self, doc: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _, t = self._try(doc["provider_ref"])
        if t is None or t.state(self.now) != "authorized":
            return 422, {"why": "no hold"}
        self._lapse(t)
        return 200, {"state": "voided", "ref": t.ref, "reference": t.reference}

    def _refund(self, doc: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _, t = self._try(doc["provider_ref"])
        if t is None or t.state(self.now) not in ("succeeded", "captured"):
            return 404, {}
        if not t.refund_reference:
            t.refund_reference = doc["refund_reference"]
            self._book("refund", t)
        elif t.refund_reference != doc["refund_reference"] or not self.honours_keys:
            return 422, {"why": "already refunded"}
        said = {"amount": t.doc["amount"], "currency": t.doc["currency"]}
        return 200, {"state": "refunded", "ref": "r_" + t.ref, "reference": t.refund_reference, **said}

    def auto_refund(self, reference: str) -> None:
        """The vendor gives back by itself, under a name of its own."""
        for t in (t for b in self.boxes for t in b.tries if b.reference == reference):
            if t.state(self.now) in ("succeeded", "captured") and not t.refund_reference:
                t.refund_reference = "theirs"
                self._book("refund", t)

    # --- what it shows -----------------------------------------------------------------------------------------

    def _read(self, doc: dict[str, Any], at: int) -> tuple[int, dict[str, Any]]:
        if self.terms.container and doc["container"]:
            boxes = [b for b in self.boxes if b.id == doc["container"]]
        else:
            boxes = [b for b in self.boxes if b.reference == doc["reference"]]
        boxes = [b for b in boxes if b.born_us <= at]
        if not boxes:
            return 404, {}
        if self.terms.container:  # of several with one reference the one that was used
            boxes = [next((b for b in boxes if b.tries), boxes[0])]
        tries = [t for b in boxes for t in b.tries if t.state(at)]
        closed = boxes[0].closed_us
        container = "closed" if closed is not None and closed <= at else "open"
        state = {
            "state": "found",
            "reference": boxes[0].reference,
            "container": container if self.terms.container else "none",
            "container_id": boxes[0].id,
        }
        listed = {
            "tries": [self.view(t, at) for t in tries],
            "refunds": [
                {"ref": "r_" + t.ref, "reference": t.refund_reference, "amount": t.doc["amount"], "currency": t.doc["currency"]}
                for t in tries
                if t.refund_reference
            ],
        }
        return 200, {"state": state, "tries": listed}.get(doc["part"], {**state, **listed})

    def view(self, t: Try, at: int) -> dict[str, Any]:
        state = t.state(at)
        money = {name: t.doc[name] for name in ("amount", "currency", "mode")}
        if state in ("succeeded", "captured"):
            given = t.doc["amount"] if t.refund_reference else 0
            return {"state": "succeeded", "ref": t.ref, "reference": t.reference, **money, "refunded": given}
        if state == "authorized":
            return {"state": "authorized", "ref": t.ref, "reference": t.reference, **money}
        if state == "declined":
            more = {"code": t.code, "hard": t.hard, "flips_until_us": t.flips_until_us}
            return {"state": "declined", "ref": t.ref, "reference": t.reference, **more}
        return {"state": state, "ref": t.ref, "reference": t.reference}

    def _box(self, container: str) -> Box | None:
        return next((b for b in self.boxes if b.id == container), None)

    def _try(self, ref: str) -> tuple[Box | None, Try | None]:
        return next(((b, t) for b in self.boxes for t in b.tries if t.ref == ref), (None, None))

    def _paid(self, box: Box) -> Try | None:
        """Single success: where there is a container, one taken try bars all others."""
        taken = ("succeeded", "captured")
        return next((t for t in box.tries if t.state(self.now) in taken), None) if self.terms.container else None

    def _set(self, t: Try, state: str) -> None:
        t.states.append((self.now, state))
        self.changed(t.reference)

    def _book(self, kind: str, t: Try) -> None:
        self.ledger.append(Move(self.now, self.name, kind, t.reference, t.ref, t.doc["amount"], t.doc["currency"]))


class FakeAdapter:
    """The one adapter of all fake vendors. ``parts``: the requests of a read; two of them where the container and its
    tries have to be asked for one after the other."""

    STATUSES: Mapping[str, str] = {}
    DECLINES: Mapping[str, Declined] = {}

    def __init__(
        self, name: str, terms: Terms, *, parts: tuple[str, ...] = ("all",), currencies: frozenset[str] | None = None
    ) -> None:
        self.name, self.parts = name, parts
        steps = frozenset({"create", "fire", "replay", "read", "close", "capture", "void", "refund"})
        self.CAPABILITIES = Capabilities(terms=terms, steps=steps, currencies=currencies)  # type: ignore[arg-type]

    def credentials_of(self, values: Mapping[str, str]) -> object:
        return values

    def build(self, intent: Intent) -> HttpRequest:
        kind = "fire" if intent.kind == "replay" else intent.kind
        doc = {
            "kind": kind,
            "reference": intent.reference,
            "key": intent.key,
            "amount": intent.amount_minor,
            "currency": intent.currency,
            "mode": intent.mode,
            "container": intent.container,
            "provider_ref": intent.provider_ref,
            "refund_reference": intent.refund_reference,
            "part": self.parts[len(intent.seen)] if kind == "read" else "",
        }
        return HttpRequest(method="POST", path="/" + kind, body=json.dumps(doc).encode())

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        return {}

    def expose(self, body: bytes) -> bytes:
        return body

    def parse(self, intent: Intent, response: Response) -> Any:
        doc = json.loads(response.body or b"{}")
        if response.status == 200:
            return self._outcome(doc)
        if response.status in (401, 403, 422):
            return Rejected(reason=str(response.status))
        return Unknown(reason=str(response.status), retry_after_s=retry_after_s(response))

    def parse_read(self, intent: Intent, response: Response) -> Any:
        if response.status == 404 and not intent.seen:
            return Absent()
        if response.status != 200:
            return Unreadable(reason=str(response.status), retry_after_s=retry_after_s(response))
        answers = [json.loads(each.body) for each in (*intent.seen, response)]
        if len(answers) < len(self.parts):
            about = replace(intent, seen=(*intent.seen, response), container=answers[0].get("container_id", intent.container))
            return self.build(about)
        doc = {name: value for each in answers for name, value in each.items()}
        return Found(
            tries=tuple(self._outcome(t) for t in doc["tries"]),
            refunds=tuple(
                Refunded(ref=r["ref"], reference=r["reference"], amount_minor=r["amount"], currency=r["currency"])
                for r in doc["refunds"]
            ),
            reference=doc["reference"],
            container=sys.intern(doc["container"]),  # msgspec leaves out a default by identity
            container_id=sys.intern(doc["container_id"]),
        )

    def _outcome(self, d: dict[str, Any]) -> Any:
        named = {"ref": d.get("ref", ""), "reference": d.get("reference", "")}
        money = {"amount_minor": d.get("amount", 0), "currency": d.get("currency", ""), "mode": d.get("mode", "")}
        match d["state"]:
            case "succeeded":
                return Succeeded(**named, **money, refunded_minor=d.get("refunded", 0))
            case "authorized":
                return Authorized(**named, **money)
            case "captured":
                return Captured(**named, **money)
            case "processing":
                return Processing(**named)
            case "action":
                return RequiresAction(**named)
            case "declined":
                more = {"code": d["code"], "hard": d["hard"], "flips_until_us": d["flips_until_us"]}
                return Declined(**named, **more, scope="issuer")
            case "created":
                return Created(container=d["container"], reference=d["reference"])
            case "closed":
                return Closed(container=d["container"], reference=d["reference"])
            case "refunded":
                return Refunded(**named, amount_minor=d["amount"], currency=d["currency"])
            case "voided":
                return Voided(**named)
        return Unknown(reason="unmapped")
