"""What people ask about a payment, answered from the facts of its story (GET /payments/{id}/story) and nothing else. Pure.

No answer guesses: where the record does not tell, it says so, and what would tell.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct

from payonce.core.errors import REASONS
from payonce.core.money import display
from payonce.shown.returning import ONLY_HELD, SECOND_HOLD
from payonce.shown.standing import GIVEN_BACK_SAID

Story = Mapping[str, Any]
Short = Literal["Yes", "No", "In part", "Not known", "Not yet", ""]
RESTS: Final = frozenset({"SUCCESS", "FAILED", "CANCELED"})
_SENT: Final = ("fire", "replay")
# what needs eyes beside an end, and does not keep it from being settled
_SETTLED_WITH: Final = frozenset({None, "", "amount_accepted"})
# where another charge may be, beside what is on record
_UNCLEAR: Final = frozenset({"mismatch", "attempt_unresolved", "horizon", "restored_elsewhere", "charged_twice"})


class Answer(Struct, frozen=True):
    """``short`` is one word where one word is true; ``text`` says why, in plain sentences."""

    question: str
    short: Short
    text: str


def answers(story: Story) -> list[Answer]:
    """The questions that have a meaning for this payment, each with its answer."""
    p = story["payment"]
    found = [_charged(story), _twice(story), _when(story), _why(story)]
    if _undone(story) or any(o["kind"] in ("refund", "void", "reversal") for o in p["operations"]):
        found.append(_given_back(story))
    return found


def resting(story: Story) -> bool:
    """Nothing more is going to happen by itself soon: the page may stop asking. A final payment may still be watched; what is
    due then is far off, and operations that are not settled are not at rest."""
    p = story["payment"]
    return p["status"] in RESTS and all(o["status"] not in ("PENDING", "IN_DOUBT") for o in p["operations"])


def _amount(p: Mapping[str, Any], minor: int | None = None) -> str:
    return display(p["amount"] if minor is None else minor, p["currency"])


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _where(p: Mapping[str, Any]) -> str:
    """The account and its reference of the charge that is kept."""
    ref = f" ({p['providerRef']})" if p["providerRef"] else ""
    return f" at {p['provider']}{ref}" if p["provider"] else ref


def _charged(story: Story) -> Answer:
    p, question = story["payment"], "Was the customer charged?"
    match p["status"]:
        case "SUCCESS":
            part = p["captured"] < p["amount"]
            text = f"{_amount(p, p['captured'])} was taken{_where(p)}{_at(_ended(story))}."
            text += f" {_amount(p)} was asked for." * part
            if _undone(story):
                return Answer(question, "Yes", f"{text} {_said_undone()}")
            return Answer(question, "Yes", text + _kept(p))
        case "AUTHORIZED" if taking := _taking(p):
            return Answer(question, "Not known" if taking["status"] == "IN_DOUBT" else "Not yet", story["money"])
        case "AUTHORIZED":
            return Answer(question, "No", f"{_amount(p, p['authorized'])} is held{_where(p)}, and nothing was taken of it.")
        case "FAILED" | "CANCELED":
            if _open_reversals(p) or p["attention"] in _UNCLEAR:
                return Answer(question, _charged_late(story), story["money"])
            if p["reversed"]:
                return Answer(question, "No", story["money"])
            return Answer(question, "No", f"{story['money']}{_said_last(p)}")
        case "IN_DOUBT":
            return Answer(question, "" if p["reason"] in ("mismatch", "given_back") else "Not known", story["money"])
        case _:
            unknown = "may have been taken" in story["money"] or "may be taken" in story["money"]
            return Answer(question, "Not known" if unknown else "Not yet", story["money"])


def _charged_late(story: Story) -> Short:
    """It ended unpaid, and a late charge is not back. A late hold took nothing."""
    p = story["payment"]
    unclear = p["attention"] in _UNCLEAR or any(o["status"] == "IN_DOUBT" for o in _open_reversals(p))
    if ONLY_HELD in story["money"] and "was taken late" not in story["money"]:
        return "Not known" if p["attention"] in _UNCLEAR else "No"
    surely = any(o["status"] in ("FAILED", "PENDING") for o in _open_reversals(p))
    return "Yes" if surely or not unclear else "Not known"


def _undone(story: Story) -> bool:
    """A person recorded that the charge that was kept was given back: the sentence on the money says it."""
    return GIVEN_BACK_SAID in story["money"]


def _said_undone() -> str:
    return f"{GIVEN_BACK_SAID[0].upper()}{GIVEN_BACK_SAID[1:]}."


def _said_last(p: Mapping[str, Any]) -> str:
    said = p["lastError"]
    if said and said["code"] == "hold_lapsed" and p["reason"] == "voided":
        return ""  # that is how some providers show a hold that was released as asked
    return f" The last answer: {said['code']}. {said['message']}" if said and said["code"] != p["reason"] else ""


def _kept(p: Mapping[str, Any]) -> str:
    """What is left of the charge after refunds."""
    back = p["refunded"]
    if not back:
        return _going_back(p)
    return f" {_amount(p, back)} of it was given back, {_amount(p, max(0, p['captured'] - back))} is kept.{_going_back(p)}"


def _going_back(p: Mapping[str, Any]) -> str:
    """What of the charge is on its way back, or may be."""
    said = ""
    for status, words in (("PENDING", "is being given back"), ("IN_DOUBT", "may have been given back")):
        if minor := sum(o["amount"] for o in p["operations"] if o["kind"] == "refund" and o["status"] == status):
            said += f" {_amount(p, minor)} {words}."
    return said


def _twice(story: Story) -> Answer:
    p, question = story["payment"], "Charged twice?"
    if p["attention"] == "charged_twice":
        return Answer(question, "Yes", f"{story['money']} {story['next']}")
    sent = _sent(story)
    surplus = _surplus(story)
    if p["status"] == "IN_DOUBT":
        return Answer(question, "Not known", f"{story['money']}{sent}{surplus}")
    if p["status"] in ("SUCCESS", "AUTHORIZED") and (open_ones := _open_reversals(p)):
        if SECOND_HOLD in story["money"]:
            return Answer(question, "No", f"{_one(story)} A second hold turned up.{surplus}{sent}")
        if any(o["status"] == "FAILED" for o in open_ones):
            short: Short = "Yes" if p["status"] == "SUCCESS" else "In part"
            return Answer(question, short, f"{story['money']} {_sentence(story['next'])}{sent}")
        short = "Not known" if any(o["status"] == "IN_DOUBT" for o in open_ones) else "In part"
        return Answer(question, short, f"A second charge turned up.{surplus} {_one(story)}{sent}".rstrip())
    if len(late := _open_reversals(p)) > 1:
        short = "Yes" if sum(o["status"] == "FAILED" for o in late) > 1 else "Not known"
        return Answer(question, short, f"{story['money']} {_sentence(story['next'])}{sent}")
    if surplus and p["attention"] not in _UNCLEAR:
        return Answer(question, "No", f"{_one(story)}{surplus}{sent}")
    if p["attention"] in _UNCLEAR:
        return Answer(question, "Not known", f"{_one(story)} {story['money']}{sent}")
    return Answer(question, "No", f"{_one(story)}{sent}")


def _one(story: Story) -> str:
    """How many charges are kept: one or none, never more."""
    p = story["payment"]
    match p["status"]:
        case "SUCCESS" if _undone(story):
            return f"One charge of {_amount(p, p['captured'])} was made{_where(p)}; {GIVEN_BACK_SAID}."
        case "SUCCESS" if p["refunded"] >= p["captured"] > 0:
            return f"One charge of {_amount(p, p['captured'])} was made{_where(p)}; it was given back in full, none is kept."
        case "SUCCESS" if p["refunded"]:
            left = f"{_amount(p, p['captured'] - p['refunded'])} of {_amount(p, p['captured'])}"
            return f"One charge is kept, {left}{_where(p)}.{_going_back(p)}"
        case "SUCCESS":
            return f"One charge is kept, {_amount(p, p['captured'])}{_where(p)}.{_going_back(p)}"
        case "AUTHORIZED":
            once = "it is being given up, and never taken" if _taking(p, "void") else "it can be taken once"
            return f"One hold of {_amount(p, p['authorized'])} stands{_where(p)}; {once}."
        case "FAILED" | "CANCELED" if _open_reversals(p) or p["attention"] in _UNCLEAR:
            return "The payment itself ended unpaid."
        case "FAILED" | "CANCELED":
            return "No charge is kept."
        case _:
            return f"{story['money']} At most one charge is kept in the end."


def _surplus(story: Story) -> str:
    """What late truth demanded to give back, and how far that is."""
    p, said = story["payment"], []
    for o in (o for o in p["operations"] if o["kind"] == "reversal"):
        ref = f" ({o['providerRef']})" if o["providerRef"] else ""
        named = "A second one" if p["status"] in ("SUCCESS", "AUTHORIZED") else "A late charge"
        if ONLY_HELD in story["money"]:
            named = "A late hold"
        what = f"{named} of {_amount(p, o['amount'])}"
        match o["status"]:
            case "SUCCEEDED":
                said.append(f"{what} was given back{ref}.")
            case "PENDING":
                said.append(f"{what} is being given back{ref}.")
            case "FAILED":
                said.append(f"{what} could not be given back ({o['reason']}): give it back at the provider.")
            case _:
                said.append(f"{what} may not have been given back yet{ref}: it is read until that is known.")
    return "".join(f" {each}" for each in said)


def _open_reversals(p: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was taken or held too much, and is not back."""
    return [o for o in p["operations"] if o["kind"] == "reversal" and o["status"] != "SUCCEEDED"]


