"""The waterfall of a payment: what happened to it, from left to right, as SVG drawn on the server. Pure.

Time is cut where nothing but waiting went on for long: a wait of two days must not press the calls beside it into one point.
Each such fold says how long it is, and each stretch between two folds has a scale of its own, written below it. The bars
carry classes only (static/payment.css paints them), a sign besides the colour, and a table of the same stands beside them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from markupsafe import Markup
from msgspec import Struct
from msgspec.structs import replace

Kind = Literal["accept", "call", "wait", "action", "webhook", "decision", "delivery"]
Tone = Literal["ok", "bad", "unknown", "neutral", "wait"]

# in units of the drawing, which are pixels
BASE_WIDTH: Final = 980
LEFT: Final = 178  # of the names of the rows
RIGHT: Final = 14
TOP: Final = 26
BOTTOM: Final = 26
LANE: Final = 24
FOLD_WIDTH: Final = 58
STRETCH_MIN: Final = 74
SPREAD_MIN: Final = 360  # shared by the stretches according to how long they are, also where there are many
PAD: Final = 9  # within a stretch, at both of its ends
BAR_MIN: Final = 5
MARK: Final = 12  # what takes no time is a mark as wide as this
CHAR: Final = 6.3  # of a character of the labels, on average
NAME_CHARS: Final = 27
LABEL_CHARS_MIN: Final = 3

FOLD_FROM_MS: Final = 250  # shorter waits are drawn as they are
STRETCHES_MAX: Final = 24  # more would be a drawing of many screens; the middle is folded away, and said
SIGNS: Final = {"ok": "\u2713", "bad": "\u2715", "unknown": "?", "neutral": "", "wait": "\u2026"}
WORDS: Final = {"ok": "good", "bad": "refused or failed", "unknown": "not known", "neutral": "", "wait": "waiting"}
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


class Bar(Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that happened or lasted, as the API tells it. Times are milliseconds since the payment was accepted;
    ``until_ms`` None: it still goes on. ``seq`` is the event it began with, 0 without one."""

    seq: int
    row: str
    kind: Kind
    label: str
    from_ms: int
    until_ms: int | None
    tone: Tone
    text: str


class Piece(Struct, frozen=True, kw_only=True):
    """A part of the time axis, [from, until] in milliseconds, drawn from ``x`` on, ``width`` wide. ``unseen`` counts the bars
    that lie within a fold and are not drawn."""

    from_ms: int
    until_ms: int
    folded: bool
    x: float = 0.0
    width: float = 0.0
    unseen: int = 0

    @property
    def long_ms(self) -> int:
        return self.until_ms - self.from_ms

    def place(self, ms: int) -> float:
        """Where a time within it lies; its middle when it has no length."""
        pad = 0 if self.folded else PAD
        share = (ms - self.from_ms) / self.long_ms if self.long_ms else 0.5
        return self.x + pad + (self.width - 2 * pad) * min(max(share, 0.0), 1.0)


class Drawn(Struct, frozen=True, kw_only=True):
    """A bar with its place. ``lane`` counts within its row: what overlaps stands below one another."""

    bar: Bar
    x: float
    width: float
    lane: int
    room: float  # for a label behind it,
    before: float  # and in front of it

    @property
    def mark(self) -> bool:
        return self.bar.until_ms == self.bar.from_ms


def until(bar: Bar, now_ms: int) -> int:
    """When it ended, or the time now while it goes on."""
    return max(bar.from_ms, now_ms if bar.until_ms is None else bar.until_ms)


def pieces(bars: Sequence[Bar], now_ms: int) -> tuple[Piece, ...]:
    """The time axis: stretches where something is done, and folds where nothing but waiting goes on, longer than FOLD_FROM_MS
    and longer than all that is done together. Empty without bars."""
    if not bars:
        return ()
    busy = _merged((b.from_ms, until(b, now_ms)) for b in bars if b.kind != "wait")
    first = min(b.from_ms for b in bars)
    last = max(until(b, now_ms) for b in bars)
    if not busy:
        return _placed([Piece(from_ms=first, until_ms=last, folded=False)])
    least = max(FOLD_FROM_MS, sum(end - begin for begin, end in busy))
    found: list[Piece] = []
    begin, end = min(first, busy[0][0]), busy[0][1]
    for next_begin, next_end in [*busy[1:], (last, last)]:
        if next_begin - end > least:
            found.append(Piece(from_ms=begin, until_ms=end, folded=False))
            found.append(Piece(from_ms=end, until_ms=next_begin, folded=True))
            begin = next_begin
        end = max(end, next_end)
    found.append(Piece(from_ms=begin, until_ms=end, folded=False))
    return _placed(_shortened(found, bars))


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _shortened(found: list[Piece], bars: Sequence[Bar]) -> list[Piece]:
    """At most STRETCHES_MAX stretches: those of the middle become one fold, which knows how many bars it hides."""
    keep = STRETCHES_MAX // 2
    if len(found) // 2 + 1 <= STRETCHES_MAX:
        return found
    head, tail = found[: 2 * keep - 1], found[-(2 * keep - 1) :]
    begin, end = head[-1].until_ms, tail[0].from_ms
    unseen = sum(1 for b in bars if b.kind != "wait" and begin < b.from_ms < end)
    return [*head, Piece(from_ms=begin, until_ms=end, folded=True, unseen=unseen), *tail]


