"""Providers: how each account does against the time before, whether it takes new payments and why not; and the drain switch."""

from collections.abc import Mapping
from typing import Any, Final

from payonce.dashboard import comparing
from payonce.dashboard.accounts_told import NOW, Told, told
from payonce.dashboard.asking import Reply, Turned, needed, segment
from payonce.dashboard.charts import Chart, Series, bar, columns, lines, moments, sparkline, summed
from payonce.dashboard.charts import told as number
from payonce.dashboard.comparing import Change, Window
from payonce.dashboard.rendering import count
from payonce.dashboard.service_told import findings
from payonce.dashboard.typed import error_of, shown_again
from payonce.dashboard.visit import Redirect, Screen, View, Visit

REASON_MAX: Final = 200
POLL_S: Final = 5
NOTHING: Final = Change("")


async def show(visit: Visit) -> View:
    """All accounts that serve the caller."""
    window = comparing.picked(visit.query)
    found = (await visit.ask.need("/providers", window=window.name))["data"]
    now = found if window.name == NOW else (await visit.ask.need("/providers", window=NOW))["data"]
    service = await visit.ask.need("/attention")
    states = {each["account"]: told(each) for each in now}
    rows = [_row(n, each, states.get(each["account"]) or told(each), window) for n, each in enumerate(found)]
    data = {
        "window": window,
        "windows": comparing.windows("/providers"),
        "live": f"/providers?window={window.name}",
        "service": list(findings(held=service["held"], trouble=service["trouble"], house=visit.house)),
        "poll_s": POLL_S,
        "rows": rows,
        "whens": moments(_ats(found), _step_s(window)),
        "bar": bar,
        "troubled": [row["p"]["account"] for row in rows if row["state"].trouble],
    }
    return View("providers.html", data)


async def one(visit: Visit) -> View:
    """One account: its state with what follows from it, its figures over time, and why it declined."""
    window = comparing.picked(visit.query)
    name = visit.path["account"]
    provider = await visit.ask.need(f"/providers/{segment(name)}", window=window.name)
    now = provider if window.name == NOW else await visit.ask.need(f"/providers/{segment(name)}", window=NOW)
    declines = await visit.ask.need("/stats/declines", window=window.name, provider=name)
    sums, before = provider["sums"], window.before
    was = sums["previous"]
    alone = not was["calls"]  # nothing to compare with
    data = {
        "window": window,
        "windows": comparing.windows(f"/providers/{segment(name)}"),
        "live": f"/providers/{segment(name)}?window={window.name}",
        "poll_s": POLL_S,
        "p": provider,
        "state": told(now),
        "alone": alone,
        "rate": NOTHING if alone else comparing.rate(sums["successRate"], was["successRate"], before),
        "errors": NOTHING if alone else comparing.number(sums["errors"], was["errors"], before, more_is_better=False),
        "slow": NOTHING if alone else comparing.duration(sums["callP95Ms"], was["callP95Ms"], before),
        "calls": NOTHING if alone else comparing.number(sums["calls"], was["calls"], before),
        "charts": charts(provider, window),
        "declines": declines["data"],
    }
    return View("provider.html", data)


async def ask_drain(visit: Visit) -> View:
    """What a drain does, before it is done."""
    return _drain_form(await _provider(visit), visit, "")


async def drain(visit: Visit) -> View | Redirect:
    """Switch it."""
    provider = await _provider(visit)
    if wrong := _wrong(visit.form.get("reason", "")):
        return _drain_form(provider, visit, wrong)
    name = segment(provider["account"])
    reply = await visit.ask.post(f"/providers/{name}/drain", {"reason": visit.form["reason"].strip()})
    if said := _said(reply):
        return _drain_form(provider, visit, said)
    return Redirect(f"/providers/{name}", f"{provider['account']} is drained: new payments go to the others within a second.")


async def ask_resume(visit: Visit) -> View:
    """What the end of a drain does, before it is done."""
    return _resume_form(await _provider(visit), visit, "")


async def resume(visit: Visit) -> View | Redirect:
    """Switch it back; the breaker is closed as well where that was asked for."""
    provider = await _provider(visit)
    if wrong := _wrong(visit.form.get("reason", "")):
        return _resume_form(provider, visit, wrong)
    name, close = segment(provider["account"]), visit.form.get("closeBreaker") == "yes"
    body = {"reason": visit.form["reason"].strip(), **({"closeBreaker": True} if close else {})}
    reply = await visit.ask.post(f"/providers/{name}/resume", body)
    if said := _said(reply):
        return _resume_form(provider, visit, said)
    after: Mapping[str, Any] = reply.body
    still = " Its breaker is not closed yet; it heals by itself." if after["breaker"] else ""
    return Redirect(f"/providers/{name}", f"{provider['account']} may take new payments again, within a second.{still}")


