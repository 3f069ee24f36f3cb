"""The overview, the declines, and the words that compare: from canned answers of the API, so that every case is there."""

import html
import re

import pytest

from payonce.core.errors import DECLINES
from payonce.dashboard import comparing
from payonce.dashboard.comparing import WINDOWS, Change
from payonce.dashboard.decline_advice import ADVICE, OTHER, advice
from payonce.dashboard.pages import attention as attention_page
from payonce.dashboard.pages import declines as declines_page
from payonce.dashboard.pages import overview
from payonce.dashboard.pages import providers as providers_page
from payonce.dashboard.rendering import DASH
from payonce.dashboard.service_told import findings
from payonce.dashboard.visit import Handler

from . import canned
from .canned import attention, decline, declines, page, provider, stats, sums_of, table, words

HOSTILE = "<img src=x onerror=alert(1)>"
NOW = {
    "accepted": 1300,
    "settled": 1207,
    "succeeded": 1100,
    "authorized": 7,
    "failed": 90,
    "canceled": 10,
    "inDoubt": 4,
    "approvalRate": 0.9248,
    "settleP50Ms": 312.5,
    "settleP95Ms": 2400.0,
    "calls": 2600,
    "errors": 65,
    "errorRate": 0.025,
}
NOW_AT = "2026-11-26T10:28:00.000000Z"
BEFORE = NOW | {
    "accepted": 1200,
    "settled": 1207,
    "approvalRate": 0.9558,
    "settleP95Ms": 1200.0,
    "errorRate": 0.01,
    "inDoubt": 1,
}


def answers(**changes: object) -> dict[str, object]:
    """What the overview asks for; nothing happened, unless said."""
    found: dict[str, object] = {"/stats": stats(), "/providers": {"data": []}, "/stats/declines": declines()}
    return found | {"/attention": attention()} | {name.replace("__", "/"): each for name, each in changes.items()}


def shown(**changes: object) -> str:
    return page(overview.show, answers(**changes))


def test_the_numbers_are_those_of_the_api() -> None:
    """Each of them, in words that say of what and over which time, with the change against the time before."""
    text = words(shown(__stats=stats(now=NOW, previous=BEFORE, standing={"IN_DOUBT": 9})))
    for said in (
        "Accepted 1 300 ↑ 100 more than in the 15 min before payments, last 15 min",
        "Settled 1 207 as many as in the 15 min before",
        "Approval rate 92.5 % ↓ 3.1 points lower than the 15 min before 1 107 of 1 197 payments",
        "312 ms 95 of 100: ↑ 1.2 s slower than the 15 min before half were faster; 95 of 100 within 2.4 s",
        "65 ↑ 1.5 points higher than the 15 min before of 2 600 calls to providers (2.5 %)",
        "In doubt now 9 Became so: ↑ 3 more than in the 15 min before 4 became so, last 15 min",
    ):
        assert said in text, said


def test_without_a_time_before_nothing_is_compared() -> None:
    """It says so once, and no number claims to have risen."""
    text = words(shown(__stats=stats(now=NOW)))
    assert "There is nothing to compare with yet" in text
    assert "more than in" not in text


def test_an_unchanged_overview_is_not_sent_again() -> None:
    """When it was counted is not on the page, so that while nothing happens every answer has the same bytes."""
    later = stats(now=NOW, asOf="2026-11-26T10:29:59.000000Z")
    assert shown(__stats=stats(now=NOW)) == shown(__stats=later)


def test_nulls_are_no_numbers() -> None:
    """A rate of nothing is neither 0 nor 100 %, a percentile of nothing is no time."""
    text = words(shown(__stats=stats(now={"accepted": 1})))
    assert f"Approval rate {DASH} no payment was judged" in text
    assert "0 %" not in text
    assert "None" not in text


def test_the_first_payment_is_taught() -> None:
    """Before any payment there is the command that makes one, with the address of this API; then it is gone."""
    assert "curl http://127.0.0.1:8080/payments" in html.unescape(shown())
    assert "curl" not in shown(__stats=stats(standing={"PENDING": 1}))
    assert "curl" not in shown(__stats=stats(previous={"accepted": 1}))


