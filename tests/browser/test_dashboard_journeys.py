"""What people do at the dashboard, from beginning to end, in a real browser. In each journey the console is silent and the
policy has nothing to refuse; only what a journey names may be said. The page's clock is wound on where time has to pass.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Locator, Page, expect

from payonce.dashboard.pages.export import FORMULA

from .chromium import Browser, installed
from .desk import Desk, comes_to, keep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed() is None, reason="no Chromium on this machine (set CHROMIUM to one)"),
]

DEADLINE_MS = 15_000
POLLED_MS = 6_000  # longer than any page waits before it looks again
TABS_MAX = 40  # keys, until something at the front of the page is reached
VIEWER = "payments:read"
expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture(autouse=True)
def allowed(browser: Browser) -> Iterator[list[str]]:
    """The browser's words about a refusal that a journey is meant to meet, such as "403": the test adds them."""
    browser.complaints.clear()
    words: list[str] = []
    yield words
    assert [each for each in browser.complaints if not any(f"status of {word}" in each for word in words)] == []


def at(browser: Browser, desk: Desk, path: str) -> Page:
    """The page of a path. What is meant by {key}: the id of the payment that was posted with it."""
    browser.open(desk.at + path.format(**desk.ids))
    return browser.page


def notice(page: Page) -> Locator:
    return page.locator(".notice")


def said(page: Page, reason: str) -> Locator:
    """A reason, where the story of a payment has it."""
    return page.locator(".story q", has_text=reason)


def moved(desk: Desk, key: str, kind: str) -> list[int]:
    """The provider's own book: the amounts of one kind of movement of a payment."""
    reference = desk.ids[key].removeprefix("pay_")
    return [m["amount"] for m in desk.server.ledger() if m["kind"] == kind and m["reference"].startswith(reference)]


def decide(page: Page, verb: str, reason: str, *, submit: str = "", amount: str = "") -> None:
    """From a payment's page through what will happen to the button that does it."""
    page.get_by_role("link", name=verb, exact=True).click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    if amount:
        page.get_by_label("Amount").fill(amount)
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name=submit or verb, exact=True).click()


# --- find -------------------------------------------------------------------------------------------------------------


def test_find_by_the_providers_id(browser: Browser, desk: Desk) -> None:
    """Pasted into the search box of any page it leads straight to the payment, which says what became of the money."""
    desk.enter(browser)
    page = at(browser, desk, "/workers")
    page.get_by_role("searchbox").fill(desk.reference("lost"))
    page.get_by_role("button", name="Find").click()
    expect(page).to_have_url(f"{desk.at}/payments/{desk.ids['lost']}")
    expect(page.locator(".standing .money")).to_contain_text("was taken, once")


def test_find_with_the_keyboard_alone(browser: Browser, desk: Desk) -> None:
    """ "/" goes to the search box, Enter looks; a value of the metadata is enough, and what nobody knows is said."""
    desk.enter(browser)
    page = at(browser, desk, "/")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("A-1001")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{desk.at}/payments/{desk.ids['plain']}")
    expect(page.get_by_text("<b>bold</b>")).to_be_visible()  # a merchant's text is text
    page.keyboard.press("/")
    page.keyboard.type("A-1002")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing found")


# --- act --------------------------------------------------------------------------------------------------------------


def test_refund_a_part(browser: Browser, desk: Desk) -> None:
    """What will happen is said first; a double click is one refund; the reason stands in the story, the money in the facts."""
    desk.paid("part", currency="INR")
    desk.enter(browser, "refunds:write")
    browser.page.clock.install()
    page = at(browser, desk, "/payments/{part}")
    page.get_by_role("link", name="Refund", exact=True).click()
    expect(page.get_by_text("Up to 10.50 INR goes back to the customer")).to_be_visible()
    page.get_by_label("Amount").fill("4.20")
    page.get_by_label("Reason").fill("one cup was broken")
    page.get_by_role("button", name="Refund", exact=True).dblclick()
    expect(notice(page)).to_contain_text("Refund of 4.20 INR accepted")
    expect(said(page, "one cup was broken")).to_be_visible()
    comes_to(desk, "part", ("SUCCESS", 1050, 420))
    page.clock.fast_forward(POLLED_MS)
    expect(page.locator("dl.facts dd", has_text="10.50 INR taken, 4.20 INR given back")).to_be_visible()  # by itself
    assert moved(desk, "part", "refund") == [420]
    page.reload()
    expect(notice(page)).to_have_count(0)


