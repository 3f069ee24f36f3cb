"""rules.py: [[rules]] and [routing.high_value] as written, what is refused with which line, and what is warned of."""

import tomllib
from typing import Any

import pytest

from payonce.core.errors import ConfigError
from payonce.core.payment import Mode
from payonce.core.routing import HIGH_VALUE_MINOR, Asked, Offer, Rule, Rules, When, route
from payonce.rules import (
    covers,
    currency_warnings,
    merchant_warnings,
    read_high_value,
    read_rules,
    use_in_words,
    warnings,
    when_in_words,
)
from payonce.tomlfile import TomlFile, shipped

ACCOUNTS: dict[str, Mode] = {"mock": "test", "razorpay_mock": "test", "cashfree_mock": "test", "real": "live"}


def file(text: str) -> TomlFile:
    return TomlFile("payonce.toml", tomllib.loads(text), text)


def rules_of(text: str, mode: Mode = "test") -> tuple[Rule, ...]:
    return read_rules(file(text), ACCOUNTS, mode)


def test_a_rule_with_everything() -> None:
    """Every key becomes what the core asks; a string is a list of one."""
    text = """
[[rules]]
name = "all of it"
use = ["mock", "razorpay_mock"]
fallback = ["cashfree_mock"]
[rules.when]
currency = ["INR", "USD"]
amount_from = 0
amount_to = 5_000
high_value = false
method = "card"
client = ["shop-1", "shop-2"]
merchant = "mer_default"
metadata = { plan = "gold", n = [1, 2.5], vip = true }
[[rules]]
use = "mock"
fallback = "none"
[[rules]]
use = "mock"
fallback = "any"
"""
    assert rules_of(text) == (
        Rule(
            name="all of it",
            when=When(
                currency=("INR", "USD"),
                amount_from_minor=0,
                amount_to_minor=5000,
                high_value=False,
                method=("card",),
                client=("shop-1", "shop-2"),
                merchant=("mer_default",),
                metadata={"plan": ("gold",), "n": (1, 2.5), "vip": (True,)},
            ),
            use=("mock", "razorpay_mock"),
            fallback=("cashfree_mock",),
        ),
        Rule(name="rule 2", use=("mock",), fallback=()),
        Rule(name="rule 3", use=("mock",), fallback="any"),
    )


@pytest.mark.parametrize(
    ("rule", "line", "said"),
    [
        ('use = ["razorpay_mok"]', 3, "use names razorpay_mok, and there is no such account; did you mean razorpay_mock?"),
        ('use = ["mock"]\nfallback = ["nobody"]', 4, "fallback names nobody, and there is no such account; write"),
        ('use = ["mock"]\nfallback = "anny"', 4, "there is no such account; did you mean any?"),
        ('use = ["mock"]\nfallback = "all"', 4, 'no such account; write "any", "none" or names of accounts.'),
        ('use = ["mock"]\nfallback = ["none"]', 4, 'no such account; write "any", "none" or names of accounts.'),
        ('use = ["mock"]\nfallback = true', 4, "fallback must be a string or a list of strings"),
        ('use = ["mock"]\nfallback = ["mock"]', 4, "fallback names mock, which stands in use."),
        (
            'name = "live one"\nuse = ["real"]',
            4,
            "[[rules]] live one: use names real, an account of live mode; server.mode is test",
        ),
        ('name = "x"', 2, "use must name at least one account."),
        ("use = []", 3, "use must name at least one account."),
        ('use = ["mock", "mock"]', 3, "use names mock twice."),
        ('use = ["mock", ""]', 3, "use must be a string or a list of strings, none of them empty."),
        ("use = 1", 3, "use must be a string or a list"),
        ('use = "mock"\nfallbak = "any"', 4, "fallbak is not known; did you mean fallback?"),
        ('use = "mock"\nxyz = "any"', 4, "xyz is not known. Nothing"),
        ('use = "mock"\ncurrency = "INR"', 4, "currency belongs into when: when = { currency = ... }."),
        ('use = "mock"\nname = ""', 4, "name must have 1 to 40 letters"),
        ('use = "mock"\nname = "a\\u001b[0m"', 4, "name must have 1 to 40 letters"),
        ('use = "mock"\nname = 3', 4, "name must have 1 to 40 letters"),
        ('use = "mock"\nwhen = "INR"', 4, "when must be a table"),
        ('use = "mock"\nwhen = { curency = "INR" }', 4, "when.curency is not known; did you mean currency?"),
        ('use = "mock"\nwhen.currency = "inr"', 4, "when.currency names inr, which is no ISO 4217 code; did you mean INR?"),
        ('use = "mock"\n[rules.when]\ncurrency = ["INR", "XXX"]', 5, "when.currency names XXX, which is no ISO 4217 code"),
        ('use = "mock"\nwhen.currency = []', 4, "when.currency is empty: leave it out to match all."),
        ('use = "mock"\nwhen.currency = 356', 4, "when.currency must be a string or a list of strings"),
        ('use = "mock"\n[rules.when]\n\namount_from = 10.0', 6, "when.amount_from must be a whole number of minor units"),
        ('use = "mock"\nwhen.amount_to = true', 4, "when.amount_to must be a whole number of minor units"),
        ('use = "mock"\nwhen.amount_from = -1', 4, "when.amount_from must be a whole number of minor units"),
        ('use = "mock"\nwhen.amount_from = 1000000000000', 4, "when.amount_from must be a whole number of minor units"),
        ('use = "mock"\nwhen = { amount_from = 2, amount_to = 1 }', 4, "when.amount_from (2) is more than when.amount_to (1)."),
        ('use = "mock"\nwhen.high_value = 1', 4, "when.high_value must be true or false."),
        ('use = "mock"\nwhen.client = ["a", "a"]', 4, "when.client names a twice."),
        ('use = "mock"\nwhen.method = 1', 4, "when.method must be a string"),
        ('use = "mock"\nwhen.merchant = " "', 4, "when.merchant must be a string"),
        ('use = "mock"\nwhen.metadata = "gold"', 4, "when.metadata must be a table"),
        ('use = "mock"\nwhen.metadata.plan = []', 4, "when.metadata.plan: the list is empty."),
        ('use = "mock"\nwhen.metadata.since = 2026-01-01', 4, "when.metadata.since must be a string"),
        ('use = "mock"\nwhen.metadata.a = { b = 1 }', 4, "when.metadata.a must be a string"),
        ('name = "a"\nuse = "mock"\n[[rules]]\nuse = "mock"\nname = "a"', 7, "the name a is taken by an earlier rule."),
        ('name = "rule 2"\nuse = "mock"\n[[rules]]\nuse = "mock"', 5, "the name rule 2 is taken by an earlier rule."),
    ],
)
def test_a_bad_rule_is_refused_with_line_and_reason(rule: str, line: int, said: str) -> None:
    """The message names the file, the line of the key (or of its rule), the rule, and what is wrong."""
    with pytest.raises(ConfigError) as refused:
        rules_of(f"version = 1\n[[rules]]\n{rule}\n")
    text = str(refused.value)
    assert text.startswith(f"payonce.toml, line {line}: [[rules]] "), text
    assert said in text
    assert text.endswith(" Nothing was started.")
    assert "?." not in text


