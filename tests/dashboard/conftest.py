"""One served payonce for each module of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from payonce.dashboard.pages import screens

from .house import House, served_house
from .screens import SCREENS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server on a store of its own, in test mode, with the shipped simulated providers."""
    folder: Path = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch, served_house(folder) as up:
        patch.setattr("payonce.dashboard.showing.screens", lambda: (*SCREENS, *screens()))
        yield up


@pytest.fixture
def house(served: House) -> Iterator[House]:
    """The module's server; who came for a test goes after it."""
    yield served
    served.leave()
