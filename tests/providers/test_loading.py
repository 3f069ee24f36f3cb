"""Providers and simulators come in by one door: entry points, ours and everybody's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from payonce.core.errors import ConfigError
from payonce.providers import load_adapters
from payonce.providers.mock import ADAPTER
from payonce.sandbox.mock import SIMULATOR
from payonce.sandbox.server import installed


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    load_adapters.cache_clear()
    installed.cache_clear()
    yield
    load_adapters.cache_clear()
    installed.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, points: str, code: str = "") -> None:
    """A package as pip would leave it: a module and its metadata."""
    info = folder / f"{folder.name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {folder.name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    (folder / f"{folder.name}_module.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))


THIRD = "class Adapter:\n    name = 'third'\nADAPTER = Adapter()\n"


def test_ours_come_by_entry_point() -> None:
    """The built-in provider is found like any other."""
    assert load_adapters()["mock"] is ADAPTER
    assert installed()["mock"] is SIMULATOR


def test_a_third_party_comes_by_the_same_door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Installing a package is all it takes."""
    points = "[payonce.providers]\nthird = a_module:ADAPTER\n[payonce.simulators]\nthird = a_module:ADAPTER\n"
    install(monkeypatch, tmp_path / "a", points, THIRD)
    assert set(load_adapters()) >= {"mock", "third"}
    assert set(installed()) >= {"mock", "third"}


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ("fourth = b_module:ADAPTER", "calls itself third"),
        ("third = b_module:NOTHING", "cannot be loaded"),
        ("third = no_such_module:ADAPTER", "cannot be loaded"),
        ("mock = b_module:ADAPTER", "Two packages bring a provider named mock"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, points: str, says: str) -> None:
    """A wrong name, a broken package and a doubled name stop the start; the error names the package."""
    install(monkeypatch, tmp_path / "b", f"[payonce.providers]\n{points}\n", THIRD)
    with pytest.raises(ConfigError, match=says):
        load_adapters()


def test_a_simulator_name_is_taken_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody may stand in for the sandbox's own pages."""
    install(monkeypatch, tmp_path / "c", "[payonce.simulators]\nsandbox = c_module:ADAPTER\n", THIRD)
    with pytest.raises(ValueError, match="sandbox is taken"):
        installed()