def _placed(found: Sequence[Piece]) -> tuple[Piece, ...]:
    """Widths by the root of the length: what is ten times as long is three times as wide. Never below STRETCH_MIN."""
    folds = sum(1 for piece in found if piece.folded)
    weights = [max(piece.long_ms, 1) ** 0.5 for piece in found if not piece.folded]
    free = BASE_WIDTH - LEFT - RIGHT - folds * FOLD_WIDTH - len(weights) * STRETCH_MIN
    placed, x = [], float(LEFT)
    for piece in found:
        share = max(piece.long_ms, 1) ** 0.5 / sum(weights)
        width = FOLD_WIDTH if piece.folded else STRETCH_MIN + max(free, SPREAD_MIN) * share
        placed.append(replace(piece, x=x, width=width))
        x += width
    return tuple(placed)


def place(axis: Sequence[Piece], ms: int) -> float:
    """Where a time lies on the axis; a border of two pieces belongs to the stretch, not to the fold."""
    within = [piece for piece in axis if piece.from_ms <= ms <= piece.until_ms]
    return next((p for p in within if not p.folded), within[0] if within else axis[-1]).place(ms)


def rows(bars: Sequence[Bar], axis: Sequence[Piece], now_ms: int) -> dict[str, list[Drawn]]:
    """The bars by row, in the order in which the rows begin. What lies within a fold that hides bars is left out."""
    hidden = [piece for piece in axis if piece.unseen]
    found: dict[str, list[Drawn]] = {}
    for bar in bars:
        drawn = found.setdefault(bar.row, [])
        if any(p.from_ms < bar.from_ms and until(bar, now_ms) < p.until_ms for p in hidden):
            continue
        begin, end = place(axis, bar.from_ms), place(axis, until(bar, now_ms))
        if bar.until_ms == bar.from_ms:
            begin, width = begin - MARK / 2, float(MARK)
        else:
            width = max(end - begin, BAR_MIN)
        drawn.append(Drawn(bar=bar, x=begin, width=width, lane=_lane(drawn, begin, width), room=0.0, before=0.0))
    right = axis[-1].x + axis[-1].width if axis else 0.0
    return {name: _roomy(drawn, right) for name, drawn in found.items()}


def _lane(before: Sequence[Drawn], x: float, width: float) -> int:
    """The first lane of the row where nothing is in the way."""
    taken = {d.lane for d in before if d.x < x + width and x < d.x + d.width}
    return next(n for n in range(len(before) + 1) if n not in taken)


def _roomy(drawn: Sequence[Drawn], right: float) -> list[Drawn]:
    """Each with the room that is left behind it and in front of it, in its lane."""
    found = []
    for d in drawn:
        end, lane = d.x + d.width, [o for o in drawn if o.lane == d.lane and o is not d]
        ahead = min((o.x for o in lane if o.x >= end), default=right)
        behind = max((o.x + o.width for o in lane if o.x < d.x), default=float(LEFT))
        found.append(replace(d, room=max(0.0, ahead - end), before=max(0.0, d.x - behind)))
    return found


def long(ms: int) -> str:
    """A length of time in at most two units: ``340 ms``, ``3.4 s``, ``2 min 5 s``, ``2 d 3 h``."""
    if ms < 1000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f}".rstrip("0").rstrip(".") + " s"
    for i, (size, unit) in enumerate(_UNITS):
        if ms >= size:
            rest = ms % size // _UNITS[i + 1][0]
            return f"{ms // size} {unit}" + (f" {rest} {_UNITS[i + 1][1]}" if rest else "")
    raise AssertionError("unreachable")


