"""Providers of every kind as small immutable books: what a search may copy, compare and take back.

A book is a tuple of boxes: a container, or the invisible one around a single charge. Everything a provider may decide
is an answer of its own, so that a search can follow each. Honest by construction: a kind breaks none of its promises
(protocol.md, section 2); what is not promised is decided the way that is worst for us.
"""

from typing import Literal, NamedTuple

from msgspec.structs import replace

from payonce.core import ids
from payonce.core.outcome import (
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    Processing,
    Rejected,
    Succeeded,
    Try,
    Unknown,
)
from payonce.core.payment import StepKind, Terms

SECOND_US = 1_000_000
Kind = Literal["closable", "manual", "keyed", "unique", "keyless"]
TrialState = Literal["processing", "may_turn", "authorized", "captured", "succeeded", "declined"]
Word = Literal["yes", "soft", "hard", "processing", "may_turn"]

PAYMENT_ID = "pay_" + ids.encode(7)
AMOUNT_MINOR, CURRENCY = 100, "INR"
TURNS_S = 20  # how long a provisional decline may still turn
WINDOW_S = 120  # a keyed provider forgets a key after this, counted from the first request that brought it
SPAN_S = 22  # how long we replay inside it; nothing is under way for longer than the rest (a stated limit)

# Real terms with short times: a horizon of a few reads keeps the search finite, their order is that of the real ones.
_SHORT = Terms(
    processing_s=7,
    read_lag_s=1,
    call_timeout_ms=1_000,
    horizon_s=25,
    watch_s=40,
    settle_s=60,
    read_schedule_s=(5, 15),
)
TERMS: dict[Kind, Terms] = {
    "closable": replace(_SHORT, container=True, closable=True),
    "manual": replace(_SHORT, container=True, own_capture=True),
    "keyed": replace(_SHORT, keyed=True, replay_span_s=SPAN_S),
    "unique": _SHORT,
    "keyless": replace(_SHORT, readable=False),
}


class Trial(NamedTuple):
    """One try to charge, as its provider has it. ``until_us``: when it can no longer turn."""

    state: TrialState
    until_us: int = 0


class Box(NamedTuple):
    """``attempt`` stands for our reference and our key, which derive from it. ``born_us`` counts for keys only."""

    attempt: int
    trials: tuple[Trial, ...] = ()
    closed: bool = False
    born_us: int = 0


Boxes = tuple[Box, ...]


class Request(NamedTuple):
    """A call under way: what its bytes say, and nothing else. ``box`` and ``trial``: what it names of the provider's
    objects, or -1."""

    account: int
    attempt: int
    kind: StepKind
    box: int = -1
    trial: int = -1
    lapses_us: int = 0  # with keys: nothing is under way for longer; 0 = never


class Answer(NamedTuple):
    """What the provider makes of a request. ``word`` tells what it decided, where it had a choice."""

    boxes: Boxes
    outcome: AnyOutcome
    word: str = ""


def handle(kind: Kind, boxes: Boxes, asked: Request, now_us: int, words: tuple[Word, ...]) -> list[Answer]:
    """Every answer that an honest provider of this kind may give."""
    match asked.kind:
        case "read":
            return [Answer(boxes, _shown(kind, boxes, asked))]
        case "create":
            made = f"box{len(boxes)}"
            return [Answer((*boxes, Box(asked.attempt)), Created(container=made, reference=_reference(asked)))]
        case "capture":
            return [_capture(boxes, asked)]
        case "close":
            return [_close(boxes, asked)]
        case "fire" | "replay":
            return _fire(kind, boxes, asked, now_us, words)
        case _:
            raise AssertionError(f"{asked.kind}: an honest provider has nothing to give back")


def turns(kind: Kind, boxes: Boxes, now_us: int) -> list[tuple[str, Boxes]]:
    """What a provider may decide by itself now: a pending try, or a provisional decline that turns."""
    found = []
    for b, box in enumerate(boxes):
        for t, trial in enumerate(box.trials):
            if trial.state == "processing" or (trial.state == "may_turn" and now_us <= trial.until_us):
                taken = _taken(kind, box)
                found.append((f"box {b} try {t}: {taken.state}", _put(boxes, b, t, taken)))
                if trial.state == "processing":
                    found.append((f"box {b} try {t}: declined", _put(boxes, b, t, Trial("declined"))))
    return found


def dead(kind: Kind, boxes: Boxes, asked: Request) -> bool:
    """Whether a request can never have an effect any more, so that it need not be followed."""
    contains = kind in ("closable", "manual")
    if asked.kind in ("fire", "replay"):
        if contains:
            box = boxes[asked.box]
            return box.closed or any(t.state in ("captured", "succeeded") for t in box.trials)
        known = [box for box in boxes if box.attempt == asked.attempt]
        forgotten_us = known[-1].born_us + WINDOW_S * SECOND_US if known else 0
        return bool(known) and (kind == "unique" or (kind == "keyed" and asked.lapses_us < forgotten_us))
    if asked.kind == "capture":
        return boxes[asked.box].trials[asked.trial].state in ("captured", "declined")
    return asked.kind == "close" and boxes[asked.box].closed


def charges(boxes: Boxes) -> list[int]:
    """The attempts whose money was taken, once per charge."""
    return [box.attempt for box in boxes for trial in box.trials if trial.state in ("captured", "succeeded")]


def may_take_alone(kind: Kind, boxes: Boxes, attempt: int, now_us: int) -> bool:
    """Whether a try of this attempt can still become a charge without any further request."""
    pending = [t for box in boxes if box.attempt == attempt for t in box.trials if not _over(t, now_us)]
    return bool(pending) and kind != "manual"


