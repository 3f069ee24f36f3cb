"""Parts of a whole: horizontal bars with their names and values, and one bar alone for a cell of a table."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup
from msgspec import Struct

from .drawing import Tone, joined, number
from .scale import told

WIDTH: Final = 520
ROW: Final = 42  # a name above its bar, so that a long one has the whole width
NAME_CHARS_MAX: Final = 36
BAR_WIDTH: Final = 100


class Share(Struct, frozen=True, kw_only=True):
    """One bar: ``count`` of something, drawn against the largest."""

    label: str
    count: int
    tone: Tone = "main"


def bars(id: str, title: str, shares: Sequence[Share]) -> Markup:
    """Each share with its name, its count and its part of the sum in words; longest first as given. Nothing is drawn without
    any count."""
    total, most = sum(each.count for each in shares), max((each.count for each in shares), default=0)
    if total <= 0:
        return Markup(
            '<figure class="chart" id="{}"><figcaption><strong>{}</strong></figcaption><p>Nothing was counted.</p></figure>'
        ).format(id, title)
    drawn = joined(_row(i, each, most, total) for i, each in enumerate(shares))
    said = "; ".join(f"{each.label} {told(each.count, 'count')}" for each in shares)
    return Markup(
        '<figure class="chart" id="{id}"><figcaption><strong>{title}</strong></figcaption>'
        '<svg class="bars" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{id}-title {id}-desc">'
        '<title id="{id}-title">{title}</title><desc id="{id}-desc">{said}.</desc>{drawn}</svg>{table}</figure>'
    ).format(id=id, title=title, w=WIDTH, h=len(shares) * ROW, said=said, drawn=drawn, table=_table(id, title, shares, total))


def bar(share: float | None, tone: Tone = "main") -> Markup:
    """One bar for a cell that says its number beside it: unseen by screen readers. ``share`` is 0 to 1; None is empty."""
    wide = BAR_WIDTH * max(0.0, min(share or 0.0, 1.0))
    return Markup(
        '<svg class="bar" viewBox="0 0 {} 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect class="rest" x="0" y="0" width="{}" height="8"/>'
        '<rect class="column t-{}" x="0" y="0" width="{}" height="8"/></svg>'
    ).format(BAR_WIDTH, BAR_WIDTH, tone, number(wide))


def _row(i: int, share: Share, most: int, total: int) -> Markup:
    name = share.label if len(share.label) <= NAME_CHARS_MAX else share.label[: NAME_CHARS_MAX - 1] + "…"
    wide = max(WIDTH * share.count / most, 2) if share.count else 0
    return Markup(
        '<text x="0" y="{}">{}</text><text x="{}" y="{}" text-anchor="end">{}</text>'
        '<rect class="rest" x="0" y="{}" width="{}" height="10"/>'
        '<rect class="column t-{}" x="0" y="{}" width="{}" height="10"/>'
    ).format(
        i * ROW + 17, name, WIDTH, i * ROW + 17, _said(share.count, total),
        i * ROW + 24, WIDTH, share.tone, i * ROW + 24, number(wide),
    )  # fmt: skip


def _said(count: int, total: int) -> str:
    return f"{told(count, 'count')} ({told(count / total, 'share')})"


def _table(id: str, title: str, shares: Sequence[Share], total: int) -> Markup:
    row = Markup('<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>')
    rows = joined(row.format(each.label, told(each.count, "count"), told(each.count / total, "share")) for each in shares)
    return Markup(
        '<details class="data" id="{}-data"><summary>Data<span class="unseen"> of {}</span></summary>'
        '<table class="plain"><caption>{}</caption><thead><tr><th scope="col">What</th><th scope="col">Count</th>'
        '<th scope="col">Share</th></tr></thead><tbody>{}</tbody></table></details>'
    ).format(id, title, title, rows)
