"""The file from whose key endpoints' secrets are derived."""

import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from payonce.bootstrap import SystemEntropy
from payonce.core.errors import ConfigError, Refused
from payonce.outbound.opening import chosen
from payonce.outbound.signing_key import FILE_NAME, KeyFile

from .room import Dice


def first(path: str) -> bytes:
    """What a process of its own gets."""
    return KeyFile(Path(path), SystemEntropy())()


def test_it_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    """At the first use, readable by nobody else; the next one gets the same, and nothing is left beside it."""
    path = tmp_path / "data" / FILE_NAME
    key = KeyFile(path, Dice(1))()
    assert KeyFile(path, Dice(2))() == key
    assert len(key) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [FILE_NAME]


def test_processes_that_are_first_at_once_get_the_same(tmp_path: Path) -> None:
    """Whichever made it: a secret that one shows is the one that the other signs with."""
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for n in range(5):
            keys = set(pool.map(first, [str(tmp_path / str(n) / FILE_NAME)] * 8))
            assert len(keys) == 1


def test_who_is_second_in_the_middle_of_it_takes_the_first_ones(tmp_path: Path) -> None:
    """Both saw that there is none; the one that comes later keeps what is there."""
    path = tmp_path / FILE_NAME
    slow, fast = KeyFile(path, Dice(1)), KeyFile(path, Dice(2))
    key = fast()
    slow._make()
    assert slow() == fast() == key


def test_one_that_cannot_be_made_or_holds_nothing_is_said(tmp_path: Path) -> None:
    """Endpoints are off then, and the text names the file, not its folder."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Refused, match="webhooks_unavailable"):
        KeyFile(tmp_path / "file" / FILE_NAME, Dice())()
    (tmp_path / FILE_NAME).write_text("\n")
    with pytest.raises(Refused, match="holds no key") as refused:
        KeyFile(tmp_path / FILE_NAME, Dice())()
    assert str(tmp_path) not in refused.value.detail


def test_a_chosen_key_that_can_be_guessed_is_refused() -> None:
    """Whoever guesses it signs for us; it is not in the text."""
    with pytest.raises(ConfigError, match="env:HOOKS") as refused:
        chosen("hunter2", "env:HOOKS")
    assert "hunter2" not in str(refused.value)
    assert chosen("x" * 32, "env:HOOKS")() == b"x" * 32
