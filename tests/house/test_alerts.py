"""Alert rules, their pages and the metrics agree: no rule asks for what nobody counts, none is without a page."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest
import yaml

from payonce.core import outcome
from payonce.core.payment import PaymentStatus, StepKind
from payonce.mail import WebhookState
from payonce.outbound.schedule import Means
from payonce.telemetry.names import CLOUD, METRICS, exported

from .source import ROOT
from .test_docs import anchors

RULES: Final = ROOT / "deploy" / "prometheus" / "payonce-alerts.yaml"
CHARTS: Final = ROOT / "deploy" / "grafana" / "payonce.json"
PAGE: Final = ROOT / "docs" / "operations.md"
HEAD: Final = re.compile(r"^### Alert (\w+)$", re.MULTILINE)
SEVERITIES: Final = {"page", "ticket"}
LEAST: Final = 10

# Prometheus' own words (prometheus.io/docs/prometheus/latest/querying, read 2026-11), those that rules may use here.
WORDS: Final = {"sum", "max", "by", "and", "or", "offset", "increase", "rate", "delta", "histogram_quantile"}
ITS_OWN: Final = {"up": {"job", "instance"}}
TOKEN: Final = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*")|(?P<span>\d+(?:s|m|h|d)\b)|(?P<number>\d+(?:\.\d+)?)|(?P<word>[A-Za-z_:][A-Za-z0-9_:]*)'
    r"|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/><=(){}\[\],])|(?P<space>\s+)"
)
PAIRS: Final = {")": "(", "}": "{", "]": "["}
SERIES: Final = {name: set(metric.labels) | {"le"} for metric in METRICS.values() for name in exported(metric)}
# What a label may say, where it is one of a few words of the code.
SAYS: Final[dict[str, set[str]]] = {
    "status": set(get_args(PaymentStatus)) | {"5.."},
    "kind": set(get_args(StepKind)),
    "outcome": {name for name, each in vars(outcome).items() if isinstance(each, type) and issubclass(each, outcome.Outcome)},
    "result": {*get_args(WebhookState), *get_args(Means), "refused", "stored", "repeated"},
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    assert len({group["name"] for group in groups}) == len(groups)
    return [rule for group in groups for rule in group["rules"]]


def tokens(expression: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each; what is no token is one of the kind ``bad``."""
    at = 0
    while at < len(expression):
        found = TOKEN.match(expression, at)
        if found is None:
            yield "bad", expression[at : at + 10]
            return
        at = found.end()
        if found.lastgroup != "space":
            yield str(found.lastgroup), found.group()


def wrong(expression: str) -> Iterator[str]:
    """What is wrong with an expression, as far as it can be seen without Prometheus."""
    said = list(tokens(expression))
    opened, metric, labels = list[str](), "", False
    for n, (kind, text) in enumerate(said):
        after = said[n + 1][1] if n + 1 < len(said) else ""
        if kind == "bad":
            yield f"no token: {text}"
        elif text in PAIRS.values():
            opened.append(text)
            labels = text == "(" and n > 0 and said[n - 1][1] == "by"
        elif text in PAIRS:
            if not opened or opened.pop() != PAIRS[text]:
                yield f"{text} closes nothing"
            labels = False
        elif kind == "word" and opened and opened[-1] == "{":
            if text not in SERIES.get(metric, ITS_OWN.get(metric, set())):
                yield f"{metric} has no label {text}"
            value = said[n + 2][1].strip('"') if n + 2 < len(said) else ""
            yield from (f"{text} is never {each}" for each in value.split("|") if text in SAYS and each not in SAYS[text])
        elif kind == "word" and labels:
            if not any(text in each for each in SERIES.values()):
                yield f"no metric has the label {text}"
        elif kind == "word" and text in SERIES | ITS_OWN:
            metric = text
        elif kind == "word" and text not in WORDS:
            yield f"nobody knows {text}"
        elif text in ("increase", "rate", "delta", "histogram_quantile") and after != "(":
            yield f"{text} is called without parentheses"
        elif kind == "span" and not (opened and opened[-1] == "[") and said[n - 1][1] != "offset":
            yield f"a time without brackets: {text}"
    if opened:
        yield f"left open: {opened}"


