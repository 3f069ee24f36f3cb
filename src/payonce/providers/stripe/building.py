"""What we ask: paths, headers and form-encoded bodies, the same for the same intent, byte for byte."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, urlencode

from payonce.adapter import EXPONENTS, HttpRequest, Intent, Window

from .words import PLACES

API_VERSION: Final = "2026-10-28.endive"
INTENTS: Final = "/v1/payment_intents"
PAGE: Final = 100
DESCRIPTION_CHARS: Final = 1000
Pairs = Iterable[tuple[str, str]]


def place(container: str, below: str = "") -> str:
    return f"{INTENTS}/{quote(container, safe='')}{below}"


def get(path: str, pairs: Pairs = ()) -> HttpRequest:
    query = urlencode(list(pairs))
    return HttpRequest(method="GET", path=f"{path}?{query}" if query else path, headers=(("stripe-version", API_VERSION),))


def post(path: str, pairs: Pairs, key: str = "") -> HttpRequest:
    headers = [("content-type", "application/x-www-form-urlencoded"), ("stripe-version", API_VERSION)]
    if key:
        headers.append(("idempotency-key", key))
    return HttpRequest(method="POST", path=path, headers=tuple(headers), body=urlencode(list(pairs)).encode())


def build(intent: Intent) -> HttpRequest:
    """The request of a step. ``/cancel`` and ``/capture`` go without a key: see the package."""
    match intent.kind:
        case "create":
            return post(INTENTS, _new(intent), intent.key)
        case "fire":
            return post(place(intent.container, "/confirm"), _confirmation(intent), intent.key)
        case "capture":
            amount = to_vendor(intent.capture_minor or intent.amount_minor, intent.currency)
            pairs = [("amount_to_capture", str(amount)), ("expand[0]", "latest_charge")]
            return post(place(intent.provider_ref or intent.container, "/capture"), pairs)
        case "close":
            return post(place(intent.container, "/cancel"), [("cancellation_reason", "abandoned")])
        case "void":
            return post(place(intent.provider_ref or intent.container, "/cancel"), [])
        case "refund":
            return post("/v1/refunds", _refund(intent), intent.key)
        case "read" if intent.container:
            return get(place(intent.container), [("expand[0]", "latest_charge")])
        case "read":
            return newest()
    raise ValueError(f"stripe has no step {intent.kind}")


def newest(after: str = "") -> HttpRequest:
    """A page of the account's PaymentIntents, newest first: where one whose creation was not answered is looked for."""
    return get(
        INTENTS, [("limit", str(PAGE)), ("expand[0]", "data.latest_charge"), *([("starting_after", after)] if after else [])]
    )


def refunds_of(payment_intent: str, after: str = "") -> HttpRequest:
    pairs = [("payment_intent", payment_intent), ("limit", str(PAGE))]
    return get("/v1/refunds", [*pairs, *([("starting_after", after)] if after else [])])


def one_refund(ref: str) -> HttpRequest:
    return get(f"/v1/refunds/{quote(ref, safe='')}")


def listing(window: Window) -> HttpRequest:
    """The vendor's times are whole seconds: the page may hold up to a second more on either side."""
    pairs = [
        ("created[gte]", str(window.from_us // 1_000_000)),
        ("created[lt]", str(-(-window.before_us // 1_000_000))),
        ("limit", str(PAGE)),
        ("expand[0]", "data.latest_charge"),
    ]
    return get(INTENTS, [*pairs, *([("starting_after", window.cursor)] if window.cursor else [])])


def to_vendor(amount_minor: int, currency: str) -> int:
    """Their unit from ISO minor units. Raises ValueError for an amount that has no name in it."""
    shift = PLACES.get(currency, EXPONENTS[currency]) - EXPONENTS[currency]
    if shift >= 0:
        return amount_minor * int(10**shift)
    amount, rest = divmod(amount_minor, int(10**-shift))
    if rest:
        raise ValueError(f"stripe takes no parts of a unit in {currency}")
    return amount


def from_vendor(amount: int, currency: str) -> int:
    """ISO minor units from theirs. Raises ValueError for what is no whole number of them, KeyError for no currency."""
    shift = EXPONENTS[currency] - PLACES.get(currency, EXPONENTS[currency])
    if shift >= 0:
        return amount * int(10**shift)
    minor, rest = divmod(amount, int(10**-shift))
    if rest:
        raise ValueError(f"a part of a minor unit in {currency}")
    return minor


def _new(intent: Intent) -> Pairs:
    yield "amount", str(to_vendor(intent.amount_minor, intent.currency))
    yield "currency", intent.currency.lower()
    yield "capture_method", "manual" if intent.manual else "automatic"
    yield "automatic_payment_methods[enabled]", "true"
    yield "automatic_payment_methods[allow_redirects]", "always" if intent.return_url else "never"
    yield "metadata[reference]", intent.reference
    if intent.metadata.get("forceFail") is True:
        yield "metadata[forceFail]", "true"
    if description := intent.description[:DESCRIPTION_CHARS].strip():
        yield "description", description


def nothing_to_pay_with(intent: Intent) -> bool:
    """A card without a token: its data is for the vendor's own pages, and ``card`` is no type that is taken without."""
    return not intent.payment_method and intent.payment_method_type in ("", "card")


def _confirmation(intent: Intent) -> Pairs:
    if intent.payment_method:
        yield "payment_method", intent.payment_method
    elif not nothing_to_pay_with(intent):
        yield "payment_method_data[type]", intent.payment_method_type
        for name in ("email", "name", "phone"):
            value = intent.metadata.get(f"customer{name.title()}")
            if isinstance(value, str) and (text := value.strip()):
                yield f"payment_method_data[billing_details][{name}]", text
    if intent.return_url:
        yield "return_url", intent.return_url
    yield "expand[0]", "latest_charge"


def _refund(intent: Intent) -> Pairs:
    yield "payment_intent", intent.provider_ref or intent.container
    yield "amount", str(to_vendor(intent.refund_minor, intent.currency))
    yield "metadata[reference]", intent.refund_reference
