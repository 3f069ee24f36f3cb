"""The one adapter of all fake vendors: one vocabulary, JSON over a fake wire."""

import json
import sys
from collections.abc import Mapping
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
    NextAction,
    Processing,
    Refunded,
    RefundFailed,
    Refunding,
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

OF_REFUNDS = {"refunded": Refunded, "refunding": Refunding, "refund_failed": RefundFailed}


class FakeAdapter:
    """``parts``: the requests of a read; two of them where the container and its tries have to be asked for one after the
    other."""

    STATUSES: Mapping[str, str] = {}
    DECLINES: Mapping[str, Declined] = {}

    def __init__(
        self, name: str, terms: Terms, *, parts: tuple[str, ...] = ("all",), currencies: frozenset[str] | None = None
    ) -> None:
        self.name, self.parts = name, parts
        steps = frozenset({"create", "fire", "replay", "read", "close", "capture", "void", "refund"})
        steps -= frozenset() if terms.readable else frozenset({"read", "capture", "void"})
        self.CAPABILITIES = Capabilities(
            terms=terms,
            steps=steps,  # type: ignore[arg-type]
            currencies=currencies,
            partial_capture=True,
        )

    def credentials_of(self, values: Mapping[str, str]) -> object:
        return values

    def build(self, intent: Intent) -> HttpRequest:
        kind = "fire" if intent.kind == "replay" else intent.kind
        if kind not in self.CAPABILITIES.steps:
            raise ValueError(f"this vendor knows no {kind}")
        doc = {
            "kind": kind,
            "reference": intent.reference,
            "key": intent.key,
            "amount": intent.amount_minor,
            "currency": intent.currency,
            "mode": intent.mode,
            "manual": intent.manual,
            "capture": intent.capture_minor,
            "container": intent.container,
            "provider_ref": intent.provider_ref,
            "refund_reference": intent.refund_reference,
            "refund": intent.refund_minor,
            "part": self.parts[len(intent.seen)] if kind == "read" else "",
        }
        return HttpRequest(method="POST", path="/" + kind, body=json.dumps(doc).encode())

    def authenticate(self, request: HttpRequest, credentials: object) -> Mapping[str, str]:
        return {}

    def expose(self, body: bytes) -> bytes:
        return body

    def next_action(self, intent: Intent, response: Response) -> NextAction | None:
        """Where the customer goes: named by the try that waits for it."""
        doc = json.loads(response.body)
        waits = [t for t in (doc, *doc.get("tries", [])) if t.get("state") == "action" and "url" in t]
        return NextAction(type="redirect", url=waits[0]["url"]) if waits else None

    def parse(self, intent: Intent, response: Response) -> Any:
        doc = json.loads(response.body or b"{}")
        if response.status == 200:
            return self._outcome(doc)
        if response.status == 402:
            return Declined(code=doc["code"], hard=False, scope="provider_technical", reference=doc["reference"])
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
            refunds=tuple(self._outcome(r) for r in doc["refunds"]),
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
                return Authorized(**named, **money, expires_at_us=d.get("expires_us"))
            case "captured":
                return Captured(**named, **money)
            case "processing":
                return Processing(**named)
            case "action":
                return RequiresAction(**named, expires_at_us=d.get("expires_us"))
            case "declined":
                more = {"code": d["code"], "hard": d["hard"], "flips_until_us": d["flips_until_us"]}
                return Declined(**named, **more, scope=d["scope"])
            case "created":
                return Created(container=d["container"], reference=d["reference"])
            case "closed":
                return Closed(container=d["container"], reference=d["reference"])
            case "refunded" | "refunding" | "refund_failed" as state:
                return OF_REFUNDS[state](**named, amount_minor=d["amount"], currency=d["currency"])  # type: ignore[operator]
            case "voided":
                return Voided(**named)
        return Unknown(reason="unmapped")