def test_refund_without_scripts(browser: Browser, desk: Desk) -> None:
    """With JavaScript off the same forms do the same; sent twice in a hurry it is still one refund."""
    desk.paid("plainly", currency="INR")
    desk.enter(browser, "refunds:write", scripts=False)
    page = at(browser, desk, "/payments/{plainly}")
    page.get_by_role("link", name="Refund", exact=True).click()
    page.get_by_label("Reason").fill("sent back")
    page.get_by_role("button", name="Refund", exact=True).dblclick()
    expect(notice(page)).to_contain_text("Refund of 10.50 INR")
    comes_to(desk, "plainly", ("SUCCESS", 1050, 1050))
    assert moved(desk, "plainly", "refund") == [1050]
    page.reload()
    expect(said(page, "sent back")).to_be_visible()


def test_what_cannot_be_is_said_and_nothing_typed_is_lost(browser: Browser, desk: Desk, allowed: list[str]) -> None:
    """An amount that is too large is told beside its field; the reason is still there, and nothing was asked."""
    allowed.append("422")
    desk.paid("much", currency="INR")
    desk.enter(browser)
    page = at(browser, desk, "/payments/{much}/refund")
    page.get_by_label("Amount").fill("11.00")
    page.get_by_label("Reason").fill("all of it and more")
    page.get_by_role("button", name="Refund", exact=True).click()
    expect(page.locator("#f-amount-error")).to_contain_text("Is more than the 10.50 INR that there are")
    expect(page.get_by_label("Amount")).to_have_value("11.00")
    expect(page.get_by_label("Reason")).to_have_value("all of it and more")
    assert moved(desk, "much", "refund") == []


def test_capture_and_void_what_is_held(browser: Browser, desk: Desk) -> None:
    """Of one hold a part is taken, the other is given back; both pages say so without being asked again."""
    held = {"captureMethod": "manual", "provider": "stripe_mock"}
    desk.paid("taken", "AUTHORIZED", **held)
    desk.paid("freed", "AUTHORIZED", **held)
    desk.enter(browser)
    browser.page.clock.install()
    page = at(browser, desk, "/payments/{taken}")
    decide(page, "Capture", "the goods were sent", amount="7.50")
    expect(notice(page)).to_contain_text("Capture of 7.50 USD accepted")
    comes_to(desk, "taken", ("SUCCESS", 750, 0))
    page.clock.fast_forward(POLLED_MS)
    expect(page.locator(".standing .badge").first).to_have_text("Succeeded")
    page = at(browser, desk, "/payments/{freed}")
    decide(page, "Void", "sold out")
    expect(notice(page)).to_contain_text("Void accepted")
    comes_to(desk, "freed", ("CANCELED", 0, 0))
    page.clock.fast_forward(POLLED_MS)
    expect(page.locator(".standing .badge").first).to_have_text("Canceled")
    assert (moved(desk, "taken", "capture"), moved(desk, "freed", "capture")) == ([750], [])
    assert len(moved(desk, "freed", "void")) == 1


def test_check_with_the_provider_now(browser: Browser, desk: Desk) -> None:
    """The provider is asked at once; the answer and the reason arrive on the page by themselves."""
    desk.enter(browser, "payments:write")
    browser.page.clock.install()
    page = at(browser, desk, "/payments/{acting}")
    lines = page.locator(".story li.line")
    before = lines.count()
    decide(page, "Check with the provider now", "the customer is on the phone", submit="Ask the provider")
    expect(notice(page)).to_contain_text("is being asked")
    page.clock.fast_forward(POLLED_MS)
    expect(said(page, "the customer is on the phone")).to_be_visible()
    browser.until(f"document.querySelectorAll('.story li.line').length >= {before + 2}", "the answer is in the story")