def test_nothing_needs_you_is_said_only_then() -> None:
    """One plain sentence each for what does, with a link to where it is seen to; the money first."""
    assert "Nothing needs you" in shown()
    open_breaker = {"state": "open", "why": "5 of the last 5 calls failed", "until": "2026-11-26T10:24:31.000000Z"}
    drain = {"reason": "maintenance", "by": "key_1", "since": "2026-11-26T10:00:00.000000Z"}
    providers = {"data": [provider("a", breaker=open_breaker), provider("b", drain=drain), provider("c")]}
    one = {"count": 1, "more": False, "data": [{"state": "unmatched"}]}
    standing = stats(standing={"attention": 10_001})
    found = attention(overdue=one, webhooks=one, deliveries=one)
    text = shown(
        __stats=standing, __providers=providers, __attention=found | {"deadLetters": {"known": True, "count": 3, "data": []}}
    )
    assert "Nothing needs you" not in text
    needs = text.partition('class="needs-list"')[2].partition("</ul>")[0]
    assert needs.count("<li") == 7
    said = words(needs)
    assert said.index("more than 10 000 payments need your decision") < said.index("1 payment is later than planned")
    assert "a: Nothing new goes there: new payments use the other accounts, or wait. 5 of the last 5 calls failed." in said
    assert "b: Drained by key_1 since 26 Nov 2026 10:00:00 UTC: maintenance." in said
    for link in ("/attention#in-doubt", "/attention#overdue", "/providers/a", "/attention#dead-letters"):
        assert f'href="/dashboard{link}"' in needs


def test_what_keeps_the_whole_service_from_its_work_comes_first() -> None:
    """A hold, and a store that takes no writes: on every page that says whether all is well, before all else, and none of them
    says that nothing needs anybody or that accounts take payments."""
    for changes, said in (
        ({"held": True}, "Held: nothing is sent until payonce reconcile has run"),
        ({"trouble": "The file was moved."}, "The store takes no writes"),
    ):
        found, accounts = attention(**changes), {"data": [provider("a")]}
        three = (
            shown(__attention=found, __providers=accounts, __stats=stats(providers=[sums_of("a")])),
            page(attention_page.show, {"/attention": found}),
            page(providers_page.show, {"/providers": accounts, "/attention": found}),
        )
        for text in three:
            assert words(text).count(said) == (1 if text == three[2] else 2)  # once to be read out
            assert "Nothing needs you" not in text
            assert "Takes payments" not in text
            assert "take new payments" not in words(text)
            assert text.index(said) < text.index("<h2") if "<h2" in text else True


@pytest.mark.parametrize("handler", [overview.show, attention_page.show, providers_page.show])
def test_only_one_short_sentence_is_read_out(handler: Handler) -> None:
    """A region that is asked for every few seconds is silent; what is read out is one sentence, without moving numbers."""
    late = {"transactionId": "pay_1", "status": "PENDING", "amount": 1050, "currency": "INR", "dueAt": NOW_AT, "lateS": 75}
    found = answers(__attention=attention(overdue={"count": 1, "more": False, "data": [late]}))
    text = page(handler, found)
    assert 'aria-live="polite"' not in text
    assert text.count('aria-live="off"') == 1
    (said,) = re.findall(r'<p [^>]*role="status"[^>]*>([^<]+)</p>', text)
    assert len(said) < 100
    assert "75" not in said


def test_other_merchants_are_told_what_is_theirs() -> None:
    """That payments wait, or are not accepted; no command of the house, no name of it."""
    waits = list(findings(held=True, trouble=None, house=False))
    assert [each.title for each in waits] == ["Payments wait"]
    assert "the service is being restored" in waits[0].text
    refused = list(findings(held=False, trouble="New payments are not accepted now.", house=False))
    assert "the same Idempotency-Key" in refused[0].text
    for each in (*waits, *refused):
        assert "reconcile" not in each.text + each.command
    assert list(findings(held=False, trouble=None, house=False)) == []


