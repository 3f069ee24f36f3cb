"""What a key must be allowed to, route by route: one table, which the application enforces and ``openapi.json`` shows. A route
that is not in it does not start."""

from collections.abc import Mapping
from typing import Final

from payonce.merchants.keys import KeyScope

# Path -> method -> scope. None: open to everybody, also where keys are needed.
NEEDS: Final[Mapping[str, Mapping[str, KeyScope | None]]] = {
    "/": {"GET": None},
    "/payments": {"GET": "payments:read", "POST": "payments:write"},
    "/payments/{id}": {"GET": "payments:read"},
    "/payments/{id}/history": {"GET": "payments:read"},
    "/payments/{id}/capture": {"POST": "payments:write"},
    "/payments/{id}/void": {"POST": "payments:write"},
    "/payments/{id}/refunds": {"GET": "payments:read", "POST": "refunds:write"},
    "/payments/{id}/operations": {"GET": "payments:read"},
    "/payments/{id}/operations/{operationId}": {"GET": "payments:read"},
    "/payments/{id}/story": {"GET": "payments:read"},
    "/payments/{id}/check": {"POST": "payments:write"},
    "/payments/{id}/resolve": {"POST": "admin"},
    "/search": {"GET": "payments:read"},
    "/events": {"GET": "payments:read"},
    "/events/{id}": {"GET": "payments:read"},
    "/webhook-endpoints": {"GET": "admin", "POST": "admin"},
    "/webhook-endpoints/{id}": {"GET": "admin", "PATCH": "admin", "DELETE": "admin"},
    "/webhook-endpoints/{id}/rotate-secret": {"POST": "admin"},
    "/webhook-endpoints/{id}/enable": {"POST": "admin"},
    "/webhook-endpoints/{id}/disable": {"POST": "admin"},
    "/webhook-endpoints/{id}/test": {"POST": "admin"},
    "/webhook-endpoints/{id}/recover": {"POST": "admin"},
    "/webhook-endpoints/{id}/deliveries": {"GET": "admin"},
    "/webhook-deliveries": {"GET": "admin"},
    "/webhook-deliveries/{id}": {"GET": "admin"},
    "/webhook-deliveries/{id}/replay": {"POST": "admin"},
    "/stats": {"GET": "payments:read"},
    "/stats/declines": {"GET": "payments:read"},
    "/providers": {"GET": "payments:read"},
    "/providers/{account}": {"GET": "payments:read"},
    "/providers/{account}/drain": {"POST": "admin"},
    "/providers/{account}/resume": {"POST": "admin"},
    "/attention": {"GET": "payments:read"},
    "/workers": {"GET": "payments:read"},
    "/routing": {"GET": "payments:read"},
    "/routing/dry-run": {"POST": "payments:read"},
    "/inbox": {"GET": "payments:read"},
    "/inbox/{id}": {"GET": "payments:read"},
    "/inbox/{id}/replay": {"POST": "admin"},
    "/keys": {"GET": "admin"},
    "/configuration": {"GET": "admin"},
    "/journal": {"GET": "admin"},
    "/return/{reference}": {"GET": None, "POST": None},
    "/webhooks/{account}": {"POST": None},
    "/livez": {"GET": None},
    "/readyz": {"GET": None},
    "/metrics": {"GET": "payments:read"},
    "/openapi.json": {"GET": None},
    "/docs": {"GET": None},
    "/docs/style.css": {"GET": None},
}
# Never refused for want of room: who looks after the service must see it while it is full.
HEALTH: Final = frozenset({"/livez", "/readyz"})


def needs_of(path: str, method: str) -> KeyScope | None:
    """The scope for a route as the application names it. Raises KeyError for one that is not in the table."""
    return NEEDS[path]["GET" if method == "HEAD" else method]