def test_there_are_rules_and_each_is_whole() -> None:
    """At least ten, each under a name of its own, with an expression, a severity, a sentence and its page."""
    all_rules = rules()
    names = [rule["alert"] for rule in all_rules]
    assert len(set(names)) == len(names) >= LEAST
    for rule in all_rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in SEVERITIES
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#alert-{rule['alert'].lower()}"


def test_rules_ask_for_what_is_counted() -> None:
    """Every metric, label and word in a rule is one that the code exports, and every expression is well formed."""
    assert [(rule["alert"], each) for rule in rules() for each in wrong(rule["expr"])] == []


def test_charts_ask_for_what_is_counted() -> None:
    """Every query of the Grafana dashboard is well formed and names metrics that are exported; each panel has a title and a
    unit."""
    panels = json.loads(CHARTS.read_text(encoding="utf-8"))["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels) > LEAST
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
    asked = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    assert [(title, each) for title, expression in asked for each in wrong(expression)] == []


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    """Anchors lead to sections; each says what it means, what to look at, and what to do."""
    text = PAGE.read_text(encoding="utf-8")
    names = [rule["alert"] for rule in rules()]
    assert HEAD.findall(text) == names
    known = anchors(text)
    for rule in rules():
        assert rule["annotations"]["runbook_url"].partition("#")[2] in known
    for section in re.split(HEAD, text)[2::2]:
        body = section.split("\n#")[0]
        assert [word for word in ("**Means.**", "**Look.**", "**Do.**") if word not in body] == []


def test_rules_tell_of_what_people_must_know() -> None:
    """The store, doubts, lateness, providers, webhooks both ways, a hold, errors, and silence: each has a rule."""
    asked = " ".join(rule["expr"] for rule in rules())
    for name in (
        *("payonce_store_trouble", "payonce_payments_in_doubt", "payonce_oldest_overdue_seconds", "payonce_breaker_open"),
        *("payonce_hold", "payonce_http_requests_total", "payonce_payments_accepted_total", "payonce_declines_total"),
        *(
            "payonce_webhooks_received_total",
            "payonce_webhook_deliveries_total",
            "payonce_settle_duration_seconds_bucket",
            "up",
        ),
    ):
        assert re.search(rf"\b{name}\b", asked), name


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("sum(increase(payonce_declines_total[15m])) > 0", ""),
        ("sum(increase(payonce_declines[15m])) > 0", "nobody knows payonce_declines"),
        ('payonce_declines_total{payment="x"} > 0', "payonce_declines_total has no label payment"),
        ('payonce_provider_calls_total{outcome=~"Unknown|Lost"} > 0', "outcome is never Lost"),
        ("sum by (payment) (payonce_hold) == 1", "no metric has the label payment"),
        ("sum(payonce_hold == 1", "left open: ['(']"),
        ("max(payonce_hold)) == 1", ") closes nothing"),
        ("increase(payonce_declines_total 15m) > 0", "a time without brackets: 15m"),
        ("payonce_hold ~ 1", "no token: ~ 1"),
        ("median(payonce_hold)", "nobody knows median"),
    ],
)
def test_a_wrong_expression_is_seen(expression: str, said: str) -> None:
    """The check finds unknown metrics, labels, values and words, and what is not well formed."""
    assert next(wrong(expression), "") == said


def test_the_page_names_every_metric() -> None:
    """docs/observability.md has each metric of /metrics and each of CloudWatch, and none that is not there."""
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(payonce_[a-z_]+)[`{]", text))
    assert named == set(METRICS)
    assert [each.name for each in CLOUD if f"`{each.name}`" not in text] == []