def _over(trial: Trial, now_us: int) -> bool:
    return trial.state != "processing" and (trial.state != "may_turn" or now_us > trial.until_us)


def _reference(asked: Request) -> str:
    return ids.reference(PAYMENT_ID, 1, asked.attempt)


def _taken(kind: Kind, box: Box) -> Trial:
    """Single success: where there is a container, one taken try bars all others."""
    if kind in ("closable", "manual") and any(t.state in ("captured", "succeeded") for t in box.trials):
        return Trial("declined")
    return Trial("authorized" if kind == "manual" else "succeeded")


def _put(boxes: Boxes, b: int, t: int, trial: Trial) -> Boxes:
    box = boxes[b]
    changed = box._replace(trials=(*box.trials[:t], trial, *box.trials[t + 1 :]))
    return (*boxes[:b], changed, *boxes[b + 1 :])


def _fire(kind: Kind, boxes: Boxes, asked: Request, now_us: int, words: tuple[Word, ...]) -> list[Answer]:
    b = asked.box
    if kind in ("closable", "manual"):
        box = boxes[b]
        if box.closed:
            return [Answer(boxes, Rejected(reason="closed"))]
        paid = next((t for t, trial in enumerate(box.trials) if trial.state in ("captured", "succeeded")), None)
        if paid is not None:
            said = _view(boxes, b, paid) if kind == "closable" else Rejected(reason="already paid")
            return [Answer(boxes, said)]
        if any(trial.state == "processing" for trial in box.trials):
            return [Answer(boxes, Unknown(reason="in progress"))]
    else:
        known = [n for n, box in enumerate(boxes) if box.attempt == asked.attempt]
        if kind == "keyed" and known and now_us < boxes[known[-1]].born_us + WINDOW_S * SECOND_US:
            return [Answer(boxes, _view(boxes, known[-1], 0))]
        if kind == "unique" and known:
            return [Answer(boxes, Unknown(reason="duplicate reference"))]
        b, boxes = len(boxes), (*boxes, Box(asked.attempt, born_us=now_us if kind == "keyed" else 0))
    box, answers = boxes[b], []
    for word in words:
        if word == "may_turn" and kind != "manual":
            continue  # known of providers whose holds we capture ourselves
        after = box._replace(trials=(*box.trials, _begun(kind, box, word, now_us)))
        listed = (*boxes[:b], after, *boxes[b + 1 :])
        said = _view(listed, b, len(box.trials), hard=word == "hard")
        answers.append(Answer(listed, said, word))
    return answers


def _begun(kind: Kind, box: Box, word: Word, now_us: int) -> Trial:
    if word == "yes":
        return _taken(kind, box)
    if word == "may_turn":
        return Trial("may_turn", now_us + TURNS_S * SECOND_US)
    return Trial("processing" if word == "processing" else "declined")


def _capture(boxes: Boxes, asked: Request) -> Answer:
    box = boxes[asked.box]
    trial = box.trials[asked.trial]
    if trial.state == "authorized" and not any(t.state == "captured" for t in box.trials):
        boxes = _put(boxes, asked.box, asked.trial, Trial("captured"))
    elif trial.state != "captured":
        return Answer(boxes, Rejected(reason="not capturable"))
    named = {"ref": f"try{asked.box}.{asked.trial}", "reference": _reference(asked)}
    return Answer(boxes, Captured(**named, amount_minor=AMOUNT_MINOR, currency=CURRENCY, mode="test"))


def _close(boxes: Boxes, asked: Request) -> Answer:
    box = boxes[asked.box]
    if any(trial.state not in ("declined", "may_turn") for trial in box.trials):
        return Answer(boxes, Unknown(reason="not closable now"))
    closed = (*boxes[: asked.box], box._replace(closed=True), *boxes[asked.box + 1 :])
    return Answer(closed, Closed(container=f"box{asked.box}", reference=_reference(asked)))


def _shown(kind: Kind, boxes: Boxes, asked: Request) -> AnyOutcome:
    """A read: by the container that we know, else by our reference (of several the one that was used)."""
    ours = [n for n, box in enumerate(boxes) if box.attempt == asked.attempt]
    contains = kind in ("closable", "manual")
    if contains and asked.box >= 0:
        ours = [n for n in ours if n == asked.box]
    elif contains:
        ours = sorted(ours, key=lambda n: not boxes[n].trials)[:1]
    if not ours:
        return Absent()
    tries = tuple(_view(boxes, n, t) for n in ours for t in range(len(boxes[n].trials)))
    if not contains:
        return Found(tries=tries, reference=_reference(asked))
    here = boxes[ours[0]]
    return Found(
        tries=tries,
        container="closed" if here.closed else "open",
        container_id=f"box{ours[0]}",
        reference=_reference(asked),
    )


def _view(boxes: Boxes, b: int, t: int, *, hard: bool = False) -> Try:
    trial, name = boxes[b].trials[t], f"try{b}.{t}"
    reference = ids.reference(PAYMENT_ID, 1, boxes[b].attempt)
    match trial.state:
        case "captured" | "succeeded":
            return Succeeded(ref=name, reference=reference, amount_minor=AMOUNT_MINOR, currency=CURRENCY, mode="test")
        case "authorized":
            return Authorized(ref=name, reference=reference, amount_minor=AMOUNT_MINOR, currency=CURRENCY, mode="test")
        case "processing":
            return Processing(ref=name, reference=reference)
    code = "stolen_card" if hard else "declined"
    flips = trial.until_us or None
    return Declined(code=code, hard=hard, scope="issuer", ref=name, reference=reference, flips_until_us=flips)
