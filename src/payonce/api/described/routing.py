"""The paths of routing, the inbox, keys, configuration and journal, as the OpenAPI document tells them."""

from typing import Any, Final, get_args

from payonce.api.inbox import INBOX_LIMIT, INBOX_LIMIT_MAX
from payonce.api.incoming import BODY_BYTES_MAX, BODY_S, TEXT_CHARS_MAX
from payonce.api.routing import LAST
from payonce.api.settings import SEQ_MAX, SETTINGS_LIMIT, SETTINGS_LIMIT_MAX
from payonce.mail import WebhookState
from payonce.shown.bodies import EXAMPLE_ID
from payonce.shown.inbox_bodies import (
    EXAMPLE_WEBHOOK_ID,
    WEBHOOK_ID,
    InboxBody,
    InboxPage,
    ReplayRequest,
    WebhookBody,
)
from payonce.shown.routing_bodies import EXAMPLE_TOML, DryRunBody, DryRunRequest, RoutingBody
from payonce.shown.settings_bodies import EXAMPLE_KEY_ID, ConfigurationBody, JournalPage, KeyPage

from .parts import curl, ok, parameter, problems, ref, request_id

Document = dict[str, Any]

TAKEN: Final = (DryRunRequest, ReplayRequest)
SHOWN: Final = (RoutingBody, DryRunBody, InboxBody, InboxPage, WebhookBody, KeyPage, ConfigurationBody, JournalPage)
TAGS: Final = (
    {"name": "routing", "description": "Which account takes a payment, and what other rules would have done."},
    {"name": "inbox", "description": "What providers sent. For whoever runs payonce."},
    {"name": "settings", "description": "Keys, the configuration that holds, and who did what."},
)
HOUSE: Final = "For callers of the merchant `mer_default` only: to others nothing is here. "
READING: Final = ("validation_failed", "card_number_refused", "not_ready")
WRITING: Final = ("body_timeout", "body_too_large", "media_type_unsupported", *READING)
TEXT: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": TEXT_CHARS_MAX,
    "pattern": "^[^\\u0000-\\u001F\\u007F]+$",
}

EXAMPLE_RULE: Final[Document] = {
    "name": "rupees",
    "title": "rule rupees",
    "when": ["currency INR"],
    "use": ["cashfree_mock"],
    "fallback": None,
    "then": "cashfree_mock, then any other that takes it",
}
EXAMPLE_ROUTING: Final[Document] = {
    "origin": "payonce.toml",
    "rules": [EXAMPLE_RULE],
    "highValue": {
        "default": 1_000_000,
        "currencies": {"INR": 500_000},
        "origin": "payonce.toml",
        "words": "1,000,000 minor units; INR 500,000",
    },
    "accounts": [
        {
            "account": "cashfree_mock",
            "adapter": "cashfree",
            "mode": "test",
            "merchants": "*",
            "currencies": ["INR"],
            "methods": None,
            "holds": True,
        }
    ],
    "warnings": [],
    "toml": EXAMPLE_TOML,
}
EXAMPLE_DRY_RUN: Final[Document] = {
    "of": 10_000,
    "changed": 132,
    "reordered": 0,
    "unroutable": 0,
    "named": 12,
    "cannotTell": 0,
    "rules": [EXAMPLE_RULE],
    "highValue": "1,000,000 minor units",
    "warnings": [],
    "groups": [
        {
            "from": "razorpay_mock",
            "to": "cashfree_mock",
            "fromRule": None,
            "toRule": "rupees",
            "count": 132,
            "examples": [EXAMPLE_ID],
        }
    ],
    "groupsLeftOut": 0,
    "truncated": False,
}
EXAMPLE_INBOX: Final[Document] = {
    "id": EXAMPLE_WEBHOOK_ID,
    "account": "razorpay_mock",
    "event": "evt_N1",
    "kind": "payment.captured",
    "state": "matched",
    "payments": [EXAMPLE_ID],
    "deliveries": 1,
    "tries": 0,
    "receivedAt": "2026-11-24T09:30:00.123456Z",
    "lastDeliveryAt": "2026-11-24T09:30:00.123456Z",
    "dueAt": None,
}
EXAMPLE_WEBHOOK: Final[Document] = {
    **EXAMPLE_INBOX,
    "references": ["01kav0r2c05d8k3t9w1m0100"],
    "refs": ["pay_N1"],
    "headers": {"content-type": "application/json"},
    "bodyBytes": 412,
    "body": {"event": "payment.captured"},
}
AGAIN: Final[Document] = {**EXAMPLE_WEBHOOK, "state": "new", "payments": [], "dueAt": "2026-11-24T09:31:00.123456Z"}
EXAMPLE_KEY: Final[Document] = {
    "id": EXAMPLE_KEY_ID,
    "name": "checkout",
    "scopes": ["payments:write"],
    "mode": "test",
    "state": "live",
    "ratePerS": None,
    "createdAt": "2026-11-24T08:00:00.123456Z",
    "expiresAt": None,
    "endsAt": None,
    "successor": None,
    "current": False,
}
EXAMPLE_CONFIGURATION: Final[Document] = {
    "file": "payonce.toml",
    "keptAt": "payonce-data/payments.db",
    "settings": [
        {
            "key": "server.port",
            "value": 8080,
            "origin": "default",
            "env": "PAYONCE_PORT",
            "says": "port to bind; 0 takes a free one",
        }
    ],
    "providers": [
        {
            "name": "razorpay_mock",
            "adapter": "razorpay",
            "mode": "test",
            "baseUrl": "https://api.razorpay.com",
            "credentials": {"key_secret": "env:RZP_SECRET (set)"},
            "terms": {},
            "merchants": "*",
            "callsMax": None,
            "origin": "payonce.toml, line 7",
        }
    ],
    "warnings": [],
}
EXAMPLE_ACT: Final[Document] = {
    "seq": 42,
    "at": "2026-11-24T09:30:00.123456Z",
    "actor": f"{EXAMPLE_KEY_ID}@203.0.113.7",
    "what": "webhook.replayed",
    "subject": EXAMPLE_WEBHOOK_ID,
    "merchantId": None,
    "mode": "test",
    "requestId": "req_5f0c2d9e81b7a3460d1e",
    "data": {"reason": "The payment was restored."},
    "hash": "5f" * 32,
    "readable": True,
}


