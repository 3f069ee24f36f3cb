"""The pages of the dashboard: one file each, with its table ``PAGES``."""

from importlib import import_module
from typing import Final

from payonce.dashboard.visit import Screen

MODULES: Final = (
    "overview",
    "payments",
    "payment",
    "actions",
    "export",
    "attention",
    "providers",
    "declines",
    "routing",
    "webhooks",
    "deliveries",
    "workers",
    "settings",
    "record",
)


def screens() -> tuple[Screen, ...]:
    """Every screen, in the order in which paths are tried."""
    found: list[Screen] = []
    for name in MODULES:
        found += import_module(f"{__name__}.{name}").PAGES
    return tuple(found)