def test_what_a_caller_may_not_see_is_no_error() -> None:
    """For another merchant's viewer the API leaves parts out."""
    text = shown(__attention=attention(webhooks=None, deliveries=None, deadLetters=None))
    assert "Nothing needs you" in text


def test_incomplete_numbers_are_called_so() -> None:
    """Where not all was counted, and where counting began within the time compared with."""
    since = "2026-11-26T10:20:00.000000Z"
    assert "These numbers are not complete" not in shown(__stats=stats(now=NOW))
    assert "only the newest payments were looked at" in shown(__stats=stats(now=NOW, complete=False))
    assert "These numbers are not complete: payments are counted since" in shown(
        __stats=stats(now=NOW, complete=False, since=since)
    )
    assert "misses what came earlier" in shown(__stats=stats(now=NOW, since=since))


def test_every_chart_has_its_table() -> None:
    """With the numbers of the series; the level of the time before is a number too."""
    found = stats(now=NOW | {"accepted": 30}, previous=BEFORE | {"accepted": 150})
    for i, point in enumerate(found["series"]):
        point |= {
            "accepted": i,
            "succeeded": 2 * i,
            "failed": 3,
            "canceled": 1,
            "calls": 10 if i else 0,
            "errors": 1 if i else 0,
        }
    text = shown(__stats=found, __stats__declines=declines(decline("do_not_honor", "a", 3)))
    assert text.count("<figure") == 4
    assert text.count('<details class="data"') == 4
    assert table(text, "Payments accepted")[14] == ["10:29", "14", "10"]
    assert table(text, "How payments ended")[14] == ["10:29", "28", "3", "1"]
    assert [row[1] for row in table(text, "Calls that went wrong")][:2] == ["none", "10 %"]
    assert table(text, "Why tries were declined") == [["Do not honor", "3", "100 %"]]


def test_every_provider_has_its_row() -> None:
    """Its figures and its state; one that is gone from the configuration is said to be; names are text."""
    sums = {"approved": 9, "attempts": 10, "successRate": 0.9, "share": 0.75, "calls": 20, "errors": 1, "callP95Ms": 410.0}
    rows = [sums_of("a", **sums, previous={"successRate": 0.95, "calls": 5}), sums_of(HOSTILE)]
    text = shown(__stats=stats(now=NOW, previous=BEFORE, providers=rows), __providers={"data": [provider("a")]})
    first, second = table(text, "Figures of each provider account, last 15 min")
    assert first == ["a", "Takes payments", "90 %", "↓ 5.0 points lower", "75 %", "20", "1", "410 ms"]
    assert second[1:] == ["Not configured", DASH, DASH, DASH, "0", "0", DASH]
    assert HOSTILE not in text
    assert html.escape(HOSTILE) in text


def test_money_is_by_currency() -> None:
    """In the currency's own minor units, never summed over currencies."""
    amounts = [
        {"currency": "INR", "accepted": 123456, "taken": 100000, "held": 0},
        {"currency": "JPY", "accepted": 1050, "taken": 0, "held": 1050},
    ]
    rows = table(shown(__stats=stats(now=NOW, amounts=amounts)), "Amounts by currency, last 15 min")
    assert rows == [["INR", "1 234.56 INR", "1 000.00 INR", "0.00 INR"], ["JPY", "1 050 JPY", "0 JPY", "1 050 JPY"]]


def test_the_window_is_the_one_asked_for() -> None:
    """The page keeps asking for it and says its name; an unknown one is the usual one."""
    for asked, used in (("24h", "24h"), ("7d", "7d"), ("nonsense", "15m")):
        text = page(overview.show, answers(), window=asked)
        assert f'hx-get="/dashboard/?window={used}"' in text
        assert f"Each {WINDOWS[used].each}, {WINDOWS[used].last}." in text