def test_the_line_is_that_of_the_wrong_rule() -> None:
    """With several rules the line and the name are those of the one that is wrong."""
    good = '[[rules]]\nuse = "mock"\n'
    with pytest.raises(ConfigError, match=r"payonce\.toml, line 6: \[\[rules\]\] rule 3: use names x"):
        rules_of(good + good + '[[rules]]\nuse = "x"\n' + good)


@pytest.mark.parametrize("text", ['[rules]\nuse = "mock"\n', 'rules = "mock"\n', "rules = [1]\n"])
def test_rules_are_a_list_of_tables(text: str) -> None:
    """[rules] with one pair of brackets is told apart from [[rules]]."""
    with pytest.raises(ConfigError, match=r"line 1: rules must be a list of tables: write \[\[rules\]\]"):
        rules_of(text)


def test_rules_have_a_limit() -> None:
    """200 rules are read, 201 are refused."""
    assert len(rules_of('[[rules]]\nuse = "mock"\n' * 200)) == 200
    with pytest.raises(ConfigError, match="201 rules, the limit is 200"):
        rules_of('[[rules]]\nuse = "mock"\n' * 201)


def test_accounts_are_those_of_the_servers_mode() -> None:
    """In live mode a rule names live accounts, and the sandbox's are refused."""
    assert rules_of('[[rules]]\nuse = "real"\n', "live")[0].use == ("real",)
    with pytest.raises(ConfigError, match=r"an account of test mode; server\.mode is live"):
        rules_of('[[rules]]\nuse = "mock"\n', "live")


