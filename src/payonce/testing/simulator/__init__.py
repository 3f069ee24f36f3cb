"""A deterministic simulation of the real code: engine, worker, adapters and the vendors' simulators on a virtual clock, with
everything going wrong that a seed decides.

    from payonce.testing.simulator import cast_of, simulate

    run = simulate(4711, cast_of())
    run.verdicts.violations     # empty, or what was broken
    print(*run.timeline(), sep="\n")

The rooms, from the inside out: ``loop`` (time), ``fate`` (what goes wrong at a call), ``options`` (what a seed decides),
``vendors``, ``wire``, ``storage`` (the ports), ``cloud`` (the same on DynamoDB), ``processes``,
``merchants``, ``accidents``, ``world`` (its life), ``oracle`` (what must hold), ``trace`` (what happened).
"""

import importlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from payonce.adapter import Adapter
from payonce.core.errors import ConfigError
from payonce.providers import load_adapters
from payonce.sandbox.server import installed
from payonce.sandbox.simulator import Simulator

from .fate import Fate
from .options import Options, draw
from .oracle import Verdicts, Violation
from .trace import Trace, elapsed
from .world import Cast, World, live

__all__ = ["Cast", "Options", "Run", "Verdicts", "Violation", "World", "cast_of", "draw", "elapsed", "simulate"]

SHIPPED = ("cashfree", "mock", "payu", "razorpay", "stripe")


class Run(Struct, frozen=True, kw_only=True):
    """One world, over. ``digest`` is the same for the same seed and code; ``counts`` is how often what happened."""

    options: Options
    verdicts: Verdicts
    digest: str
    counts: Counter[str]
    simulated_s: float
    trace: Trace

    def timeline(self) -> Iterator[str]:
        """What happened, to read: of the payment that broke a rule, or of all. Only when the trace was kept."""
        broken = next((v.payment for v in self.verdicts.violations if v.payment), "")
        return self.trace.timeline(broken)


def cast_of(names: Sequence[str] = SHIPPED) -> Cast:
    """Adapters with the simulators of their vendors: by installed name (entry points ``payonce.providers`` and
    ``payonce.simulators``), or by a module that has ADAPTER and SIMULATOR. One alone is joined by ``mock``, so that there is
    somewhere to fail over to. Raises ConfigError for one that is not there: an adapter is simulated with its vendor."""
    found = [_pair(name) for name in names]
    if len(found) == 1 and found[0][0].name != "mock":
        found.append(_pair("mock"))
    return Cast({a.name: a for a, _ in found}, {a.name: s for a, s in found})


def _pair(name: str) -> tuple[Adapter, Simulator]:
    adapters, simulators = load_adapters(), installed()
    if name in adapters and name in simulators:
        return adapters[name], simulators[name]
    try:
        pair: tuple[Adapter, Simulator] = (_part(name, "ADAPTER"), _part(name, "SIMULATOR"))
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(sorted(adapters.keys() & simulators.keys()))
        raise ConfigError(
            f"{name} cannot be simulated: it is no installed adapter with a simulator of its vendor ({known}), and no module "
            f"or package with ADAPTER and SIMULATOR ({error}). Nothing was simulated."
        ) from error
    return pair


def _part(name: str, what: str) -> Any:
    """From the module itself, or from the one of that name in a package: ``their_package.adapter``."""
    module = importlib.import_module(name)
    return getattr(module, what, None) or getattr(importlib.import_module(f"{name}.{what.lower()}"), what)


def simulate(
    seed: int, cast: Cast, *, options: Options | None = None, fate: Fate | None = None, keep: bool = False, store: str = ""
) -> Run:
    """The world of a seed, from beginning to end. ``keep`` keeps the trace; ``store`` forces a store."""
    logging.getLogger("payonce").setLevel(logging.CRITICAL + 1)  # what processes complain about is expected here
    options = options or draw(seed, tuple(sorted(cast.adapters)), store)
    world, verdicts = live(options, cast, fate=fate, keep=keep)
    return Run(
        options=options,
        verdicts=verdicts,
        digest=world.trace.digest(),
        counts=world.happened(verdicts),
        simulated_s=world.loop.time(),
        trace=world.trace,
    )