def test_resolve_what_is_in_doubt(browser: Browser, desk: Desk, allowed: list[str]) -> None:
    """From the list of what needs attention; a word that is no amount keeps everything that was typed; then it is decided."""
    allowed.append("422")
    desk.paid("doubtful", "IN_DOUBT", currency="EUR", method="tok_wrong_amount")
    desk.enter(browser)
    page = at(browser, desk, "/attention")
    page.locator(f'a[href$="{desk.ids["doubtful"]}"]').first.click()
    page.get_by_role("link", name="Resolve", exact=True).click()
    page.get_by_role("radio", name=re.compile("^charged")).check()
    page.get_by_label("The provider's id of the charge").fill("ch_seen_there")
    page.get_by_label("What was taken").fill("ten")
    page.get_by_label("Reason").fill("their support shows it, ticket 4711")
    page.get_by_label("I have looked at the provider").check()
    page.get_by_role("button", name="Record the decision").click()
    expect(page.locator("#f-amount-error")).to_contain_text("Write it in digits")
    expect(page.get_by_role("radio", name=re.compile("^charged"))).to_be_checked()
    expect(page.get_by_label("The provider's id of the charge")).to_have_value("ch_seen_there")
    expect(page.get_by_label("Reason")).to_have_value("their support shows it, ticket 4711")
    page.get_by_label("What was taken").fill("10.50")
    page.get_by_role("button", name="Record the decision").click()
    expect(notice(page)).to_contain_text("Recorded: charged. The payment is SUCCESS now.")
    expect(said(page, "their support shows it, ticket 4711")).to_be_visible()
    comes_to(desk, "doubtful", ("SUCCESS", 1050, 0))


# --- providers and rules ----------------------------------------------------------------------------------------------


def test_drain_and_resume(browser: Browser, desk: Desk) -> None:
    """A provider gets no new payments from the moment that somebody says so, with a reason; both are on the record."""
    desk.enter(browser)
    page = at(browser, desk, "/providers/payu_mock")
    page.get_by_role("link", name="Drain ...").click()
    page.get_by_label("Reason").fill("their support asked for it")
    page.get_by_role("button", name="Drain payu_mock").click()
    expect(page.locator(".account-says")).to_contain_text("their support asked for it")
    assert desk.server.accounts()["payu_mock"]["drain"] is not None
    page.get_by_role("link", name="Resume ...").click()
    page.get_by_label("Reason").fill("they are well again")
    page.get_by_role("button", name="Resume payu_mock").click()
    expect(page.get_by_role("link", name="Drain ...")).to_be_visible()
    page = at(browser, desk, "/record")
    rows = page.locator("tbody tr", has_text="payu_mock")
    expect(rows.nth(0)).to_contain_text("they are well again")
    expect(rows.nth(1)).to_contain_text("their support asked for it")


def test_dry_run_of_a_rule(browser: Browser, desk: Desk, allowed: list[str]) -> None:
    """A mistake is told with its line and the text stays; then it is said how many payments would have gone elsewhere, with
    some of them to look at, and the rules in force are as before."""
    allowed.append("422")
    desk.enter(browser)
    page = at(browser, desk, "/routing")
    in_force = page.locator("section", has=page.get_by_role("heading", name="Rules in force")).inner_text()
    rules = page.get_by_label("Rules and thresholds")
    rules.fill('[[rules]]\nname = "elsewhere"\nuse = ["nobody"]\n')
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("#f-toml-error")).to_contain_text("nobody")
    expect(rules).to_have_value(re.compile("elsewhere"))
    rules.fill('[[rules]]\nname = "elsewhere"\nuse = ["cashfree_mock", "mock"]\n')
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_role("heading", name=re.compile(r"Would have changed [1-9]\d* of \d+ payments"))).to_be_visible()
    assert page.locator("section", has=page.get_by_role("heading", name="Rules in force")).inner_text() == in_force
    example = page.locator("table.groups ul.ids a").first
    name = example.inner_text()
    example.click()
    expect(page.locator(".standing")).to_contain_text(name)