def folds_said(axis: Sequence[Piece]) -> str:
    """The folds in words; empty when there are none."""
    folds = [piece for piece in axis if piece.folded]
    if not folds:
        return ""
    shown = [long(piece.long_ms) for piece in folds[:5]]
    more = f" and {len(folds) - 5} more" if len(folds) > 5 else ""
    text = f"{len(folds)} wait{'s are' if len(folds) > 1 else ' is'} folded, where the stripes are: {', '.join(shown)}{more}."
    if unseen := sum(piece.unseen for piece in folds):
        text += f" {unseen} bars within are not drawn: the table has them all."
    return text + " Each stretch beside has a scale of its own, written below it."


def described(bars: Sequence[Bar], axis: Sequence[Piece], now_ms: int) -> str:
    """The drawing in words, for those who do not see it."""
    last = max((until(b, now_ms) for b in bars), default=0)
    calls = [b for b in bars if b.kind == "call"]
    bad = sum(1 for b in calls if b.tone == "bad")
    unknown = sum(1 for b in calls if b.tone == "unknown")
    text = f"{len(bars)} bars in {len({b.row for b in bars})} rows over {long(last)}. {len(calls)} calls to providers"
    text += f", {bad} refused or failed" * bool(bad) + f", {unknown} without a usable answer" * bool(unknown)
    return f"{text}. {folds_said(axis)}".rstrip()


def waterfall(bars: Sequence[Bar], now_ms: int, ident: str = "waterfall") -> Markup:
    """The drawing; empty without bars. ``now_ms``: the time since the payment was accepted, where what still goes on ends."""
    axis = pieces(bars, now_ms)
    if not axis:
        return Markup("")
    named = rows(bars, axis, now_ms)
    width = axis[-1].x + axis[-1].width + RIGHT
    lanes = {name: 1 + max((d.lane for d in drawn), default=0) for name, drawn in named.items()}
    height = TOP + LANE * sum(lanes.values()) + BOTTOM
    ground, over, names, y = [], [], [], TOP
    for i, (name, row) in enumerate(named.items()):
        high = lanes[name] * LANE
        ground.append(_row(LEFT, y, width - LEFT, high, even=i % 2 == 0))
        names += [_row(0, y, LEFT, high, even=i % 2 == 0), _name(name, y)]
        over += [_bar(d, y + d.lane * LANE) for d in row]
        y += high
    # The names are a drawing of their own, so that they stay where the bars are pushed aside under them. They are no news to
    # those who hear the page: the description and the table have them.
    return Markup(
        '<div class="wf-pair{fits}"><svg class="waterfall wf-names" viewBox="0 0 {left} {h}" width="{left}" height="{h}" '
        'preserveAspectRatio="xMinYMin slice" aria-hidden="true" focusable="false">{names}</svg>'
        '<svg class="waterfall wf-bars" viewBox="{left} 0 {w} {h}" width="{w}" height="{h}" role="img" '
        'aria-labelledby="{id}-title {id}-desc"><title id="{id}-title">Waterfall: what happened, over time</title>'
        '<desc id="{id}-desc">{desc}</desc>{drawn}</svg></div>'
    ).format(
        fits=" fits" if width <= BASE_WIDTH + 1 else "",
        left=LEFT,
        w=_n(width - LEFT),
        h=height,
        id=ident,
        desc=described(bars, axis, now_ms),
        names=Markup("").join(names),
        drawn=Markup("").join([*ground, *_axis(axis, height), *over]),
    )


def _axis(axis: Sequence[Piece], height: int) -> Iterator[Markup]:
    foot = height - BOTTOM
    for piece in axis:
        if piece.folded:
            yield _fold(piece, foot)
            continue
        line = Markup('<line class="wf-grid" x1="{x}" y1="{top}" x2="{x}" y2="{foot}"/>')
        yield line.format(x=_n(piece.x + PAD), top=TOP - 4, foot=foot)
        start = Markup('<text class="wf-time" x="{}" y="{}">{}</text>')
        yield start.format(_n(piece.x + PAD), TOP - 10, f"+{long(piece.from_ms)}" if piece.from_ms else "accepted")
        if piece.long_ms:
            scale = Markup(
                '<path class="wf-scale" d="M{a} {y}v5h{w}v-5"/><text class="wf-time" x="{m}" y="{t}" text-anchor="middle">'
                "{said}</text>"
            )
            yield scale.format(
                a=_n(piece.x + PAD),
                w=_n(piece.width - 2 * PAD),
                y=foot + 2,
                m=_n(piece.x + piece.width / 2),
                t=foot + 20,
                said=long(piece.long_ms),
            )