def charts(provider: Mapping[str, Any], window: Window) -> list[Any]:
    """Of one account over time: calls with their errors, and what became of attempts."""
    points = provider["series"]
    ats, step = tuple(p["at"] for p in points), _step_s(window)

    def of(name: str) -> tuple[int, ...]:
        return tuple(p[name] for p in points)

    def said(name: str) -> str:
        return number(sum(of(name)), "count")

    calls = (
        Series(label="Calls", values=of("calls"), says=said("calls")),
        Series(label="Errors", values=of("errors"), tone="bad", dashed=True, says=said("errors")),
    )
    ends = (
        Series(label="Approved", values=of("approved"), tone="ok", says=said("approved")),
        Series(label="Declined", values=of("declined"), tone="bad", says=said("declined")),
    )
    note = f"Each {window.each}, {window.last}. The last {window.each} is still running."
    return [
        lines(Chart(id="chart-calls", title="Calls and errors", ats=ats, step_s=step, series=calls, note=note, running=True)),
        columns(
            Chart(id="chart-attempts", title="Payments tried here", ats=ats, step_s=step, series=ends, note=note, running=True)
        ),
    ]


def _row(n: int, provider: Mapping[str, Any], state: Told, window: Window) -> dict[str, Any]:
    sums = provider["sums"]
    calls = tuple(point["calls"] for point in provider["series"])
    return {
        "p": provider,
        "state": state,
        "rate": comparing.rate(sums["successRate"], sums["previous"]["successRate"], window.before),
        "slow": comparing.duration(sums["callP95Ms"], sums["previous"]["callP95Ms"], window.before),
        "spark": sparkline(f"spark-{n}", summed(f"Calls to {provider['account']}", calls, window.last), calls),
    }


def _ats(found: list[Mapping[str, Any]]) -> list[str]:
    """The steps of all small lines: the same for each account."""
    return [point["at"] for point in found[0]["series"]] if found else []


def _step_s(window: Window) -> int:
    return 60 if window.each == "minute" else 3600


async def _provider(visit: Visit) -> Any:
    """Raises Turned, also where the caller may look at the account and not switch it."""
    provider = await visit.ask.need(f"/providers/{segment(visit.path['account'])}")
    if not provider["mayDrain"]:
        said = "Others pay through this account too: an admin of who runs this payonce may switch it."
        raise Turned(403, {"code": "scope_missing", "detail": said})
    return provider


def _wrong(reason: str) -> str:
    """What is wrong with the reason; empty when nothing is."""
    if not reason.strip():
        return "Say why: whoever finds the account drained has to know."
    return f"At most {REASON_MAX} characters." if len(reason.strip()) > REASON_MAX else ""


def _said(reply: Reply) -> str:
    """What the API finds wrong with the reason; empty when it was done. Any other refusal is raised as Turned."""
    if reply.status in (400, 422) and isinstance(reply.body, dict):
        rules = [str(each["rule"]) for each in reply.body.get("errors", ())]
        return "; ".join(rules) or str(reply.body.get("detail", ""))
    needed(reply)
    return ""


def _drain_form(provider: Mapping[str, Any], visit: Visit, error: str) -> View:
    under_way, typed = provider["inFlight"], visit.form.get("reason", "")
    one = "1 call that is under way there is" if under_way == 1 else f"{count(under_way)} calls that are under way there are"
    data = {
        "p": provider,
        "under_way": f"{one} finished, and so are the payments that began there."
        if under_way
        else "Payments that began there are finished there.",
        "reason": shown_again(typed),
        "error": error_of(typed, error),
    }
    return View("drain.html", data, status=422 if error else 200)


def _resume_form(provider: Mapping[str, Any], visit: Visit, error: str) -> View:
    typed = visit.form.get("reason", "")
    data = {
        "p": provider,
        "reason": shown_again(typed),
        "error": error_of(typed, error),
        "close": visit.form.get("closeBreaker") == "yes",
    }
    return View("resume.html", data, status=422 if error else 200)


PAGES: Final = (
    Screen("/providers", show, nav="providers"),
    Screen("/providers/{account}", one, nav="providers"),
    Screen("/providers/{account}/drain", ask_drain, nav="providers", POST=drain, needs="admin"),
    Screen("/providers/{account}/resume", ask_resume, nav="providers", POST=resume, needs="admin"),
)
