"""Routing: the first rule that matches chooses; every account is a candidate once, taken or skipped, with its why."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce.core.routing import HIGH_VALUE_MINOR, Asked, Offer, Rule, Rules, When, conditions, route

ASKED = Asked(mode="test", currency="INR", amount_minor=1050, merchant_id="mer_default")
A, B, C = (Offer(account=name, mode="test") for name in "abc")
EUR_ONLY = Offer(account="eur", mode="test", currencies=frozenset({"EUR"}))
LIVE = Offer(account="live", mode="live")


def asked(**given: Any) -> Asked:
    return replace(ASKED, **given)


def rules(*each: Rule, **thresholds: Any) -> Rules:
    return Rules(rules=each, **thresholds)


def matches(when: When, question: Asked, **thresholds: Any) -> bool:
    """Whether a rule with this condition chooses."""
    table = rules(Rule(name="it", when=when, use=("a",)), **thresholds)
    return route(table, question, (A,)).rule == "it"


def places(found: Any) -> tuple[list[str], list[str]]:
    return [c.account for c in found.taken], [c.account for c in found.candidates if not c.taken]


def test_without_rules_every_able_account_in_the_order_of_the_configuration() -> None:
    """No rules: whoever takes it, as configured; others are skipped with the reason."""
    found = route(Rules(), ASKED, (B, EUR_ONLY, A, LIVE))
    assert found.rule == ""
    assert [(c.account, c.why, c.taken) for c in found.candidates] == [
        ("b", "takes INR, in the order of the configuration", True),
        ("a", "takes INR, in the order of the configuration", True),
        ("eur", "does not take INR", False),
        ("live", "is an account of live mode", False),
    ]


def test_the_first_rule_that_matches_chooses() -> None:
    """A later rule that matches too is not asked, and neither is one that does not match."""
    table = rules(
        Rule(name="eur", when=When(currency=("EUR",)), use=("a",)),
        Rule(name="inr", when=When(currency=("INR",)), use=("b",)),
        Rule(name="all", use=("c",)),
    )
    found = route(table, ASKED, (A, B, C))
    assert found.rule == "inr"
    assert [(c.account, c.why) for c in found.taken] == [
        ("b", "rule inr: currency INR"),
        ("a", "fallback: takes INR"),
        ("c", "fallback: takes INR"),
    ]
    assert route(table, asked(currency="USD"), (A, B, C)).taken[0].why == "rule all: matches every payment"


def test_the_first_rule_chooses_even_when_its_accounts_are_not_able() -> None:
    """Only its fallbacks are left then; the next rule is not asked."""
    table = rules(Rule(name="one", use=("eur", "live")), Rule(name="two", use=("b",)))
    found = route(table, ASKED, (A, B, EUR_ONLY, LIVE))
    assert found.rule == "one"
    assert places(found) == (["a", "b"], ["eur", "live"])
    none = route(rules(Rule(name="one", use=("eur",), fallback=()), Rule(name="two", use=("b",))), ASKED, (A, B, EUR_ONLY))
    assert (none.rule, none.taken) == ("one", ())
    assert [(c.account, c.why) for c in none.candidates] == [
        ("eur", "does not take INR"),
        ("a", "rule one has no fallback"),
        ("b", "rule one has no fallback"),
    ]


def test_fallbacks_are_any_a_list_or_none() -> None:
    """Any: the others in the order of the configuration. A list: in its own order. None: nobody."""
    for fallback, taken, skipped in (
        ("any", ["c", "a", "b"], []),
        (("b", "a"), ["c", "b", "a"], []),
        (("b",), ["c", "b"], ["a"]),
        ((), ["c"], ["a", "b"]),
    ):
        found = route(rules(Rule(name="r", use=("c",), fallback=fallback)), ASKED, (A, B, C))  # type: ignore[arg-type]
        assert places(found) == (taken, skipped)
    assert route(rules(Rule(name="r", use=("c",), fallback=("b",))), ASKED, (A, B, C)).candidates[-1].why == (
        "not among the fallbacks of rule r"
    )


def test_several_accounts_keep_the_order_of_the_rule() -> None:
    """`use` is in the order of the rule, not of the configuration."""
    assert places(route(rules(Rule(name="r", use=("c", "a"), fallback=())), ASKED, (A, B, C))) == (["c", "a"], ["b"])


def test_accounts_that_are_not_offered_are_not_in_the_route() -> None:
    """A rule and its fallbacks may name accounts that are not there for this merchant: no candidate tells of them."""
    table = rules(Rule(name="r", use=("theirs", "a"), fallback=("theirs_too", "b")))
    assert places(route(table, ASKED, (A, B, C))) == (["a", "b"], ["c"])
    nothing = route(rules(Rule(name="r", use=("theirs",), fallback=())), ASKED, ())
    assert (nothing.rule, nothing.candidates) == ("r", ())


def test_no_rule_matches() -> None:
    """Rules that do not match leave nobody: there is no silent default."""
    found = route(rules(Rule(name="eur", when=When(currency=("EUR",)), use=("a",))), ASKED, (A, B))
    assert (found.rule, found.taken) == ("", ())
    assert {c.why for c in found.candidates} == {"no rule matches this payment"}


def test_a_forced_provider_is_the_only_one() -> None:
    """The account that the request names is taken without asking a rule, if it is able; nobody stands behind it."""
    table = rules(Rule(name="all", use=("a",)))
    found = route(table, asked(provider="b"), (A, B))
    assert (found.rule, [(c.account, c.why, c.taken) for c in found.candidates]) == (
        "",
        [("b", "the request names it", True), ("a", "the request names b", False)],
    )
    for name, why in (("eur", "does not take INR"), ("live", "is an account of live mode"), ("x", "there is no such account")):
        found = route(table, asked(provider=name), (A, EUR_ONLY, LIVE))
        assert found.taken == ()
        assert (found.candidates[0].account, found.candidates[0].why) == (name, why)


@pytest.mark.parametrize(
    ("when", "question", "holds"),
    [
        (When(), {}, True),
        (When(currency=("EUR", "INR")), {}, True),
        (When(currency=("EUR",)), {}, False),
        (When(amount_from_minor=1050), {}, True),
        (When(amount_from_minor=1051), {}, False),
        (When(amount_to_minor=1050), {}, True),
        (When(amount_to_minor=1049), {}, False),
        (When(amount_from_minor=0, amount_to_minor=0), {}, False),
        (When(high_value=True), {"amount_minor": HIGH_VALUE_MINOR}, True),
        (When(high_value=True), {"amount_minor": HIGH_VALUE_MINOR - 1}, False),
        (When(high_value=False), {"amount_minor": HIGH_VALUE_MINOR}, False),
        (When(high_value=False), {"amount_minor": HIGH_VALUE_MINOR - 1}, True),
        (When(method=("card", "upi")), {"method": "upi"}, True),
        (When(method=("card",)), {"method": ""}, False),
        (When(client=("shop",)), {"client_id": "shop"}, True),
        (When(client=("shop",)), {}, False),
        (When(merchant=("mer_default",)), {}, True),
        (When(merchant=("mer_2",)), {}, False),
        (When(metadata={"plan": ("gold", "new")}), {"metadata": {"plan": "new", "n": 1}}, True),
        (When(metadata={"plan": ("gold",)}), {"metadata": {"plan": "Gold"}}, False),
        (When(metadata={"plan": ("gold",)}), {}, False),
        (When(metadata={"n": (1,)}), {"metadata": {"n": True}}, False),
        (When(metadata={"n": (1,)}), {"metadata": {"n": 1.0}}, True),
        (When(metadata={"n": (1,)}), {"metadata": {"n": "1"}}, False),
        (When(metadata={"n": (False,)}), {"metadata": {"n": None}}, False),
        (When(metadata={"a": ("x",), "b": ("y",)}), {"metadata": {"a": "x"}}, False),
        (When(currency=("INR",), client=("shop",)), {}, False),
        (When(currency=("INR",), amount_from_minor=1000, amount_to_minor=2000), {}, True),
    ],
)
def test_conditions(when: When, question: dict[str, Any], holds: bool) -> None:
    """Every condition given must hold, one of its values each; none given matches every payment."""
    assert matches(when, asked(**question)) is holds


def test_the_threshold_is_per_currency() -> None:
    """A currency's own threshold counts, the default for all others; and 1,000,000 where none is given."""
    own = {"high_value_minor": {"JPY": 500}, "high_value_default_minor": 2000}
    high = When(high_value=True)
    for currency, least in (("JPY", 500), ("INR", 2000)):
        assert matches(high, asked(currency=currency, amount_minor=least), **own)
        assert not matches(high, asked(currency=currency, amount_minor=least - 1), **own)
    assert Rules().high_value_default_minor == 1_000_000


