"""The code of docs/webhooks-out.md does what the page says, and its numbers are those of the code."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from payonce.core import news
from payonce.outbound import schedule, sending, signing, turns
from payonce.outbound.endpoints import ACTIVE_AFTER_US

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks-out.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SECRETS = [signing.derived(b"k" * 32, "whe_x", n) for n in (1, 2)]
BODY = '{"type":"payment.succeeded","text":"für"}'.encode()


@pytest.mark.parametrize("block", BLOCKS, ids=["package", "plain"])
def test_the_receivers_of_the_page_verify(block: str) -> None:
    """Both take what we send, with either secret of a rotation; not what was tampered with, is stale, or is another's."""
    pytest.importorskip("standardwebhooks", reason="the page's first way needs it")
    there: dict[str, Any] = {}
    exec(compile(block, "docs/webhooks-out.md", "exec"), there)  # noqa: S102
    take, now_us = there["take"], int(time.time() * 1_000_000)
    headers = signing.headers("evt_1", now_us, BODY, SECRETS)
    for secret in SECRETS:
        assert take(headers, BODY, secret)["text"] == "für"
    stale = signing.headers("evt_1", now_us - 400_000_000, BODY, SECRETS)
    other = signing.derived(b"k" * 32, "whe_y", 1)
    for wrong in ((headers, BODY + b" ", SECRETS[0]), (stale, BODY, SECRETS[0]), (headers, BODY, other)):
        with pytest.raises(Exception, match=r"(?i)signature|old|signed"):
            take(*wrong)


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    """Schedule, beginning, places, and every type of event."""
    assert len(BLOCKS) == 2
    said = re.findall(r"at once|\d+ (?:s|min|h)", next(line for line in PAGE.splitlines() if line.startswith("| after")))
    unit = {"s": 1, "min": 60, "h": 3600}
    seconds = [0 if each == "at once" else int(each.split()[0]) * unit[each.split()[1]] for each in said]
    assert tuple(seconds) == schedule.DELAYS_S
    assert (ACTIVE_AFTER_US, schedule.JITTER_PART) == (5_000_000, 10)
    assert (turns.AT_ONCE, turns.AT_ONCE_FAILING, sending.LOOKS_MAX) == (4, 1, 64)
    assert signing.TOLERANCE_S == 300
    for name in news.TYPES:
        assert f"`{name}`" in PAGE or "in_doubt" in name
