"""The overview: what comes in, how it ends, how fast, at which provider, against the time before; and what needs somebody."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from payonce.dashboard import comparing
from payonce.dashboard.accounts_told import NOW, Told, told
from payonce.dashboard.asking import segment
from payonce.dashboard.charts import Chart, Series, Tone, Unit, bar, bars, columns, lines
from payonce.dashboard.charts import told as number
from payonce.dashboard.comparing import Change, Window
from payonce.dashboard.decline_advice import shares
from payonce.dashboard.rendering import count, ms, percent
from payonce.dashboard.service_told import findings
from payonce.dashboard.visit import Screen, View, Visit

POLL_S: Final = 5


class Need(Struct, frozen=True):
    """One thing that waits for somebody: a sentence, and where to go."""

    tone: str
    text: str
    path: str
    link: str


class Tile(Struct, frozen=True):
    """One number: what it is, over which time, and how it moved."""

    label: str
    value: str
    says: str
    change: Change = Change("")
    href: str = ""
    tone: str = ""


async def show(visit: Visit) -> View:
    """Four questions to the API: the figures, the accounts, the declines, and what needs somebody."""
    window = comparing.picked(visit.query)
    stats = await visit.ask.need("/stats", window=window.name)
    providers = (await visit.ask.need("/providers", window=NOW))["data"]
    declines = (await visit.ask.need("/stats/declines", window=window.name))["data"]
    attention = await visit.ask.need("/attention")
    states = {each["account"]: told(each) for each in providers}
    rows = [
        {
            "sums": each,
            "state": states.get(each["account"]),
            "change": comparing.rate(each["successRate"], each["previous"]["successRate"], window.before),
        }
        for each in stats["providers"]
    ]
    waiting = list(needs(attention, states, stats["standing"]))
    data = {
        "window": window,
        "windows": comparing.windows("/"),
        "live": f"/?window={window.name}",
        "poll_s": POLL_S,
        "stats": stats,
        "held": attention["held"] or bool(attention["trouble"]),
        "service": list(findings(held=attention["held"], trouble=attention["trouble"], house=visit.house)),
        "needs": waiting,
        "said": f"{len(waiting)} {'thing needs' if len(waiting) == 1 else 'things need'} you"
        if waiting
        else "Nothing needs you",
        "tiles": tiles(stats, window),
        "alone": is_alone(stats),
        "charts": charts(stats, declines, window),
        "rows": rows,
        "bar": bar,
        "first": is_first(stats),
        "api_url": visit.api_url,
    }
    return View("overview.html", data)


def is_first(stats: Mapping[str, Any]) -> bool:
    """There was no payment yet in all that the page looks at."""
    stand = stats["standing"]
    return not (
        stats["now"]["accepted"] or stats["now"]["settled"] or stats["previous"]["accepted"] or stats["previous"]["settled"]
    ) and not any(stand[name] for name in ("PENDING", "REQUIRES_ACTION", "AUTHORIZED", "IN_DOUBT"))


def is_alone(stats: Mapping[str, Any]) -> bool:
    """Nothing happened in the window before: there is nothing to compare with."""
    return not any(stats["previous"][name] for name in ("accepted", "settled", "inDoubt", "calls"))


def needs(attention: Mapping[str, Any], states: Mapping[str, Told], standing: Mapping[str, int]) -> Iterator[Need]:
    """What waits for somebody, the money first."""
    if n := standing["attention"]:
        whose = "payment needs your decision" if n == 1 else "payments need your decision"
        text = f"{capped(n, standing['max'])} {whose}: what became of the money is not known, or does not add up."
        yield Need("unknown", text, "/attention#in-doubt", "Look at them")
    if n := attention["overdue"]["count"]:
        late = "payment is" if n == 1 else "payments are"
        text = f"{many(attention['overdue'])} {late} later than planned: no worker took up what is due."
        yield Need("warn", text, "/attention#overdue", "See which")
    for account, state in states.items():
        if state.trouble:
            yield Need(state.tone, f"{account}: {state.text}", f"/providers/{segment(account)}", "Look at it")
    strays, news, dead = attention["webhooks"], attention["deliveries"], attention["deadLetters"]
    if strays and any(each["state"] == "unmatched" for each in strays["data"]):
        yield Need(
            "warn",
            f"{many(strays)} {_n(strays, 'webhook')} of providers led to no payment.",
            "/attention#webhooks",
            "See which",
        )
    if news and news["count"]:
        yield Need("warn", f"{many(news)} {_n(news, 'webhook')} to you did not arrive.", "/attention#deliveries", "See which")
    if dead and dead["count"]:
        text = f"{many(dead)} {_n(dead, 'message')} could not be handled by any function."
        yield Need("warn", text, "/attention#dead-letters", "See which")


def _n(part: Mapping[str, Any], word: str) -> str:
    return word if part["count"] == 1 else f"{word}s"


def many(part: Mapping[str, Any]) -> str:
    """A count of ``/attention``: ``20+`` where there are more than it tells."""
    return count(part["count"]) + ("+" if part.get("more") else "")


def tiles(stats: Mapping[str, Any], window: Window) -> list[Tile]:
    """The numbers at the top, compared with the window before where anything happened in it."""
    found = _tiles(stats, window)
    return [replace(each, change=Change("")) for each in found] if is_alone(stats) else found


def _tiles(stats: Mapping[str, Any], window: Window) -> list[Tile]:
    now, was, before = stats["now"], stats["previous"], window.before
    stand, doubt = stats["standing"], stats["standing"]["IN_DOUBT"]
    slow = comparing.duration(now["settleP95Ms"], was["settleP95Ms"], before)
    judged = now["succeeded"] + now["authorized"] + now["failed"]
    approved = now["succeeded"] + now["authorized"]
    calls = (
        f"of {count(now['calls'])} calls to providers ({percent(now['errorRate'])})"
        if now["calls"]
        else "no calls to providers"
    )
    doubts = comparing.number(now["inDoubt"], was["inDoubt"], before, more_is_better=False)
    moved = comparing.rate(now["errorRate"], was["errorRate"], before, more_is_better=False)
    return [
        Tile(
            "Accepted",
            count(now["accepted"]),
            f"payments, {window.last}",
            comparing.number(now["accepted"], was["accepted"], before),
            "/payments?" + urlencode({"createdFrom": stats["from"]}),
        ),
        Tile(
            "Settled",
            count(now["settled"]),
            f"reached an end, {window.last}",
            comparing.number(now["settled"], was["settled"], before),
        ),
        Tile(
            "Approval rate",
            percent(now["approvalRate"]),
            f"{count(approved)} of {count(judged)} payments" if judged else f"no payment was judged, {window.last}",
            comparing.rate(now["approvalRate"], was["approvalRate"], before),
            "/declines?window=" + window.name,
        ),
        Tile(
            "Time to settle",
            ms(now["settleP50Ms"]),
            f"half were faster; 95 of 100 within {ms(now['settleP95Ms'])}"
            if now["settleP95Ms"] is not None
            else f"nothing settled, {window.last}",
            Change(f"95 of 100: {slow.text}" if slow.text else "", slow.better),
        ),
        Tile("Errors", count(now["errors"]), calls, moved, "/providers?window=" + window.name),
        Tile(
            "In doubt now",
            capped(doubt, stand["max"]),
            f"{count(now['inDoubt'])} became so, {window.last}",
            Change(f"Became so: {doubts.text}" if doubts.text else "", doubts.better),
            "/attention#in-doubt",
            "unknown" if doubt else "",
        ),
    ]


def capped(n: int, most: int) -> str:
    """A count of ``standing``: more than ``most`` is not counted."""
    return count(n) if n <= most else f"more than {count(most)}"


def charts(stats: Mapping[str, Any], declines: Iterable[Mapping[str, Any]], window: Window) -> list[Any]:
    """Over time: what came in, how it ended, and what went wrong with calls; and why payments were declined."""
    points, step = stats["series"], stats["stepS"]
    ats = tuple(p["at"] for p in points)
    each = f"Each {window.each}, {window.last}. The last {window.each} is still running."

    def chart(id: str, title: str, series: Iterable[Series], unit: Unit = "count", note: str = "") -> Chart:
        said = f"{note} {each}".strip()
        return Chart(id=id, title=title, ats=ats, step_s=step, series=tuple(series), unit=unit, note=said, running=True)

    return [
        lines(chart("chart-accepted", "Payments accepted", _accepted(stats, window))),
        columns(chart("chart-ends", "How payments ended", _ends(points))),
        lines(chart("chart-errors", "Calls that went wrong", _errors(stats, window), "share", "A decline is none.")),
        bars("chart-declines", "Why tries were declined", shares(declines)),
    ]


def _of(points: Iterable[Mapping[str, Any]], name: str) -> tuple[int, ...]:
    return tuple(p[name] for p in points)


def _ends(points: list[Mapping[str, Any]]) -> Iterator[Series]:
    ends: tuple[tuple[str, str, Tone], ...] = (
        ("Succeeded", "succeeded", "ok"),
        ("Failed", "failed", "bad"),
        ("Canceled", "canceled", "neutral"),
    )
    for label, name, tone in ends:
        values = _of(points, name)
        yield Series(label=label, values=values, tone=tone, says=number(sum(values), "count"))


def _accepted(stats: Mapping[str, Any], window: Window) -> Iterator[Series]:
    values, was = _of(stats["series"], "accepted"), stats["previous"]["accepted"]
    yield Series(label="Accepted", values=values, says=number(stats["now"]["accepted"], "count"))
    if was and values:
        mean = round(was / len(values), 1)
        yield _before(f"Mean of {window.before}", mean, len(values), f"{number(mean, 'count')} a {window.each}")


def _errors(stats: Mapping[str, Any], window: Window) -> Iterator[Series]:
    values = tuple(p["errors"] / p["calls"] if p["calls"] else None for p in stats["series"])
    rate, was = stats["now"]["errorRate"], stats["previous"]["errorRate"]
    said = f"{number(rate, 'share')} of calls" if rate is not None else "no calls"
    yield Series(label="Errors", values=values, tone="bad", says=said)
    if was is not None and values:
        yield _before(f"In {window.before}", was, len(values), number(was, "share"))


def _before(label: str, value: float, points: int, says: str) -> Series:
    """One figure of the window before, as a level to compare with."""
    return Series(label=label, values=(value,) * points, tone="before", dashed=True, says=says)


PAGES: Final = (Screen("/", show, nav="overview"),)
