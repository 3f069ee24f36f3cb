"""Damaged, empty, foreign and read-only files: what the commands that only look say about them."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from .conftest import Payonce

Paid = Callable[..., dict[str, Any]]
DROP_BOUNDING_CAPABILITY = 24  # prctl(2)
OVERRIDES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: what makes root ignore permissions
CLI = (sys.executable, "-m", "payonce")


def file_of(data: Path) -> Path:
    return data / "payments.db"


def page_size(data: Path) -> int:
    return int.from_bytes(file_of(data).read_bytes()[16:18], "big")


def overwrite(data: Path, at: int, count: int = 300) -> None:
    with file_of(data).open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * count)


def test_bytes_over_any_page_are_found(payonce: Payonce, paid: Paid, data: Path) -> None:
    """Wherever a sector in use went bad, verify ends with 1, says so, and promises nothing. No traceback."""
    paid("tok_ok")
    paid("tok_never_resolves", wait="0.3")  # so that every table has a row
    whole = file_of(data).read_bytes()
    size = page_size(data)
    missed = []
    for page in range(len(whole) // size):
        for start in (page * size, (page + 1) * size - 300):
            file_of(data).write_bytes(whole)
            if not whole[start : start + 300].strip(b"\0"):
                continue  # free space: nothing was lost
            overwrite(data, start)
            ran = payonce("verify")
            if ran.code != 1 or "are safe" in ran.out + ran.err or "no problem" in ran.out:
                missed.append((page, start - page * size, ran))
    assert missed == []


@pytest.mark.parametrize("command", [("verify",), ("list",), ("show", "pay_00000000000000000000")])
def test_a_damaged_file_is_not_called_safe(payonce: Payonce, paid: Paid, data: Path, command: tuple[str, ...]) -> None:
    """Its text names the damage and the backup, not that payments are safe."""
    paid("tok_ok")
    size = page_size(data)
    for page in range(1, file_of(data).stat().st_size // size):
        overwrite(data, page * size)
    ran = payonce(*command)
    assert ran.code in (1, 6)
    assert "are safe" not in ran.out + ran.err
    assert "damaged" in ran.out + ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty (0 bytes)"), (b"\xff" * 4096, "is not an SQLite database"), (b"hello", "is not an SQLite database")],
)
def test_a_file_without_payments_is_a_failure(payonce: Payonce, data: Path, content: bytes, said: str) -> None:
    """ "0 payments: no problem" would be the worst answer about a backup that failed. Looking leaves it as it is."""
    data.mkdir()
    file_of(data).write_bytes(content)
    ran = payonce("verify")
    assert (ran.code, said in ran.out, "no problem" in ran.out) == (1, True, False), ran.out + ran.err
    assert payonce("verify", "--json").json["problems"][0]["payment"] == ""
    assert payonce("list").code == 2
    assert file_of(data).read_bytes() == content


@pytest.mark.parametrize(
    ("sql", "said"), [("CREATE TABLE t (x)", "of another application"), ("VACUUM", "is an empty database")]
)
def test_another_database_is_a_failure(payonce: Payonce, data: Path, sql: str, said: str) -> None:
    """Neither an application's own database nor one without tables passes for a store."""
    data.mkdir()
    connection = apsw.Connection(str(file_of(data)))
    connection.execute("PRAGMA user_version = 0; PRAGMA journal_mode = WAL; " + sql).fetchall()
    connection.close()
    ran = payonce("verify")
    assert (ran.code, said in ran.out) == (1, True), ran.out + ran.err


def test_looking_changes_nothing(payonce: Payonce, paid: Paid, data: Path) -> None:
    """verify, list and show leave the file as it is, byte for byte."""
    payment = paid("tok_ok")["transactionId"]
    before = file_of(data).read_bytes(), file_of(data).stat().st_mtime_ns
    for command in (("verify",), ("verify", payment), ("list",), ("show", payment)):
        assert payonce(*command).code == 0
    assert (file_of(data).read_bytes(), file_of(data).stat().st_mtime_ns) == before


@pytest.fixture
def backup(tmp_path: Path) -> Iterator[Path]:
    """A folder that is writable again when the test ends."""
    folder = tmp_path / "backup folder ?#%41"
    folder.mkdir()
    yield folder
    folder.chmod(0o755)


def seal_off(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)


def without_override() -> None:
    """In the child: permissions count for root too."""
    if os.geteuid() == 0 and any(ctypes.CDLL(None).prctl(DROP_BOUNDING_CAPABILITY, c, 0, 0, 0) for c in OVERRIDES):
        raise OSError("cannot give up the right to ignore permissions")


def look(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """As a user who may only read."""
    try:
        (folder / "probe").touch()
        (folder / "probe").unlink()
        child = without_override  # only root gets here
    except PermissionError:
        child = None
    return subprocess.run(
        [*CLI, *args, "--data-dir", str(folder)],
        preexec_fn=child, capture_output=True, text=True, timeout=60, check=False, cwd=folder.parent,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="root gives up its override by Linux's prctl")
@pytest.mark.parametrize("left", [(), ("payments.db-wal", "payments.db-shm")])
def test_a_read_only_backup_can_be_looked_at(
    payonce: Payonce, paid: Paid, data: Path, backup: Path, left: tuple[str, ...]
) -> None:
    """No write-ahead log with content: verify, list and show work in a folder where nothing may be made."""
    payment = paid("tok_ok")["transactionId"]
    assert payonce("list").code == 0  # leaves an empty log
    for name in ("payments.db", *left):
        shutil.copy(data / name, backup)
    seal_off(backup)
    for command in (("verify",), ("list",), ("show", payment)):
        ran = look(backup, *command)
        assert (ran.returncode, payment in ran.stdout or "no problem" in ran.stdout) == (0, True), ran.stderr
    assert sorted(f.name for f in backup.iterdir()) == sorted(("payments.db", *left))


@pytest.mark.skipif(sys.platform != "linux", reason="root gives up its override by Linux's prctl")
def test_a_read_only_backup_with_a_log_says_where_to_copy_it(payonce: Payonce, paid: Paid, data: Path, backup: Path) -> None:
    """The newest payments are in the log; looking past it would hide them."""
    paid("tok_ok")
    holder = apsw.Connection(str(file_of(data)))  # keeps the log from being tidied up
    holder.execute("UPDATE payments SET attention = 'look'")
    for name in ("payments.db", "payments.db-wal"):
        shutil.copy(data / name, backup)
    holder.close()
    assert (backup / "payments.db-wal").stat().st_size > 0
    seal_off(backup)
    ran = look(backup, "verify")
    assert (ran.returncode, "Copy both files to a folder that you may write" in ran.stderr) == (6, True), ran.stderr
    backup.chmod(0o755)
    ran = look(backup, "verify")
    assert (ran.returncode, "show something else: attention" in ran.stdout) == (1, True), ran.stderr
