"""What every peer takes, shows and asks of the provider: the same job for all. Only payonce has its own words for it.

The rules of a careful integration: the payment's id is the provider's idempotency key and reference; two seconds of patience;
no answer, or an answer of their trouble (5xx, 429), is no answer and is asked again under the same key.
"""

import os
from dataclasses import dataclass
from typing import Annotated, Final

import httpx2
from pydantic import BaseModel, Field, StringConstraints

PROVIDER: Final = os.environ.get("PEER_PROVIDER", "")  # address of benchmarks/provider.py
DATABASE: Final = os.environ.get("PEER_DATABASE", "")  # an SQLAlchemy URL
WORKER: Final = os.environ.get("PEER_WORKER", "1") == "1"  # 0: only accept
# Before sending again, ask the provider for what it has under our reference: for vendors that honour no idempotency keys.
LOOK: Final = os.environ.get("PEER_LOOK", "0") == "1"
TIMEOUT_S: Final = 2.0
KEY_MAX: Final = 255

Text = Annotated[str, StringConstraints(max_length=500)]


class Order(BaseModel, extra="forbid", strict=True):
    """The body of ``POST /payments``."""

    amount: int = Field(gt=0, le=999_999_999_999)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    paymentMethod: Text  # noqa: N815 - the word of the API
    clientId: Text | None = None  # noqa: N815 - as above
    metadata: dict[Text, Text] = Field(default_factory=dict, max_length=50)


class Shown(Order):
    """The body of every answer. Times are seconds since 1970."""

    transactionId: str  # noqa: N815 - as above
    status: str = "PENDING"
    providerRef: str | None = None  # noqa: N815 - as above
    lastError: str | None = None  # noqa: N815 - as above
    createdAt: float  # noqa: N815 - as above
    updatedAt: float  # noqa: N815 - as above


@dataclass(frozen=True)
class Charged:
    """A final answer of the provider."""

    status: str  # SUCCESS or FAILED
    ref: str | None = None
    error: str | None = None


class Unanswered(Exception):
    """Nobody knows whether it was charged. Ask again, under the same key."""


def asked(payment_id: str, amount: int, currency: str, token: str) -> tuple[dict[str, object], dict[str, str]]:
    """Body and headers of the charge."""
    return (
        {"amount": amount, "currency": currency, "reference": payment_id, "source": token},
        {"authorization": "Bearer sandbox", "idempotency-key": payment_id},
    )


def answered(response: httpx2.Response) -> Charged:
    """What a response means. Raises Unanswered."""
    if response.status_code in (200, 202):
        charge = response.json()
        if charge["status"] == "succeeded":
            return Charged("SUCCESS", ref=charge["id"])
    elif response.status_code == 402:
        return Charged("FAILED", error=response.json()["error"]["decline_code"])
    elif response.status_code in (400, 401, 403):
        return Charged("FAILED", error=response.json()["error"]["code"])
    raise Unanswered(f"HTTP {response.status_code}")


def found(response: httpx2.Response) -> Charged | None:
    """What the provider has under our reference; None: nothing. Raises Unanswered."""
    if response.status_code != 200:
        raise Unanswered(f"HTTP {response.status_code}")
    charges = response.json()["data"]
    if taken := [each for each in charges if each["status"] == "succeeded"]:
        return Charged("SUCCESS", ref=taken[0]["id"])
    return Charged("FAILED", error=charges[0]["decline_code"]) if charges else None


def charge(http: httpx2.Client, payment_id: str, amount: int, currency: str, token: str, *, again: bool) -> Charged:
    """Charge it. ``again``: it may have been sent before. Raises Unanswered."""
    body, headers = asked(payment_id, amount, currency, token)
    try:
        if LOOK and again and (there := found(http.get(f"{PROVIDER}/charges", params={"reference": payment_id}))):
            return there
        return answered(http.post(f"{PROVIDER}/charges", json=body, headers=headers))
    except httpx2.TransportError as error:
        raise Unanswered(f"{type(error).__name__}: {error}") from error


async def charge_async(
    http: httpx2.AsyncClient, payment_id: str, amount: int, currency: str, token: str, *, again: bool
) -> Charged:
    """The same for asyncio."""
    body, headers = asked(payment_id, amount, currency, token)
    try:
        if LOOK and again and (there := found(await http.get(f"{PROVIDER}/charges", params={"reference": payment_id}))):
            return there
        return answered(await http.post(f"{PROVIDER}/charges", json=body, headers=headers))
    except httpx2.TransportError as error:
        raise Unanswered(f"{type(error).__name__}: {error}") from error
