"""Each page of the dashboard as people meet it: light and dark, at a desk and on a phone. Nothing keeps anybody out (axe), the
console is silent, the policy has nothing to refuse, and nothing is wider than the window. PICTURES=DIR keeps what was seen.
"""

import json
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from .chromium import Browser, installed
from .desk import Desk, keep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed() is None, reason="no Chromium on this machine (set CHROMIUM to one)"),
]

LOOKS = (("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390))
BETWEEN = (1000, 700, 320)  # half a screen, a tablet, and the narrowest that WCAG 2.2 asks for (1.4.10, reflow)
TALL = 900
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}
# What sticks out of the form field that it stands in; and of the window, for whoever has to mend it.
CROSSING = """[...document.querySelectorAll(".field *")].filter(each => each.checkVisibility())
  .filter(each => each.getBoundingClientRect().right > each.closest(".field").getBoundingClientRect().right + 1)
  .map(each => each.outerHTML.slice(0, 80))"""
WIDEST = """[...document.querySelectorAll("body *")].map(each => [each, Math.round(each.getBoundingClientRect().right)])
  .filter(([each, right]) => right > innerWidth && !each.closest(".scroll, pre, details:not([open])"))
  .slice(0, 5).map(([each, right]) => `${each.outerHTML.slice(0, 80)}: ${right}`)"""
PAGES = (
    "/",
    "/payments",
    "/payments?status=IN_DOUBT",
    "/payments?q=nothing-has-this-name",
    "/payments?q=C-7",
    "/payments?currency=EURO",
    "/payments/{lost}",
    "/payments/{doubt}",
    "/payments/{plain}/refund",
    "/payments/{doubt}/resolve",
    "/payments/{held}/capture",
    "/attention",
    "/providers",
    "/providers/mock",
    "/providers/mock/drain",
    "/providers/mock/resume",
    "/declines",
    "/routing",
    "/webhooks",
    "/webhooks/{hook}",
    "/webhooks/{hook}/replay",
    "/deliveries",
    "/deliveries/{delivery}",
    "/workers",
    "/settings",
    "/record",
    "/payments/pay_00000000000000000000",
    "/sign-in",
    "/sign-in?ticket=used",
)
# what the browser says of pages that are refusals
REFUSALS = {"/payments?currency=EURO": "422", "/payments/pay_00000000000000000000": "404", "/sign-in?ticket=used": "403"}


@pytest.mark.parametrize("page", PAGES)
def test_nothing_keeps_anybody_out(page: str, browser: Browser, desk: Desk) -> None:
    """In each look: no violation of WCAG 2.2 AA, nothing wider than the window; no word on the console but that of a
    refusal, and nothing refused by the policy."""
    if page.startswith("/sign-in"):
        browser.fresh()
    else:
        desk.enter(browser)
    browser.complaints.clear()
    browser.open(desk.at + page.format(**desk.ids))
    browser.run(f"() => {{ {AXE_SCRIPT} }}")
    for scheme, width in LOOKS:  # the same page: what differs is what the style sheet makes of it
        browser.look(width=width, height=TALL, dark=scheme == "dark")
        keep(browser, f"{page}-{scheme}-{width}")
        assert too_wide(browser, width) == [], f"{scheme}, {width}"
        found: list[dict[str, Any]] = browser.run(f"axe.run({json.dumps(RULES)}).then(found => found.violations)")
        assert [violation(each) for each in found] == [], f"{scheme}, {width}"
    for width in BETWEEN:
        browser.look(width=width, height=TALL)
        assert too_wide(browser, width) == [], f"{width}"
    assert browser.run("document.title").endswith("payonce")
    refusal = f"status of {REFUSALS.get(page, 'none')}"
    assert [each for each in browser.complaints if refusal not in each] == []


def too_wide(browser: Browser, width: int) -> list[str]:
    """What is wider than it may be, such as parts of a page that one would have to push from side to side."""
    crossing: list[str] = browser.run(CROSSING)
    wide = browser.run("document.documentElement.scrollWidth")
    return crossing + ([f"the page: {wide}, by {browser.run(WIDEST)}"] if wide > width else [])


def violation(found: dict[str, Any]) -> str:
    """What is wrong and where, for whoever has to mend it."""
    places = [f"{node['target']}: {node.get('failureSummary', '')[:300]}" for node in found["nodes"][:3]]
    return f"{found['id']} ({found['impact']}): {found['help']}; {len(found['nodes'])} places, such as {places}"


def test_the_scheme_is_followed_and_can_be_chosen(browser: Browser, desk: Desk) -> None:
    """Dark where the person prefers it; the switch chooses the other one, which lasts over pages."""

    def is_dark() -> bool:
        return bool(browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part < 100)"))

    desk.enter(browser, dark=True)
    browser.open(f"{desk.at}/")
    assert is_dark()
    browser.page.get_by_role("button", name="Light").click()
    browser.page.wait_for_load_state("load")
    assert not is_dark()
    browser.open(f"{desk.at}/payments")
    assert not is_dark()


@pytest.mark.parametrize("page", ["/", "/payments", "/payments/{lost}", "/providers", "/attention", "/routing"])
def test_everything_can_be_read_without_scripts(page: str, browser: Browser, desk: Desk) -> None:
    """With JavaScript off a page has the same words, its charts have their tables, and its links lead on."""
    desk.enter(browser)
    browser.open(desk.at + page.format(**desk.ids))
    heading = browser.page.locator("h1").inner_text()
    rows = browser.page.locator("table tbody tr").count()
    desk.enter(browser, scripts=False)
    browser.open(desk.at + page.format(**desk.ids))
    assert browser.page.locator("h1").inner_text() == heading
    assert browser.page.locator("table tbody tr").count() >= rows
    for detail in browser.page.locator("main details summary").all()[:3]:
        detail.click()  # opens without any script
    assert browser.page.locator("main details[open]").count() >= min(1, browser.page.locator("main details").count())
