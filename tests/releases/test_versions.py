"""Another release's code in this interpreter: it is whole, it is its own, and today's is what it was."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from payonce.core.idempotency import Details, NewPayment
from payonce.engine import Engine
from payonce.testing import versions
from payonce.testing.versions import load, today

from .kept import releases

ZIP = releases()[0].folder / "code.zip"
ACCOUNTS = ("mock", "razorpay_mock", "cashfree_mock")


def ours() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "payonce"}


def test_today_is_what_runs() -> None:
    """No copy: today's names are those that everybody imports."""
    code = today()
    assert (code.Engine, code.NewPayment, code.Details) == (Engine, NewPayment, Details)


def test_an_old_class_is_never_a_class_of_today() -> None:
    """The same names, other classes, all from the zip; and today's modules are untouched."""
    before, path = ours(), list(sys.path)
    versions._load.cache_clear()
    old = load(ZIP)
    assert ours() == before
    assert sys.path == path
    assert old.modules.keys() >= {"payonce.engine", "payonce.providers.razorpay", "payonce.stores.sqlite.writer"}
    assert [name for name, module in old.modules.items() if not str(module.__file__).startswith(str(ZIP))] == []
    assert [name for names in versions.NAMES.values() for name in names if getattr(old, name) is getattr(today(), name)] == []
    assert load(str(ZIP)) is old


def test_old_accounts_have_old_adapters_and_point_where_todays_do() -> None:
    """An open attempt of one code is not lost to the other: same base URL, credential and mode."""
    old, new = load(ZIP).accounts, today().accounts
    assert set(old) >= set(ACCOUNTS)
    for name in ACCOUNTS:
        assert type(old[name].adapter) is not type(new[name].adapter)
        then, now = ((a.base_url, a.credential_id, a.mode, a.adapter.name) for a in (old[name], new[name]))
        assert then == now


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    """Today's code is never taken for another release, and stays loaded."""
    before = ours()
    with pytest.raises(ImportError, match="holds no package payonce"):
        load(tmp_path)
    assert ours() == before


def test_a_name_that_is_gone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that moved a name does not load half."""
    before = ours()
    versions._load.cache_clear()
    monkeypatch.setattr(versions, "NAMES", {**versions.NAMES, "engine": ("Engine", "Motor")})
    with pytest.raises(ImportError, match="no Motor"):
        load(ZIP)
    assert ours() == before
