"""docs/events.md: every command that the page shows is run; its table is the code's, its loop reads everything."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from payonce.cli.listen import AGAIN_S
from payonce.core import news
from payonce.shown.news import EventPage
from tests.receiver import Receiver

from .test_listen import Listener, hear, shop
from .test_processes import DEADLINE_S, Start, cli, post, start, until

__all__ = ["hear", "shop", "start"]

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
SERVER, SHOP = "http://127.0.0.1:8080", "http://localhost:3000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    return [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]


def test_the_table_has_every_type() -> None:
    """All of core/news.py, each once, and no other."""
    named = re.findall(r"^\| `([a-z_.]+)` \|", PAGE, re.MULTILINE)
    assert sorted(named) == sorted(news.TYPES)


def test_the_shown_page_has_the_fields_of_a_page() -> None:
    """The names of the example are those that are answered."""
    (shown,) = blocks("json")
    assert set(json.loads(shown)) == set(EventPage.__struct_encode_fields__)
    assert f"{len(AGAIN_S)} times within {sum(AGAIN_S):.0f} seconds".replace("5 times", "five times") in PAGE


@pytest.mark.usefixtures("one_account")
def test_the_commands_do_what_the_page_says(
    start: Start, hear: Callable[..., Listener], shop: Receiver, tmp_path: Path
) -> None:
    """Each is run beside a server, in the order of the page; those that listen are stopped with Ctrl-C, and end with 0."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    paid = post(server.url, "first", "tok_ok")
    until(lambda: httpx2.get(f"{server.url}/events", timeout=10).json()["data"], "the first event")
    ran = 0
    for command in commands():
        there = [word.replace(SERVER, server.url).replace(SHOP, shop.url) for word in command]
        ran += 1
        if there[:2] == ["payonce", "listen"] and "--print-secret" not in there:
            url = [] if "--url" in there else ["--url", server.url]
            here = hear(*there[2:], *url)
            more = post(server.url, f"more-{ran}", "tok_ok")
            (line,) = until(here.lines, "a line")
            assert more in line
            assert here.end() == 0
        elif there[0] == "payonce":
            done = cli(tmp_path, *there[1:], "--data-dir", "data")
            assert done.returncode == 0, done.stderr
            assert paid in done.stdout or there[1] != "events"
        else:
            done = subprocess.run(there, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
            assert json.loads(done.stdout)["data"][0]["data"]["payment"]["transactionId"] == paid
    assert ran >= 8
    assert len(shop.got) == 1


class Enough(Exception):
    """The loop of the page has no end."""


@pytest.mark.usefixtures("one_account")
def test_the_loop_of_the_page_reads_everything(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a time, and then from the cursor that was kept, without missing or repeating one."""
    server = start("serve", "--port", "0", "--data-dir", "data")
    got, kept = list[str](), list[str | None]([None])
    paid: list[str] = []

    def handle(events: list[dict[str, Any]], cursor: str) -> None:
        got.extend(event["data"]["payment"]["transactionId"] for event in events)
        kept[0] = cursor
        if len(got) == len(paid):
            raise Enough

    there: dict[str, Any] = {}
    (source,) = blocks("python")
    exec(compile(source.replace('"2026-11-24T00:00:00Z"', '"2020-01-01T00:00:00Z"'), "docs/events.md", "exec"), there)  # noqa: S102
    monkeypatch.setattr(there["time"], "sleep", lambda _: None)
    with httpx2.Client(base_url=server.url, timeout=10) as client:
        for n in range(3):
            paid.append(post(server.url, f"k{n}", "tok_ok"))
            with pytest.raises(Enough):
                there["follow"](client, kept[0], handle)
    assert got == paid