# --- pages that live --------------------------------------------------------------------------------------------------


def test_a_new_payment_appears_until_updates_are_paused(browser: Browser, desk: Desk) -> None:
    """The list takes in what is new without being loaded again; Pause stops it, for the next page as well."""
    desk.enter(browser)
    browser.page.clock.install()
    page = at(browser, desk, "/payments")
    browser.run("void (window.here = true)")
    desk.paid("news")
    page.clock.fast_forward(POLLED_MS)
    expect(page.locator(f'a[href$="{desk.ids["news"]}"]')).to_have_count(1)
    assert browser.run("window.here") is True
    page.get_by_role("button", name="Pause updates").click()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(3 * POLLED_MS)
    assert asked == [], "something was asked for while updates were paused"
    page = at(browser, desk, "/providers")
    expect(page.get_by_role("button", name="Updates are paused")).to_have_attribute("aria-pressed", "true")
    asked.clear()
    page.clock.run_for(3 * POLLED_MS)
    with page.expect_response(lambda answer: answer.status in (200, 304)) as answered:
        page.get_by_role("button", name="Updates are paused").click()
        page.clock.run_for(POLLED_MS)
    assert asked == [answered.value.url], "something was asked for while updates were paused, or more than once after"


def test_what_was_opened_stays_open(browser: Browser, desk: Desk) -> None:
    """A payment's page takes in what happens meanwhile; what one has opened and where one is stay."""
    desk.paid("watched", "REQUIRES_ACTION", method="tok_action", provider="mock")
    desk.enter(browser)
    browser.page.clock.install()
    page = at(browser, desk, "/payments/{watched}")
    call = page.locator("details.call").first
    call.locator("summary").click()
    expect(call.locator("pre").first).to_be_visible()
    summary_of = "document.activeElement.closest('details.call')?.id"
    opened = browser.run(summary_of)
    asked = httpx2.post(
        f"{desk.server.url}/payments/{desk.ids['watched']}/check", json={"note": "while they looked"}, timeout=10
    )
    assert asked.status_code == 202, asked.text
    page.clock.fast_forward(POLLED_MS)
    expect(said(page, "while they looked")).to_be_visible()
    expect(call.locator("pre").first).to_be_visible()
    assert browser.run(summary_of) == opened


def test_take_the_list_home(browser: Browser, desk: Desk, tmp_path: Path) -> None:
    """The CSV has a row for each payment of the list, and no cell that a spreadsheet would run."""
    desk.paid("formula", clientId="=HYPERLINK(1)", metadata={"a": "+1"}, description="@SUM(A1)")
    desk.enter(browser)
    page = at(browser, desk, "/payments?currency=USD")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of this").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    known = {p["transactionId"] for p in desk.server.payments().values() if p["currency"] == "USD"}
    assert {row["transaction_id"] for row in rows} == known
    assert [cell for row in rows for cell in row.values() if FORMULA.match(cell)] == []
    (ours,) = (row for row in rows if row["transaction_id"] == desk.ids["formula"])
    assert (ours["client_id"], ours["description"]) == ("'=HYPERLINK(1)", "'@SUM(A1)")


# --- with other eyes and hands ----------------------------------------------------------------------------------------