def paths() -> Document:
    """Each path with its methods, in the order of the document."""
    return {
        "/routing": {"get": _routing()},
        "/routing/dry-run": {"post": _dry_run()},
        "/inbox": {"get": _inbox()},
        "/inbox/{id}": {"get": _webhook()},
        "/inbox/{id}/replay": {"post": _replay()},
        "/keys": {"get": _keys()},
        "/configuration": {"get": _configuration()},
        "/journal": {"get": _journal()},
    }


def _routing() -> Document:
    return {
        "operationId": "getRouting",
        "tags": ["routing"],
        "summary": "See the routing rules as they are",
        "description": HOUSE + "In plain words, and as text to change and try.",
        "parameters": [request_id()],
        "responses": {"200": ok("The rules.", "RoutingBody", EXAMPLE_ROUTING)} | problems("not_found", *READING),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/routing"),
    }


def _dry_run() -> Document:
    return {
        "operationId": "dryRunRouting",
        "tags": ["routing"],
        "summary": "Try changed rules on payments that were made",
        "description": HOUSE + "Each of your newest payments is routed anew, by the rules as they are and by the changed ones, "
        "with the accounts of today, blocked or not. It answers which account would have been asked first, not what would have "
        "become of the payment. Nothing is stored or sent. A text that would stop a start is refused with line and reason. It "
        "stops after five seconds and says so; one runs at a time.",
        "parameters": [request_id()],
        "requestBody": _body("DryRunRequest", {"toml": EXAMPLE_TOML, "last": LAST}),
        "responses": {"200": ok("What would have changed.", "DryRunBody", EXAMPLE_DRY_RUN)}
        | problems("not_found", "over_capacity", *WRITING),
        "x-codeSamples": curl(
            "jq -Rs '{toml: ., last: 10000}' payonce.toml | curl http://127.0.0.1:8080/routing/dry-run \\\n"
            "  -H 'Content-Type: application/json' -d @-"
        ),
    }


def _inbox() -> Document:
    return {
        "operationId": "listInbox",
        "tags": ["inbox"],
        "summary": "List what providers sent, newest first",
        "description": HOUSE + "Filters are exact and all must hold. What was matched or given up is kept for 30 days.",
        "parameters": [
            parameter(
                "state",
                "query",
                "Webhooks in this state.",
                {"type": "string", "enum": list(get_args(WebhookState))},
                "unmatched",
            ),
            parameter("account", "query", "Webhooks for this account.", TEXT, "razorpay_mock"),
            parameter("limit", "query", "Webhooks of one page.", _limit(INBOX_LIMIT_MAX, INBOX_LIMIT), INBOX_LIMIT),
            parameter("cursor", "query", "`nextCursor` of the page before.", TEXT),
            request_id(),
        ],
        "responses": {"200": ok("A page.", "InboxPage", {"data": [EXAMPLE_INBOX], "nextCursor": None})}
        | problems("not_found", *READING),
        "x-codeSamples": curl("curl 'http://127.0.0.1:8080/inbox?state=unmatched'"),
    }