def test_the_why_names_the_conditions() -> None:
    """For people: which rule, and what of the payment matched."""
    table = rules(
        Rule(name="high-value", when=When(high_value=True, currency=("USD",), client=("shop",)), use=("a",)),
        Rule(name="rule 2", when=When(amount_from_minor=10, amount_to_minor=20_000), use=("a",)),
    )
    big = asked(amount_minor=1_250_000, currency="USD", client_id="shop")
    assert route(table, big, (A,)).taken[0].why == (
        "rule high-value: currency USD, 1,250,000 is at or above 1,000,000 (USD), client shop"
    )
    small = route(table, ASKED, (A,)).taken[0].why
    assert small == "rule 2: 1,050 is at or above 10 (INR), 1,050 is at or below 20,000 (INR)"
    failed = [c.why for c in conditions(table.rules[0], ASKED, table) if not c.holds]
    assert failed == ["currency INR", "1,050 is below 1,000,000 (INR)", "client (none)"]


def test_the_why_holds_no_customer_data() -> None:
    """A route is stored for ever: payment method and metadata values, which can be erased, are not in its texts."""
    when = When(method=("card",), metadata={"plan": ("secretly-gold",)})
    question = asked(method="card", metadata={"plan": "secretly-gold", "name": "Jane"})
    found = route(rules(Rule(name="r", when=when, use=("a",))), question, (A, B))
    assert found.taken[0].why == "rule r: payment method matches, metadata.plan matches"
    assert not any(word in c.why for c in found.candidates for word in ("secretly-gold", "card", "Jane"))


