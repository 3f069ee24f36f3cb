"""Fake providers of every kind that protocol.md section 2 tells apart, each with a ledger of its own: the outside witness.

One vocabulary (JSON over a fake wire) and one adapter serve them all; what differs is what a kind promises."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from payonce.adapter import Terms

S = 1_000_000
HOUR = 3600 * S

WATCH_S = 50_000  # shorter than the default: an hourly read is a slow thing to fold again and again
HOLD_S = 5 * 24 * 3600
TERMS: dict[str, Terms] = {
    "closable": Terms(container=True, closable=True, voidable=True, watch_s=WATCH_S, hold_s=HOLD_S),
    "manual": Terms(container=True, own_capture=True, watch_s=WATCH_S, hold_s=HOLD_S),
    "keyed": Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, voidable=True, watch_s=WATCH_S, hold_s=HOLD_S),
    "keyed_blind": Terms(keyed=True, replay_span_s=7200, refund_replay_span_s=7200, readable=False, watch_s=WATCH_S),
    "unique": Terms(watch_s=WATCH_S, hold_s=HOLD_S),
    "keyless": Terms(readable=False, watch_s=WATCH_S),
}
WINDOW_US = 24 * HOUR  # after it a keyed vendor has forgotten its keys
Said = tuple[int, dict[str, Any]]


@dataclass
class Move:
    """One movement of money in a vendor's books."""

    at_us: int
    vendor: str
    kind: str  # charge, authorize, capture, void, lapse, refund, refund_failed
    reference: str
    ref: str
    amount_minor: int
    currency: str
    refund_reference: str = ""  # under which name it was given back


@dataclass
class Dated:
    """Something with a state at each time."""

    ref: str
    reference: str
    states: list[tuple[int, str]] = field(default_factory=list)

    def state(self, at_us: int) -> str:
        return next((s for t, s in reversed(self.states) if t <= at_us), "")


@dataclass
class GivenBack(Dated):
    """A refund: ``refunding``, ``refunded`` or ``refund_failed``."""

    amount: int = 0
    key: str = ""


