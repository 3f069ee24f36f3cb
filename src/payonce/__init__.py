"""payonce: one API in front of many payment providers; settles every accepted payment, never charges twice.

    async with payonce.open("pay.db") as p:
        payment = await p.pay(amount=1050, currency="INR", payment_method="tok_ok", idempotency_key="order-1")
        payment = await p.wait(payment.transaction_id)
        refund = await p.refund(payment.transaction_id, 250, idempotency_key="order-1-back")

Names are loaded when they are first used, so that ``import payonce`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Settings, load
    from .core.errors import (
        ConfigError,
        InvariantViolated,
        NewerSchema,
        PayonceError,
        Refused,
        StoreUnavailable,
    )
    from .embedded import Payments, asgi_app, open  # noqa: A004  payonce.open reads like the builtin it is meant to be

__version__ = "0.2.0"

__all__ = [
    "ConfigError",
    "InvariantViolated",
    "NewerSchema",
    "Payments",
    "PayonceError",
    "Refused",
    "Settings",
    "StoreUnavailable",
    "__version__",
    "asgi_app",
    "load",
    "open",
]

_HOMES = {
    ".config": ("Settings", "load"),
    ".core.errors": ("ConfigError", "InvariantViolated", "NewerSchema", "PayonceError", "Refused", "StoreUnavailable"),
    ".embedded": ("Payments", "asgi_app", "open"),
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            value = getattr(import_module(home, __name__), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