def test_high_value_thresholds() -> None:
    """Per currency in minor units; 1,000,000 where none is given."""
    assert read_high_value(file("")) == ({}, 1_000_000)
    assert read_high_value(file("[routing.high_value]\nINR = 500_000\n")) == ({"INR": 500_000}, 1_000_000)
    assert read_high_value(file("[routing.high_value]\ndefault = 7\nJPY = 1\n")) == ({"JPY": 1}, 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[routing]\nhigh_valu = 1\n", "line 2: routing.high_valu is not known; did you mean high_value?"),
        ("[routing]\nhigh_value = 1\n", r"line 2: write [routing.high_value]."),
        ("routing = 1\n", "line 1: write [routing.high_value]."),
        (
            "[routing.high_value]\n\ninr = 5\n",
            "line 3: routing.high_value.inr is neither default nor an ISO 4217 code; did you mean INR?",
        ),
        ("[routing.high_value]\nDefault = 5\n", "line 2: routing.high_value.Default is neither default nor"),
        ("[routing.high_value]\nINR = 5.0\n", "line 2: routing.high_value.INR must be a whole number of minor units"),
        ("[routing.high_value]\nINR = true\n", "routing.high_value.INR must be a whole number"),
        ("[routing.high_value]\ndefault = 0\n", "routing.high_value.default must be a whole number of minor units, 1 to"),
        ("[routing.high_value]\ndefault = '5'\n", "routing.high_value.default must be a whole number"),
    ],
)
def test_bad_thresholds_are_refused_with_line_and_reason(text: str, said: str) -> None:
    """Unknown names, codes that are none, and whatever is no whole number of minor units."""
    with pytest.raises(ConfigError) as refused:
        read_high_value(file(text))
    assert said in str(refused.value)
    assert str(refused.value).startswith("payonce.toml, line ")


def test_the_shipped_rules_are_the_starters_in_its_order() -> None:
    """INR, then high value, then anything else; behind each any other account that takes the payment."""
    file = shipped()
    assert read_high_value(file) == ({}, HIGH_VALUE_MINOR)
    names = ("mock", "razorpay_mock", "cashfree_mock", "stripe_mock", "payu_mock")
    rules = Rules(rules=read_rules(file, dict.fromkeys(names, "test"), "test"))
    offers = [Offer(account=name, mode="test") for name in names]
    for amount, currency, name, accounts in (
        (1, "INR", "inr", ["razorpay_mock", "mock", "cashfree_mock", "stripe_mock", "payu_mock"]),
        (5_000_000, "INR", "inr", ["razorpay_mock", "mock", "cashfree_mock", "stripe_mock", "payu_mock"]),
        (1_000_000, "USD", "high-value", ["cashfree_mock", "mock", "razorpay_mock", "stripe_mock", "payu_mock"]),
        (999_999, "USD", "anything-else", ["mock", "razorpay_mock", "cashfree_mock", "stripe_mock", "payu_mock"]),
    ):
        found = route(rules, Asked(mode="test", currency=currency, amount_minor=amount, merchant_id="mer_default"), offers)
        assert (found.rule, [c.account for c in found.taken]) == (name, accounts)
    assert warnings(rules, [o.account for o in offers]) == []


def rule(name: str, **when: Any) -> Rule:
    return Rule(name=name, when=When(**when), use=("mock",))


def test_a_rule_that_never_chooses_is_warned_of() -> None:
    """After a rule without `when` nothing matches any more; the same for one that is only narrower."""
    table = Rules(
        rules=(
            rule("inr", currency=("INR",)),
            rule("small", currency=("INR",), amount_to_minor=5),
            rule("all"),
            rule("x", client=("y",)),
        )
    )
    assert warnings(table, ["mock"]) == [
        "Rule small never chooses: rule inr before it matches all that it matches.",
        "Rule x never chooses: rule all before it matches all that it matches.",
    ]


@pytest.mark.parametrize(
    ("wide", "narrow", "does"),
    [
        ({}, {"currency": ("INR",)}, True),
        ({"currency": ("INR",)}, {}, False),
        ({"currency": ("INR", "USD")}, {"currency": ("USD",), "method": ("card",)}, True),
        ({"currency": ("INR",)}, {"currency": ("INR", "USD")}, False),
        ({"amount_from_minor": 5}, {"amount_from_minor": 5}, True),
        ({"amount_from_minor": 5}, {"amount_from_minor": 4}, False),
        ({"amount_from_minor": 5}, {"amount_to_minor": 9}, False),
        ({"amount_to_minor": 5}, {"amount_to_minor": 5}, True),
        ({"amount_to_minor": 5}, {"amount_to_minor": 6}, False),
        ({"amount_to_minor": 5}, {}, False),
        ({"high_value": True}, {"high_value": True}, True),
        ({"high_value": False}, {"high_value": True}, False),
        ({"high_value": False}, {}, False),
        ({"metadata": {"a": (1, 2)}}, {"metadata": {"a": (2,), "b": ("x",)}}, True),
        ({"metadata": {"a": (1,)}}, {"metadata": {"a": (True,)}}, False),
        ({"metadata": {"a": (1,)}}, {"metadata": {"b": (1,)}}, False),
        ({"client": ("a",)}, {"merchant": ("a",)}, False),
    ],
)
def test_a_condition_covers_another(wide: dict[str, Any], narrow: dict[str, Any], does: bool) -> None:
    """Only what is certain counts: every payment that the narrow one matches is matched by the wide one."""
    assert covers(When(**wide), When(**narrow)) is does