@dataclass
class Try(Dated):
    doc: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    code: str = ""
    hard: bool = False
    scope: str = "issuer"
    flips_until_us: int | None = None
    expires_us: int | None = None
    captured: int = 0
    refunds: list[GivenBack] = field(default_factory=list)

    @property
    def amount(self) -> int:
        """What was taken, or is held."""
        return self.captured or int(self.doc["amount"])

    def given_back(self, at_us: int) -> int:
        return sum(r.amount for r in self.refunds if r.state(at_us) in ("refunding", "refunded"))


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
    """Sans-I/O: ``handle`` moves money in ``ledger``; ``at`` schedules what happens by itself later. ``decide`` says what
    becomes of a new try ("decide"), refund ("decide refund") or void ("decide void")."""

    def __init__(
        self, name: str, kind: str, decide: Callable[[str], str], at: Callable[[int, Callable[[], None]], None]
    ) -> None:
        self.name, self.kind, self.decide, self.at = name, kind, decide, at
        self.terms = TERMS[kind]
        self.boxes: list[Box] = []
        self.keys: dict[str, tuple[int, Try | Box | GivenBack]] = {}
        self.ledger: list[Move] = []
        self.honours_keys = kind.startswith("keyed")  # container kinds: per world
        self.one_box = False  # a second container with the same reference is refused
        self.says_end = False  # shows until when a hold lasts and a customer may act
        self.renames = False  # what a capture takes has another id than the hold
        self.now = 0
        self.hold_us = HOLD_S * S
        self.action_us = 1800 * S
        self.changed: Callable[[str], None] = _nobody

    def handle(self, now_us: int, doc: dict[str, Any], lag_us: int = 0) -> Said:
        self.now = now_us
        if doc["kind"] == "read":
            return self._read(doc, now_us - lag_us)
        method: Callable[[dict[str, Any]], Said] = getattr(self, "_" + doc["kind"])
        return method(doc)

    # --- money in ----------------------------------------------------------------------------------------------

    def _create(self, doc: dict[str, Any]) -> Said:
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

    def _fire(self, doc: dict[str, Any]) -> Said:
        known = self.keys.get(doc["key"])
        if self.honours_keys and known and self.now < known[0] + WINDOW_US and isinstance(known[1], Try):
            return 200, self.view(known[1], self.now)
        if self.terms.container:
            box = self._box(doc["container"])
            if box is None or box.closed_us is not None:
                return 422, {"why": "no such container"}
            if paid := self._paid(box):
                return (200, self.view(paid, self.now)) if self.terms.closable else (422, {"why": "already paid"})
            if any(t.state(self.now) in ("processing", "action") for t in box.tries):
                return 409, {"why": "in progress"}
        elif self.kind == "unique" and any(b.reference == doc["reference"] for b in self.boxes):
            return 409, {"why": "duplicate reference"}
        else:
            box = Box("", doc["reference"], born_us=self.now)
            self.boxes.append(box)
        t = Try(f"t_{self.name}{sum(len(b.tries) for b in self.boxes)}", doc["reference"], doc=doc, key=doc["key"])
        box.tries.append(t)
        self.keys[doc["key"]] = (self.now, t)
        self._begin(box, t, self.decide("decide"))
        return 200, self.view(t, self.now)

    def _begin(self, box: Box, t: Try, decision: str) -> None:
        """``yes soft hard funds processing_yes:S processing_no:S action_yes:S action_no:S action_ends:S action_never
        provisional_yes:S provisional_no lie_yes:S``"""
        word, _, seconds = decision.partition(":")
        later = self.now + int(seconds or 0) * S
        if word == "yes":
            self._take(box, t)
        elif word in ("soft", "hard", "funds"):
            self._refuse(t, {"soft": "declined", "hard": "stolen_card", "funds": "insufficient_funds"}[word], word == "hard")
        elif word.startswith("action"):
            self._act(box, t, word, later)
        elif word.startswith("processing"):
            self._set(t, "processing")
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

    def _act(self, box: Box, t: Try, word: str, later: int) -> None:
        """The customer pays, declines, or never comes; the vendor may end it by itself."""
        self._set(t, "action")
        t.expires_us = self.now + self.action_us if self.says_end else None
        if word == "action_yes":
            self.at(later, lambda: self._take(box, t) if t.state(self.now) == "action" else None)
        elif word != "action_never":
            code = "authentication_failed" if word == "action_no" else "action_expired"
            self.at(later, lambda: self._turn_down(t, code) if t.state(self.now) == "action" else None)

    def _take(self, box: Box, t: Try) -> None:
        if self._paid(box):
            return self._refuse(t, "declined", False)
        if self.terms.own_capture or t.doc.get("manual"):
            self._set(t, "authorized")
            t.expires_us = self.now + self.hold_us if self.says_end else None
            self._book("authorize", t, t.amount)
            self.at(self.now + self.hold_us, lambda: self._release(t, "lapse"))
        else:
            self._set(t, "succeeded")
            self._book("charge", t, t.amount)
        return None

    def _refuse(self, t: Try, code: str, hard: bool) -> None:
        t.code, t.hard = code, hard
        self._set(t, "declined")

    def _turn_down(self, t: Try, code: str) -> None:
        t.scope = "customer_input"
        self._refuse(t, code, False)

    def _close(self, doc: dict[str, Any]) -> Said:
        box = self._box(doc["container"])
        if box is None:
            return 404, {}
        if any(t.state(self.now) in ("processing", "succeeded", "captured", "authorized") for t in box.tries):
            return 409, {"why": "not closable now"}
        for t in (t for t in box.tries if t.state(self.now) == "action"):
            self._turn_down(t, "action_expired")
        box.closed_us = box.closed_us or self.now
        return 200, {"state": "closed", "container": box.id, "reference": box.reference}

    # --- holds -------------------------------------------------------------------------------------------------

    def _capture(self, doc: dict[str, Any]) -> Said:
        box, t = self._try(doc["provider_ref"])
        if box is None or t is None:
            return 404, {}
        if t.state(self.now) == "captured" and t.captured == doc["capture"]:
            return 200, {**self.view(t, self.now), "state": "captured"}
        if t.state(self.now) != "authorized" or self._paid(box) or doc["capture"] > t.doc["amount"]:
            return 422, {"why": "not capturable"}
        self.take_held(t, doc["capture"])
        return 200, {**self.view(t, self.now), "state": "captured"}

    def take_held(self, t: Try, amount: int) -> None:
        """By us, or by the merchant in the vendor's dashboard. What is not taken is free again."""
        t.captured = amount
        self._set(t, "captured")
        self._book("capture", t, amount)

    def _void(self, doc: dict[str, Any]) -> Said:
        _, t = self._try(doc["provider_ref"])
        if t is not None and t.state(self.now) == "declined" and t.code == "hold_lapsed" and self.honours_keys:
            return 200, {"state": "voided", "ref": t.ref, "reference": t.reference}
        if t is None or t.state(self.now) != "authorized":
            return 422, {"why": "no hold"}
        word, _, seconds = self.decide("decide void").partition(":")
        if word == "later":
            self.at(self.now + int(seconds) * S, lambda: self._release(t, "void"))
            return 200, {"state": "processing", "ref": t.ref, "reference": t.reference}
        self._release(t, "void")
        return 200, {"state": "voided", "ref": t.ref, "reference": t.reference}

    def _release(self, t: Try, kind: str) -> None:
        if t.state(self.now) == "authorized":
            t.code, t.scope = "hold_lapsed", "provider_technical"
            self._set(t, "declined")
            self._book(kind, t, t.amount)

    # --- money back --------------------------------------------------------------------------------------------

    def _refund(self, doc: dict[str, Any]) -> Said:
        _, t = self._try(doc["provider_ref"])
        if t is None or t.state(self.now) not in ("succeeded", "captured") or doc["provider_ref"] != self._charge(t):
            return 404, {}
        known = self.keys.get(doc["key"])
        if self.honours_keys and known and self.now < known[0] + WINDOW_US and isinstance(known[1], GivenBack):
            return 200, self._shown(t, known[1], self.now)
        if doc["refund"] > t.amount - t.given_back(self.now):
            return 422, {"why": "more than is left"}
        word, _, seconds = self.decide("decide refund").partition(":")
        if word == "no":
            return 402, {"code": "refund_refused", "reference": t.reference}
        r = self._give(t, doc["refund_reference"], doc["refund"], doc["key"])
        self.keys[doc["key"]] = (self.now, r)
        later = self.now + int(seconds or 0) * S
        if word.startswith("pending"):
            self._became(t, r, "refunding")
            self.at(later, lambda: self._became(t, r, "refunded" if word.endswith("yes") else "refund_failed"))
        else:
            self._became(t, r, "refunded")
        if word == "fails":  # after it was shown as done
            self.at(later, lambda: self._became(t, r, "refund_failed"))
        return 200, self._shown(t, r, self.now)

    def _give(self, t: Try, reference: str, amount: int, key: str = "") -> GivenBack:
        r = GivenBack(f"r{len(t.refunds)}_{t.ref}", reference, amount=amount, key=key)
        t.refunds.append(r)
        return r

    def _became(self, t: Try, r: GivenBack, state: str) -> None:
        before = r.state(self.now)
        r.states.append((self.now, state))
        if state == "refunded" or (state == "refund_failed" and before == "refunded"):
            kind = "refund" if state == "refunded" else "refund_failed"
            self._book(kind, t, r.amount, r.reference)
        self.changed(t.reference)

    def auto_refund(self, reference: str) -> None:
        """The vendor gives back by itself, under a name of its own."""
        for t in (t for b in self.boxes for t in b.tries if b.reference == reference):
            left = t.amount - t.given_back(self.now)
            if t.state(self.now) in ("succeeded", "captured") and left:
                self._became(t, self._give(t, "theirs", left), "refunded")

    def _charge(self, t: Try) -> str:
        """The id of the charge: another one than the hold's where a capture makes an object of its own."""
        return "c_" + t.ref if self.renames and t.state(self.now) == "captured" else t.ref

    # --- what it shows -----------------------------------------------------------------------------------------

    def _read(self, doc: dict[str, Any], at: int) -> Said:
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
            "refunds": [self._shown(t, r, at) for t in tries for r in t.refunds if r.state(at)],
        }
        return 200, {"state": state, "tries": listed}.get(doc["part"], {**state, **listed})

    def view(self, t: Try, at: int) -> dict[str, Any]:
        state, named = t.state(at), {"ref": t.ref, "reference": t.reference}
        money = {"amount": t.doc["amount"], "currency": t.doc["currency"], "mode": t.doc["mode"]}
        match state:
            case "succeeded" | "captured":
                ref = "c_" + t.ref if self.renames and state == "captured" else t.ref
                more = {"ref": ref, "amount": t.amount, "refunded": t.given_back(at)}
                return {"state": "succeeded", **named, **money, **more}
            case "authorized":
                return {"state": "authorized", **named, **money, "expires_us": t.expires_us}
            case "action":
                url = f"https://{self.name}.test/act/{t.ref}"
                return {"state": "action", **named, "expires_us": t.expires_us, "url": url}
            case "declined":
                more = {"code": t.code, "hard": t.hard, "scope": t.scope, "flips_until_us": t.flips_until_us}
                return {"state": "declined", **named, **more}
        return {"state": state, **named}

    def _shown(self, t: Try, r: GivenBack, at: int) -> dict[str, Any]:
        return {
            "state": r.state(at),
            "ref": r.ref,
            "reference": r.reference,
            "amount": r.amount,
            "currency": t.doc["currency"],
        }

    def _box(self, container: str) -> Box | None:
        return next((b for b in self.boxes if b.id == container), None)

    def _try(self, ref: str) -> tuple[Box | None, Try | None]:
        return next(((b, t) for b in self.boxes for t in b.tries if ref in (t.ref, "c_" + t.ref)), (None, None))

    def _paid(self, box: Box) -> Try | None:
        """Single success: where there is a container, one taken try bars all others."""
        taken = ("succeeded", "captured")
        return next((t for t in box.tries if t.state(self.now) in taken), None) if self.terms.container else None

    def _set(self, t: Try, state: str) -> None:
        t.states.append((self.now, state))
        self.changed(t.reference)

    def _book(self, kind: str, t: Try, amount: int, refund_reference: str = "") -> None:
        move = Move(self.now, self.name, kind, t.reference, t.ref, amount, t.doc["currency"], refund_reference)
        self.ledger.append(move)