def test_on_a_phone(browser: Browser, desk: Desk) -> None:
    """Through the menu to the list, from a card of it to the payment, and nothing is wider than the screen."""
    desk.enter(browser, width=390, height=800)
    page = at(browser, desk, "/")
    expect(page.get_by_role("navigation", name="Main")).to_be_hidden()
    page.get_by_role("button", name="Menu").tap()
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    keep(browser, "journey-menu-390")
    page.get_by_role("navigation", name="Main").get_by_role("link", name=re.compile("^Payments")).tap()
    expect(page.get_by_role("heading", level=1)).to_have_text("Payments")
    page.locator(f'a[href$="{desk.ids["plain"]}"]').tap()
    expect(page.locator(".standing .money")).to_contain_text("was taken, once")
    assert browser.run("document.documentElement.scrollWidth") <= 390


def tab_to(browser: Browser, words: str) -> None:
    """The Tab key until something that begins with these words has the focus; each stop on the way can be seen."""
    for _ in range(TABS_MAX):
        browser.press("Tab")
        stop = browser.run(STOP)
        assert stop["outline"] >= 2, f"the focus cannot be seen on {stop}"
        assert stop["inside"], f"the focus is outside of the window on {stop}"
        if stop["text"].startswith(words):
            return
    raise AssertionError(f"{words} is not reached with {TABS_MAX} tabs")


STOP = """(() => {
  const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect();
  return {
    text: (it.innerText || it.ariaLabel || it.title || "").trim(),
    outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    inside: box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
})()"""


def test_with_the_keyboard_alone(browser: Browser, desk: Desk) -> None:
    """The first stop skips the menu; through the menu one comes to a payment, and always sees where one is."""
    desk.enter(browser)
    page = at(browser, desk, "/")
    tab_to(browser, "Skip to the content")
    browser.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page = at(browser, desk, "/")
    tab_to(browser, "Payments")
    browser.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Payments")
    tab_to(browser, "Skip to the content")
    browser.press("Enter")
    tab_to(browser, page.locator("tbody th a").first.inner_text()[:5])
    browser.press("Enter")
    expect(page.locator(".standing .money")).to_be_visible()


def test_a_viewer_looks_and_cannot_act(browser: Browser, desk: Desk, allowed: list[str]) -> None:
    """No action is offered; a typed address of a form is refused with what is missing; what is the house's is not there."""
    allowed += ["403"]
    desk.enter(browser, VIEWER)
    page = at(browser, desk, "/payments/{plain}")
    expect(page.locator(".standing .actions")).to_have_count(0)
    page.get_by_text("Nothing can be done here now, and why").click()
    expect(page.get_by_text("without the right for it (refunds:write)")).to_be_visible()
    answer = page.goto(f"{desk.at}/payments/{desk.ids['plain']}/refund")
    assert answer is not None
    assert answer.status == 403
    expect(page.get_by_label("Amount")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("refunds:write")
    page = at(browser, desk, "/providers/mock")
    expect(page.get_by_role("link", name="Drain ...")).to_have_count(0)


# --- in and out. The key comes last: from then on the API asks everybody for one ----------------------------------------


def test_sign_in_once_and_out_for_good(browser: Browser, desk: Desk, allowed: list[str]) -> None:
    """A printed address works once; after signing out "back" shows nothing; a key signs in with its own rights only."""
    allowed += ["403"]
    ticket = desk.ticket()
    page = browser.fresh(width=1280, height=900)
    browser.open(ticket)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page = at(browser, desk, "/payments/{plain}")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    browser.open(ticket)
    expect(page.get_by_role("alert")).to_contain_text("This address has been used")
    made = desk.server.cli("key", "create", "--scope", VIEWER)
    assert made.returncode == 0, made.stderr
    page = at(browser, desk, "/payments/{plain}")
    page.get_by_label("Key").fill("sk_test_nobodys")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This key opens nothing here")
    page = at(browser, desk, "/payments/{plain}")
    page.get_by_label("Key").fill(made.stdout.strip())
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{desk.at}/payments/{desk.ids['plain']}")  # where one was going
    expect(page.locator(".who")).to_contain_text("Viewer", ignore_case=True)
    expect(page.locator(".standing .actions")).to_have_count(0)