def _sent(story: Story) -> str:
    """How often the charge went out, for those who see several calls and fear the worst."""
    calls = [line["call"] for line in story["lines"] if line["kind"] == "Planned" and line["call"]]
    sends = [call for call in calls if call["kind"] in _SENT and not call["operation"]]
    if len(sends) < 2:
        return ""
    replays = sum(1 for call in sends if call["kind"] == "replay")
    tries = len(sends) - replays
    again = f"{_times(replays)} more under the same key or into the same order, which can be charged once" if replays else ""
    apart = f"{_times(tries)} in {_counted(len({c['attempt'] for c in sends}), 'attempt')}" if tries else ""
    return f" The charge was sent {' and '.join(filter(None, (apart, again)))}."


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _when(story: Story) -> Answer:
    p, due = story["payment"], story["due"]
    question = "Is it settled, or when will it be?"
    end = _ended(story)
    next_ = f" Next: {due}." if due else ""
    match p["status"]:
        case "SUCCESS" | "FAILED" | "CANCELED":
            waits = _unsettled(p)
            took = f", {_long(p['createdAt'], end)} after it was accepted" if end else ""
            text = f"It {_status(p)}{_at(end)}{took}."
            if waits:
                named = ", ".join(f"the {o['kind']} of {_amount(p, o['amount'])}" for o in waits)
                failed = any(o["status"] == "FAILED" for o in waits)
                by_hand = f" What failed is not tried again. {_sentence(story['next'])}" if failed else ""
                return Answer(question, "Not yet", f"{text} Not settled: {named}.{by_hand}{next_}")
            if p["attention"] not in _SETTLED_WITH:
                eyes = REASONS.get(p["attention"], p["attention"])
                return Answer(question, "Not yet", f"{text} Not settled: {eyes}{next_}")
            return Answer(question, "Yes", text + (f" Still to come: {due}." if due else ""))
        case "AUTHORIZED" if asked := _taking(p, "capture", "void"):
            named = f"The {asked['kind']} of {_amount(p, asked['amount'])}"
            return Answer(question, "Not yet", f"{named} is {_STATES[asked['status']]}.{next_}")
        case "AUTHORIZED":
            lapses = p["authorizationExpiresAt"]
            until = f" The hold lapses{_at(lapses)} unless it is captured or voided before." if lapses else ""
            return Answer(question, "Not yet", f"It waits for a capture or a void.{until}{next_}")
        case "REQUIRES_ACTION":
            until = f"{_at(p['actionExpiresAt'])} at the latest" if p["actionExpiresAt"] else ""
            return Answer(question, "Not yet", f"When the customer has acted at the provider{until}.{next_}")
        case "IN_DOUBT":
            return Answer(question, "Not known", f"It is read again until there is proof, or until a person decides.{next_}")
        case _:
            return Answer(question, "Not yet", f"Its next step is known, its end is not.{next_ or ' Nothing is due.'}")


