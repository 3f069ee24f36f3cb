"""Commands that ask a running payonce show an API key: from the environment or the option, and nowhere else."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from payonce.bootstrap import open_app
from payonce.cli.options import Exit
from payonce.cli.remote import There
from payonce.config import load
from payonce.merchants.keys import SCOPES, KeyScope

from .test_processes import DEADLINE_S, Start, start

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.usefixtures("one_account")


def make(data: Path, *scopes: KeyScope) -> str:
    """A key of the store in a folder."""

    async def main() -> str:
        async with open_app(load({"store.data_dir": str(data)}, env={}), env={}) as app:
            key, text = app.keys.new("mer_default", "test", scopes or SCOPES)
            await app.keys.add(key)
            return text

    return asyncio.run(main())


def ask(cwd: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_")}
    command = [sys.executable, "-m", "payonce", *args]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE_S, check=False, env={**clean, **env}
    )


def test_a_key_opens_a_server_to_the_command_line(start: Start, tmp_path: Path) -> None:
    """Without one, or with a wrong one, a 401 that says where it is taken from; with one it pays and refunds."""
    token, little = make(tmp_path / "data"), make(tmp_path / "data", "payments:read")  # before: a server looks each 2 s
    server = start("serve", "--port", "0", "--data-dir", "data")
    pay = ("pay", "--amount", "500", "--currency", "INR", "--method", "tok_ok", "--wait", "20", "--url", server.url, "--json")
    for refused in (ask(tmp_path, *pay), ask(tmp_path, *pay, PAYONCE_API_KEY=token[:-1] + "~")):
        assert (refused.returncode, refused.stdout) == (5, "")
        assert "401" in refused.stderr
        assert "PAYONCE_API_KEY" in refused.stderr
        assert token[10:-1] not in refused.stderr
    weak = ask(tmp_path, *pay, "--api-key", little)
    assert (weak.returncode, "payments:write" in weak.stderr) == (5, True)
    paid = ask(tmp_path, *pay, PAYONCE_API_KEY=token)
    assert paid.returncode == 0, paid.stderr
    id = json.loads(paid.stdout)["transactionId"]
    refund = ask(tmp_path, "refund", id, "--url", server.url, "--wait", "20", "--api-key", token, PAYONCE_API_KEY="sk_test_bad")
    assert refund.returncode == 0, refund.stderr
    assert token not in paid.stdout + paid.stderr + refund.stdout + refund.stderr
    assert server.end() == 0


def test_the_header_is_made_of_what_is_given(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The option wins over the environment; none is none; and what no key can be is sent nowhere."""
    monkeypatch.delenv("PAYONCE_API_KEY", raising=False)
    here = "http://127.0.0.1:8080/"
    assert There(here).bearer() == {}
    monkeypatch.setenv("PAYONCE_API_KEY", " sk_test_env ")
    assert There(here).bearer() == {"Authorization": "Bearer sk_test_env"}
    assert There(here, "sk_test_given").bearer() == {"Authorization": "Bearer sk_test_given"}
    assert There(here, "").bearer() == {}
    for bad in ("a b", "sk_test_\u00e9", "x\r\ny: z"):
        with pytest.raises(Exit) as ended:
            There(here, bad).bearer()
        assert (ended.value.code, bad in str(ended.value)) == (2, False)
    assert capsys.readouterr().err == ""
    There("https://pay.example").bearer()
    assert capsys.readouterr().err == ""
    There("http://pay.example").bearer()
    assert "in the clear" in capsys.readouterr().err