def test_no_last_rule_and_unnamed_accounts_are_warned_of() -> None:
    """What no rule takes is refused, and an account that no rule names stands behind or is out of reach."""
    open_end = Rules(rules=(rule("inr", currency=("INR",)),))
    refused, behind = warnings(open_end, ["mock", "other"])
    assert "refused (no_route)" in refused
    assert behind == "No rule names the account other: it is a fallback only."
    closed = Rules(rules=(Rule(name="all", use=("mock",), fallback=("second",)),))
    assert warnings(closed, ["mock", "second", "third"]) == [
        "No rule names the account third: only a payment that names it itself can reach it."
    ]
    assert warnings(Rules(), ["mock"]) == []


def test_an_amount_without_a_currency_is_warned_of() -> None:
    """1000 is 10.00 INR and 1000 JPY: a bound alone compares what is not alike; beside a currency it is fine."""
    said = "without currency: it compares minor units of different currencies."
    table = (rule("inr", currency=("INR",), amount_from_minor=5), rule("low", amount_to_minor=0))
    both = rule("both", amount_from_minor=7, amount_to_minor=9)
    assert warnings(Rules(rules=(*table, both, rule("rest"))), ["mock"]) == [
        f"Rule low has amount_to {said}",
        f"Rule both has amount_from and amount_to {said}",
    ]


def test_a_first_account_that_does_not_take_the_currency_is_warned_of() -> None:
    """What the adapters take is compared with what the rules ask for; an account that takes all is fine."""
    offers = (
        Offer(account="mock", mode="test"),
        Offer(account="cashfree_mock", mode="test", currencies=frozenset({"INR", "USD"})),
    )
    table = Rules(
        rules=(
            Rule(name="one", when=When(currency=("INR", "EUR", "JPY")), use=("mock", "cashfree_mock")),
            Rule(name="two", when=When(currency=("INR",)), use=("cashfree_mock",)),
            Rule(name="rest", use=("cashfree_mock",)),
        )
    )
    assert currency_warnings(table, offers) == ["Rule one uses cashfree_mock, which does not take EUR or JPY."]


def test_accounts_that_do_not_serve_the_rules_merchants_are_warned_of() -> None:
    """Such an account is passed over without a word to the merchant, so whoever checks the rules hears of it."""
    whose = {"all": None, "a": ("mer_a",), "ab": ("mer_a", "mer_b"), "gone": ()}
    table = Rules(
        rules=(
            Rule(name="one", when=When(merchant=("mer_a", "mer_b")), use=("a", "ab", "all")),
            Rule(name="two", when=When(merchant=("mer_b",)), use=("all",), fallback=("a",)),
            Rule(name="three", when=When(merchant=("acme",)), use=("all",)),
            Rule(name="four", use=("gone", "all")),
            Rule(name="five", use=("a", "ab"), fallback=()),
            Rule(name="six", use=("a", "ab")),
            Rule(name="seven", when=When(merchant=("mer_a",)), use=("a",), fallback=()),
        )
    )
    assert merchant_warnings(table, whose) == [
        "Rule one names a, which does not serve mer_b.",
        "Rule two names a, which does not serve mer_b.",
        "Rule three is for acme, which is no merchant's id (mer_...).",
        "Rule four names gone, which takes no merchant's payments any more.",
        "Rule five has accounts for mer_a and mer_b only: payments of others that it matches are refused.",
    ]
    assert merchant_warnings(Rules(), whose) == []


def test_a_house_with_one_merchant_is_not_warned_of_others() -> None:
    """Accounts that serve the default merchant alone, as they do where nothing else is said, are what such a house means."""
    rules = Rules(rules=(Rule(name="all", use=("a",), fallback=()),))
    assert merchant_warnings(rules, {"a": ("mer_default",)}) == []
    assert len(merchant_warnings(rules, {"a": ("mer_default",), "b": ("mer_other",)})) == 1


def test_rules_in_words() -> None:
    """What `routes check` shows of a rule."""
    when = When(
        currency=("INR", "USD"),
        amount_from_minor=1000,
        amount_to_minor=20_000,
        high_value=True,
        method=("card",),
        client=("a", "b"),
        metadata={"vip": (True, 1)},
    )
    assert when_in_words(when) == (
        "currency INR or USD, at or above 1,000, at or below 20,000, of high value, method card, client a or b, "
        "metadata.vip true or 1"
    )
    assert (when_in_words(When()), when_in_words(When(high_value=False))) == ("every payment", "below high value")
    assert use_in_words(Rule(name="r", use=("a", "b"))) == "a, b, then any other that takes it"
    assert use_in_words(Rule(name="r", use=("a",), fallback=("c", "d"))) == "a, then c, d"
    assert use_in_words(Rule(name="r", use=("a",), fallback=())) == "a, and no other"