def _unsettled(p: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is open, and what has to be given back by hand, as its return failed for good."""
    asked = [o for o in p["operations"] if o["kind"] not in ("charge", "authorize")]
    return [o for o in asked if o["status"] in _STATES or (o["kind"] == "reversal" and o["status"] == "FAILED")]


_STATES: Final = {"PENDING": "under way", "IN_DOUBT": "in doubt"}


def _taking(p: Mapping[str, Any], *kinds: str) -> Mapping[str, Any] | None:
    """The operation, a capture where no kinds are named, that is not settled and may change what is held."""
    asked = (o for o in p["operations"] if o["kind"] in (kinds or ("capture",)) and o["status"] in _STATES)
    return next(asked, None)


def _status(p: Mapping[str, Any]) -> str:
    return {"SUCCESS": "succeeded", "FAILED": "failed", "CANCELED": "was canceled"}[p["status"]]


def _ended(story: Story) -> str:
    """When it got the status that it has; empty where the lines do not show it."""
    changes = [line["at"] for line in story["lines"] if line["changed"] and line["status"] == story["payment"]["status"]]
    return changes[-1] if changes else ""


def _at(time: str | None) -> str:
    if not time:
        return ""
    at = datetime.fromisoformat(time)
    return f" on {at.day} {at:%b %Y} at {at:%H:%M:%S} UTC"


def _long(begin: str, end: str) -> str:
    s = (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    if s < 1:
        return f"{s * 1000:.0f} ms"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h"), (float("inf"), 86_400, "days")):
        if s < limit:
            return f"{s / unit:.1f}".removesuffix(".0") + f" {name}"
    raise AssertionError("unreachable")


def _why(story: Story) -> Answer:
    """What chose, where it went and why each time, and who was skipped."""
    route = story["route"]
    question = "Why this provider?"
    if not route["candidates"]:
        return Answer(question, "", "No route is on record yet: it is frozen with the first step.")
    taken = [c for c in route["candidates"] if c["taken"]]
    first = f"{taken[0]['account']} ({taken[0]['why']})" if taken else "no account may take it"
    then = f", then {', '.join(c['account'] for c in taken[1:])}" if len(taken) > 1 else ""
    said = [f"By {route['by'].removeprefix('by ').rstrip('.')}: {first}{then}."]
    skipped: dict[str, list[str]] = {}
    for each in route["candidates"]:
        if not each["taken"]:
            skipped.setdefault(each["why"], []).append(each["account"])
    said += [f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} skipped: {why}." for why, names in skipped.items()]
    said += _moves(story)
    return Answer(question, "", " ".join(said))


def _moves(story: Story) -> Iterator[str]:
    """Where each attempt went, in the words of its first step, which say why: what had changed since the route was made."""
    seen: set[int] = set()
    for line in story["lines"]:
        call = line["call"]
        if call and not call["operation"] and call["attempt"] not in seen:
            seen.add(call["attempt"])
            yield f"Attempt {call['attempt']}: {line['text']}."


def _given_back(story: Story) -> Answer:
    p, question = story["payment"], "Was money given back?"
    asked = [o for o in p["operations"] if o["kind"] in ("refund", "void", "reversal")]
    said = " ".join(_operation(p, o) for o in asked)
    states = {o["status"] for o in asked}
    if _undone(story):
        return Answer(question, "Yes", f"{said} {_said_undone()}".strip())
    return Answer(question, _short(states), said)


def _short(states: set[str]) -> Short:
    if states == {"SUCCEEDED"}:
        return "Yes"
    if "IN_DOUBT" in states:
        return "Not known"
    if "SUCCEEDED" in states:
        return "In part"
    return "Not yet" if "PENDING" in states else "No"


_WHAT: Final = {"refund": "", "void": "The hold of ", "reversal": "A surplus of "}
_DONE: Final = {"refund": "was given back as asked", "void": "was released", "reversal": "was given back"}
_DOING: Final = {"refund": "is being given back", "void": "is being released", "reversal": "is being given back"}


def _operation(p: Mapping[str, Any], o: Mapping[str, Any]) -> str:
    amount, kind = _amount(p, o["amount"]), o["kind"]
    ref = f" ({o['providerRef']})" if o["providerRef"] else ""
    match o["status"]:
        case "SUCCEEDED":
            return f"{_WHAT[kind]}{amount} {_DONE[kind]}{ref}."
        case "PENDING":
            return f"{_WHAT[kind]}{amount} {_DOING[kind]}{ref}: at the provider this may take days."
        case "FAILED":
            return f"The {kind} of {amount} failed ({o['reason']}): it gave nothing back."
        case _:
            return f"The {kind} of {amount} is in doubt ({o['reason']}): it may have been done."