def _webhook() -> Document:
    return {
        "operationId": "getInboxWebhook",
        "tags": ["inbox"],
        "summary": "See a webhook of a provider",
        "description": HOUSE + "With the payments it is about, and of its body what people may see.",
        "parameters": [_webhook_id(), request_id()],
        "responses": {"200": ok("The webhook.", "WebhookBody", EXAMPLE_WEBHOOK)} | problems("not_found", *READING),
        "x-codeSamples": curl(f"curl http://127.0.0.1:8080/inbox/{EXAMPLE_WEBHOOK_ID}"),
    }


def _replay() -> Document:
    return {
        "operationId": "replayInboxWebhook",
        "tags": ["inbox"],
        "summary": "Look for a webhook's payment again",
        "description": HOUSE + "At once, and then as often as for a new one. It moves no money: what is found is read at its "
        "provider. The reason is put on the journal.",
        "parameters": [_webhook_id(), request_id()],
        "requestBody": _body("ReplayRequest", {"reason": "The payment was restored."}),
        "responses": {"202": ok("It will be looked up.", "WebhookBody", AGAIN)} | problems("not_found", *WRITING, reads=False),
        "x-codeSamples": curl(
            f"curl http://127.0.0.1:8080/inbox/{EXAMPLE_WEBHOOK_ID}/replay \\\n"
            "  -H 'Content-Type: application/json' \\\n  -d '{\"reason\": \"The payment was restored.\"}'"
        ),
    }


def _keys() -> Document:
    return {
        "operationId": "listKeys",
        "tags": ["settings"],
        "summary": "List your API keys, newest first",
        "description": "Those of your merchant and mode, also those that have ended. No secret: a key's text is shown once, "
        "when `payonce key create` makes it.",
        "parameters": [*_paging("Keys", TEXT), request_id()],
        "responses": {"200": ok("A page.", "KeyPage", {"data": [EXAMPLE_KEY], "nextCursor": None})} | problems(*READING),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/keys"),
    }


def _configuration() -> Document:
    return {
        "operationId": "getConfiguration",
        "tags": ["settings"],
        "summary": "See the configuration that holds",
        "description": HOUSE + "Every setting with its value and where it comes from, and the provider accounts; references to "
        "secrets, never a secret.",
        "parameters": [request_id()],
        "responses": {"200": ok("The configuration.", "ConfigurationBody", EXAMPLE_CONFIGURATION)}
        | problems("not_found", *READING),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/configuration"),
    }


def _journal() -> Document:
    cursor = {"type": "string", "pattern": f"^[0-9]{{1,{len(str(SEQ_MAX))}}}$"}
    return {
        "operationId": "listJournal",
        "tags": ["settings"],
        "summary": "See who did what, newest first",
        "description": HOUSE + "Keys, endpoints, webhooks, switches and holds. An act is put here before it is done.",
        "parameters": [*_paging("Entries", cursor), request_id()],
        "responses": {"200": ok("A page.", "JournalPage", {"data": [EXAMPLE_ACT], "nextCursor": "42"})}
        | problems("not_found", *READING),
        "x-codeSamples": curl("curl http://127.0.0.1:8080/journal"),
    }


def _paging(what: str, cursor: Document) -> list[Document]:
    return [
        parameter("limit", "query", f"{what} of one page.", _limit(SETTINGS_LIMIT_MAX, SETTINGS_LIMIT), SETTINGS_LIMIT),
        parameter("cursor", "query", "`nextCursor` of the page before.", cursor),
    ]


def _limit(most: int, default: int) -> Document:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


def _webhook_id() -> Document:
    return parameter("id", "path", "Id of the webhook.", {"type": "string", "pattern": WEBHOOK_ID}, EXAMPLE_WEBHOOK_ID)


def _body(schema: str, example: Document) -> Document:
    says = f"One JSON object in UTF-8 with at most {BODY_BYTES_MAX} bytes, which arrives within {BODY_S:g} seconds."
    return {
        "required": True,
        "description": says,
        "content": {"application/json": {"schema": ref(schema), "example": example}},
    }
