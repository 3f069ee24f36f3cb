"""Tables with the longest things that can be in them: at each width nothing runs into the next cell, and nothing is cut off."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from payonce.dashboard.pages import attention as attention_page
from payonce.dashboard.pages import overview, payments, providers
from payonce.dashboard.rendering import STATIC
from tests.dashboard.canned import attention, declines, page, provider, stats, sums_of

from .chromium import Browser, installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed() is None, reason="no Chromium on this machine (set CHROMIUM to one)"),
]

WIDTHS = (1280, 1024, 390)
ACCOUNT = "an_account_name_of_32_characters"
WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
AT = "2026-11-26T10:24:31.000000Z"
MOST = 999_999_999_999
PAYMENT: dict[str, Any] = {
    "transactionId": "pay_06h1eyxrby9b6bkqpbe2",
    "status": "IN_DOUBT",
    "amount": MOST,
    "currency": "KWD",
    "provider": ACCOUNT,
    "clientId": "c" * 100,
    "reason": "mismatch",
    "attention": "attempt_unresolved",
    "lastError": {"code": "authentication_failed", "message": WORD},
    "createdAt": AT,
    "updatedAt": AT,
}
LATE = {**PAYMENT, "dueAt": AT, "lateS": 999_999}
STRAY = {"id": f"wh_{'0' * 20}", "account": ACCOUNT, "kind": "payment.dispute.action_required", "state": "parked", "tries": 9}
STRAY |= {"deliveries": 3, "receivedAt": AT, "dueAt": AT}
DELIVERY = {"type": "payment.capture_failed", "endpointId": "whe_1", "transactionId": PAYMENT["transactionId"], "tries": 7}
DELIVERY |= {"state": "pending", "lastStatus": 503, "lastError": WORD, "createdAt": AT, "nextTryAt": AT}
# what sticks out of its cell, and what can only be seen by pushing a table aside
OUT = """() => {
  const found = [];
  for (const box of document.querySelectorAll(".scroll, .table"))
    if (box.checkVisibility() && box.scrollWidth > box.clientWidth + 1)
      found.push(`cut off by ${box.scrollWidth - box.clientWidth}: ${box.textContent.trim().slice(0, 60)}`);
  for (const cell of document.querySelectorAll("td, th")) {
    if (!cell.checkVisibility() || getComputedStyle(cell).overflow !== "visible") continue;
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), right = cell.getBoundingClientRect().right;
    while (texts.nextNode()) {
      if (texts.currentNode.parentElement.closest(".unseen")) continue;
      const range = document.createRange();
      range.selectNodeContents(texts.currentNode);
      for (const box of range.getClientRects()) if (box.right > right + 1) found.push(`over: ${cell.textContent.slice(0, 60)}`);
    }
  }
  return found;
}"""


def many(row: dict[str, Any]) -> dict[str, Any]:
    return {"count": 99, "more": True, "data": [row, row]}


def the_attention() -> str:
    parts = {"inDoubt": PAYMENT, "overdue": LATE, "webhooks": STRAY, "deliveries": DELIVERY}
    return page(attention_page.show, {"/attention": attention(**{name: many(row) for name, row in parts.items()})})


def the_payments() -> str:
    return page(payments.show, {"/payments": {"data": [PAYMENT, PAYMENT], "nextCursor": None}})


def the_overview() -> str:
    sums = sums_of(ACCOUNT, calls=999_999_999, errors=999_999, successRate=0.123, share=1.0, callP95Ms=123_456.0)
    amounts = [{"currency": "KWD", "accepted": 10**15, "taken": 10**15, "held": 10**15}]
    found = stats(providers=[sums], amounts=amounts, now={"accepted": 5}, previous={"accepted": 5, "calls": 7})
    drain = {"reason": WORD, "by": f"key_{'0' * 20}@255.255.255.255", "since": AT}
    accounts = {"data": [provider(ACCOUNT, drain=drain)]}
    given = {"/stats": found, "/providers": accounts, "/stats/declines": declines(), "/attention": attention()}
    return page(overview.show, given) + page(providers.show, given)


@pytest.mark.parametrize("made", [the_attention, the_payments, the_overview])
def test_nothing_runs_into_the_next_cell(made: Callable[[], str], browser: Browser) -> None:
    """In the frame of a page, with times that say how long ago they were."""
    styles = (STATIC / "style.css").read_text() + "".join(
        path.read_text() for path in sorted(STATIC.glob("*.css")) if path.name != "style.css"
    )
    with ThreadPoolExecutor(1) as aside:  # the browser has a loop of its own in this thread
        content = aside.submit(made).result()
    content = content.replace("data-time>", 'data-time data-ago="59\u00a0min\u00a0ago">')
    html = f'<!doctype html><meta name="viewport" content="width=device-width"><style>{styles}</style>'
    browser.page.set_content(
        f'{html}<div class="frame"><header class="side"></header><div class="main"><main>{content}</main></div></div>'
    )
    for width in WIDTHS:
        browser.look(width=width, height=900)
        assert browser.run(OUT) == [], f"{width}"
        assert browser.run("document.documentElement.scrollWidth") <= width, f"{width}"