def _fold(piece: Piece, foot: int) -> Markup:
    stripes = "".join(f"M{_n(piece.x + dx)} {foot}l10 {TOP - foot}" for dx in range(6, FOLD_WIDTH - 12, 8))
    said = f"folded: {long(piece.long_ms)}" + (f", {piece.unseen} bars" if piece.unseen else "")
    return Markup(
        '<g class="wf-fold"><title>{said}</title><rect x="{x}" y="{top}" width="{w}" height="{h}"/><path d="{stripes}"/>'
        '<text class="wf-time" x="{m}" y="{t}" text-anchor="middle">{long}</text></g>'
    ).format(
        said=said,
        x=_n(piece.x + 2),
        top=TOP,
        w=FOLD_WIDTH - 4,
        h=foot - TOP,
        stripes=stripes,
        m=_n(piece.x + FOLD_WIDTH / 2),
        t=foot + 20,
        long=long(piece.long_ms),
    )


def _row(x: int, y: int, width: float, height: int, *, even: bool) -> Markup:
    box = Markup('<rect class="wf-row{even}" x="{x}" y="{y}" width="{w}" height="{h}"/>')
    return box.format(even=" even" if even else "", x=x, y=y, w=_n(width), h=height)


def _name(name: str, y: int) -> Markup:
    shown = name if len(name) <= NAME_CHARS else name[: NAME_CHARS - 1] + "\u2026"
    text = Markup('<text class="wf-name" x="6" y="{t}">{shown}<title>{name}</title></text>')
    return text.format(t=y + 16, shown=shown, name=name)


def _bar(d: Drawn, y: int) -> Markup:
    bar, sign = d.bar, SIGNS[d.bar.tone]
    said = f"{bar.row}: {bar.label}, {_when(bar)}" + (f" ({WORDS[bar.tone]})" if WORDS[bar.tone] else "") + f". {bar.text}"
    parts = [Markup("<title>{}</title>").format(said), _shape(d, y)]
    if bar.kind != "wait":
        parts.append(_label(d, f"{bar.label} {sign}".strip(), sign, y + 16))
    group = Markup('<g class="wf-bar wf-{}{}">{}</g>')
    return group.format(bar.tone, " wf-open" if bar.until_ms is None else "", Markup("").join(parts))


def _label(d: Drawn, text: str, sign: str, y: int) -> Markup:
    """The label within the bar, behind it or in front of it, where there is room; else as much as there is room for."""
    if not d.mark and len(text) * CHAR + 8 <= d.width:
        return Markup('<text class="wf-in" x="{}" y="{}">{}</text>').format(_n(d.x + 4), y, text)
    if (shown := _cut(text, sign, d.room - 6)) != text and len(text) * CHAR + 8 <= d.before:
        return Markup('<text class="wf-by" x="{}" y="{}" text-anchor="end">{}</text>').format(_n(d.x - 4), y, text)
    if shown:
        return Markup('<text class="wf-by" x="{}" y="{}">{}</text>').format(_n(d.x + d.width + 4), y, shown)
    if sign and not d.mark and d.width >= 14:
        return Markup('<text class="wf-in" x="{}" y="{}" text-anchor="middle">{}</text>').format(_n(d.x + d.width / 2), y, sign)
    return Markup("")


def _shape(d: Drawn, y: int) -> Markup:
    if d.mark:
        half, middle = MARK / 2, y + LANE / 2
        path = f"M{_n(d.x)} {_n(middle)}l{_n(half)} {_n(-half)}l{_n(half)} {_n(half)}l{_n(-half)} {_n(half)}z"
        return Markup('<path d="{}"/>').format(path)
    high = 6 if d.bar.kind == "wait" else LANE - 8
    box = Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="2"/>')
    return box.format(_n(d.x), _n(y + (LANE - high) / 2), _n(d.width), high)


def _cut(text: str, sign: str, room: float) -> str:
    """As much of a label as there is room for; its sign at least, or nothing."""
    fits = int(room / CHAR)
    if len(text) <= fits:
        return text
    if fits >= LABEL_CHARS_MIN + 3:
        tail = f"\u2026 {sign}".rstrip()
        return text[: fits - len(tail)].rstrip() + tail
    return sign if sign and fits >= len(sign) + 1 else ""


def _when(bar: Bar) -> str:
    if bar.until_ms is None:
        return f"from +{long(bar.from_ms)}, still going on"
    if bar.until_ms == bar.from_ms:
        return f"at +{long(bar.from_ms)}"
    return f"from +{long(bar.from_ms)} for {long(bar.until_ms - bar.from_ms)}"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
