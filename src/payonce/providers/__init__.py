"""Providers, one file each. Built-ins and third parties come in by the same door: the entry points
``payonce.providers`` (name -> a module's ADAPTER). No file of ours names them."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise

from payonce.adapter import Adapter
from payonce.core.errors import ConfigError

GROUP = "payonce.providers"


@cache
def load_adapters() -> dict[str, Adapter]:
    """Every installed adapter by name. Raises ConfigError when two packages bring the same name, when one cannot be
    imported, or when its entry point has another name than the adapter itself. Do not change the answer."""
    # An editable install may list the same entry point twice; the same value is no conflict.
    points = sorted(set(entry_points(group=GROUP)), key=lambda p: (p.name, p.value))
    for first, second in pairwise(points):
        if first.name == second.name:
            raise ConfigError(f"Two packages bring a provider named {first.name}. Uninstall one of them.")
    return {point.name: _load(point) for point in points}


def _load(point: EntryPoint) -> Adapter:
    try:
        adapter: Adapter = point.load()
    except Exception as error:
        raise ConfigError(f"The provider {point.name} ({point.value}) cannot be loaded: {error}. Fix or remove it.") from error
    if adapter.name != point.name:
        raise ConfigError(f"The provider {point.name} ({point.value}) calls itself {adapter.name}. The names must be the same.")
    return adapter