def test_changes_are_told_in_words() -> None:
    """With an arrow and a direction; what is better depends on what it is; nothing to compare with is no change."""
    before = WINDOWS["24h"].before
    assert comparing.rate(0.9, 0.931, before) == Change("↓ 3.1 points lower than the 24 h before", False, "↓ 3.1 points lower")
    assert comparing.rate(0.02, 0.01, before, more_is_better=False).better is False
    assert comparing.rate(0.9, 0.9, before) == Change("the same as the 24 h before", None, "the same")
    assert comparing.rate(0.91, 0.9, before).text == "↑ 1.0 point higher than the 24 h before"
    assert comparing.rate(0.5, None, before) == Change("no figure for the 24 h before")
    assert comparing.rate(None, 0.5, before) == Change("")
    assert comparing.number(3, 5, before).text == "↓ 2 fewer than in the 24 h before"
    assert comparing.number(0, 0, before).text == "none in the 24 h before either"
    assert comparing.duration(100.0, 200.0, before).better is True
    assert comparing.duration(200.0, 201.0, before).better is None
    assert comparing.duration(None, 1.0, before) == Change("")


# --- declines -----------------------------------------------------------------------------------------------------------


def test_declines_lead_to_their_payments() -> None:
    """Grouped by code, the most first; each row with its kind in words and the address of its payments."""
    rows = [
        decline("stolen_card", "a", 2, hard=True),
        decline("do_not_honor", "b", 12, 3, hard=None),
        decline("stolen_card", "b", 30, 31, currency="USD"),
    ]
    text = page(declines_page.show, {"/stats/declines": declines(*rows)})
    body = [row for row in table(text, "Declines, last 15 min") if len(row) > 1]
    assert [row[:5] for row in body] == [
        ["a", "INR", "Final: not tried again", "2", "↑ 2 more"],
        ["b", "USD", "Soft: may work later or elsewhere", "30", "↓ 1 fewer"],
        ["b", "INR", "Depends on the provider", "12", "↑ 9 more"],
    ]
    assert 'href="/dashboard/payments?provider=b&amp;declineCode=stolen_card&amp;currency=USD"' in text
    assert f"What to do: {ADVICE['stolen_card']}" in words(text)
    assert "44 tries were declined" in words(text)
    assert table(text, "By reason, last 15 min") == [["Stolen card", "32", "72.7 %"], ["Do not honor", "12", "27.3 %"]]
    assert table(text, "By provider, last 15 min") == [["b", "42", "95.5 %"], ["a", "2", "4.5 %"]]


def test_only_a_real_rise_is_bad_news() -> None:
    """At least ten declines and twice as many as before: more payments alone bring more declines."""
    for count, previous, bad in ((9, 1, False), (10, 5, True), (30, 20, False), (10, 0, True)):
        text = page(declines_page.show, {"/stats/declines": declines(decline("do_not_honor", "a", count, previous))})
        assert ("change bad" in text) is bad, (count, previous)


def test_every_decline_code_has_advice() -> None:
    """Whatever core can call a decline, the page says what to do; an unknown one leads to a payment."""
    assert ADVICE.keys() == DECLINES.keys()
    assert advice("new_code") == OTHER


def test_decline_filters_are_the_apis() -> None:
    """What is chosen is asked for, stays chosen, and hostile text stays text."""
    rows = declines(decline("do_not_honor", "a", 1))
    text = page(declines_page.show, {"/stats/declines": rows}, provider=HOSTILE, window="24h")
    assert HOSTILE not in text
    assert f'<option value="{html.escape(HOSTILE)}" selected>' in text


def test_no_declines_are_explained() -> None:
    """The empty page says what a decline is."""
    assert "No declines" in page(declines_page.show, {"/stats/declines": declines()})


@pytest.mark.parametrize("window", WINDOWS)
def test_seven_days_are_drawn_too(window: str) -> None:
    """168 points give 168 rows, with their days."""
    found = stats(
        now=NOW,
        stepS=3600,
        series=[canned.stats()["series"][0] | {"at": f"2026-11-{20 + n // 24}T{n % 24:02d}:00:00Z"} for n in range(168)],
    )
    rows = table(page(overview.show, answers(__stats=found), window=window), "Payments accepted")
    assert len(rows) == 168
    assert rows[0][0] == "20 Nov 00:00"