WORDS = st.sampled_from(["a", "b", "c", "eur", "live", "gone"])
NAMES = st.lists(WORDS, unique=True, min_size=1).map(tuple)
WHENS = st.sampled_from([When(), When(currency=("EUR",)), When(high_value=True), When(client=("shop",))])


@given(
    st.lists(st.tuples(WHENS, NAMES, st.one_of(st.just("any"), st.just(()), NAMES)), max_size=4),
    st.sampled_from(["INR", "EUR"]),
    st.sampled_from([1, HIGH_VALUE_MINOR]),
    st.sampled_from(["", "", "a", "live", "gone"]),
)
def test_every_account_is_considered_once(each: list[Any], currency: str, amount: int, provider: str) -> None:
    """Whatever the rules: each configured account is a candidate exactly once with a why, the taken come first, only able
    ones are taken, and a forced payment never goes elsewhere."""
    table = rules(*(Rule(name=f"r{n}", when=w, use=u, fallback=f) for n, (w, u, f) in enumerate(each)))
    offers = (A, B, C, EUR_ONLY, LIVE)
    found = route(table, asked(currency=currency, amount_minor=amount, provider=provider), offers)
    names = [c.account for c in found.candidates]
    assert len(names) == len(set(names))
    assert {o.account for o in offers} <= set(names)
    assert all(c.why for c in found.candidates)
    assert [c.taken for c in found.candidates] == sorted((c.taken for c in found.candidates), reverse=True)
    able = {"a", "b", "c"} | ({"eur"} if currency == "EUR" else set())
    assert {c.account for c in found.taken} <= (able & {provider} if provider else able)
