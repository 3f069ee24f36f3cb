"""payonce routes: the rules in plain words, and the route of a payment that is not made."""

import re
import shlex
from pathlib import Path

import pytest

from .conftest import Payonce

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "routing.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```.*?^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)

ACCOUNTS = 'version = 1\n[providers.a]\nadapter = "mock"\n[providers.b]\nadapter = "mock"\n'
LIVE = '[providers.real]\nadapter = "mock"\nmode = "live"\nbase_url = "https://x.invalid"\n'
RULES = ACCOUNTS + '[[rules]]\nname = "inr"\nwhen = { currency = "INR" }\nuse = ["b"]\nfallback = "none"\n'


def squeezed(text: str) -> list[str]:
    """Lines without the spaces that align a table for people, and without the tabs of a pipe."""
    return [" ".join(line.split()) for line in text.splitlines()]


def runs(console: str) -> list[tuple[str, str]]:
    """(command line, what it prints) of a console block."""
    parts = re.split(r"^\$ payonce (.*)\n", console, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_has_four_examples() -> None:
    """Each example is a configuration followed by what commands print with it."""
    assert len(EXAMPLES) == 4
    assert all(len(runs(console)) >= 2 for _, console in EXAMPLES)


@pytest.mark.parametrize(("config", "console"), EXAMPLES)
def test_the_examples_of_the_page_are_true(payonce: Payonce, tmp_path: Path, config: str, console: str) -> None:
    """Every command of docs/reference/routing.md prints what the page shows."""
    (tmp_path / "payonce.toml").write_text(config)
    for line, shown in runs(console):
        assert squeezed(payonce(*shlex.split(line)).out) == squeezed(shown), line


def test_check_shows_rules_thresholds_and_warnings(payonce: Payonce, tmp_path: Path) -> None:
    """As JSON: each rule in the words of the file, the thresholds with their origin, and what is probably not meant."""
    later = '[[rules]]\nuse = ["a"]\n[[rules]]\nwhen = { client = "x" }\nuse = ["a"]\n'
    (tmp_path / "payonce.toml").write_text(RULES + later + "[routing.high_value]\nINR = 500\n")
    ran = payonce("routes", "check", "--json")
    assert ran.code == 0
    assert ran.json["rules"][0] == {"name": "inr", "when": {"currency": ["INR"]}, "use": ["b"], "fallback": "none"}
    assert [rule["name"] for rule in ran.json["rules"]] == ["inr", "rule 2", "rule 3"]
    assert ran.json["highValue"] == {"default": 1_000_000, "currencies": {"INR": 500}, "origin": "payonce.toml"}
    assert (ran.json["origin"], ran.json["accounts"]) == ("payonce.toml", ["a", "b"])
    assert ran.json["warnings"] == ["Rule 3 never chooses: rule 2 before it matches all that it matches."]
    for warning in ran.json["warnings"]:
        assert f"warning: {warning}" in payonce("routes", "check").out


def test_a_bad_file_ends_with_2(payonce: Payonce, tmp_path: Path) -> None:
    """The message names file, line and reason, and nothing is printed as data."""
    (tmp_path / "payonce.toml").write_text(RULES.replace('use = ["b"]', 'use = ["bb"]'))
    for command in ("routes check", "routes explain --amount 1 --currency INR", "serve --port 0"):
        ran = payonce(*command.split())
        assert (ran.code, ran.out) == (2, "")
        assert "payonce.toml, line 9: [[rules]] inr: use names bb" in ran.err


def test_explain_as_json(payonce: Payonce, tmp_path: Path) -> None:
    """Rule, candidates in order, skipped accounts and the rules before it, each with its why."""
    (tmp_path / "payonce.toml").write_text(RULES + '[[rules]]\nname = "rest"\nuse = ["a"]\n')
    assert payonce("routes", "explain", "--amount", "5", "--currency", "inr", "--json").json == {
        "rule": "inr",
        "candidates": [{"account": "b", "why": "rule inr: currency INR"}],
        "skipped": [{"account": "a", "why": "rule inr has no fallback"}],
        "passedOver": [],
    }
    rest = payonce("routes", "explain", "--amount", "5", "--currency", "EUR", "--json").json
    assert [each["account"] for each in rest["candidates"]] == ["a", "b"]
    assert rest["passedOver"] == [{"rule": "inr", "why": "currency EUR"}]


@pytest.mark.parametrize(
    ("when", "options"),
    [
        ('method = "card"', ("--method", "card")),
        ('client = "shop"', ("--client", "shop")),
        ('merchant = "mer_2"', ("--merchant", "mer_2")),
        ('metadata = { plan = "gold" }', ("--metadata", "plan=gold")),
        ("metadata = { vip = true }", ("--metadata", "vip=true", "--metadata", "n=1")),
        ("high_value = true", ("--amount", "1000000")),
    ],
)
def test_every_condition_can_be_asked_for(payonce: Payonce, tmp_path: Path, when: str, options: tuple[str, ...]) -> None:
    """With its option the rule chooses, without it the next one does."""
    (tmp_path / "payonce.toml").write_text(
        ACCOUNTS + f'[[rules]]\nname = "it"\nwhen = {{ {when} }}\nuse = "b"\n[[rules]]\nname = "rest"\nuse = "a"\n'
    )
    base = ("routes", "explain", "--currency", "INR", "--json")
    plain = () if "--amount" in options else ("--amount", "5")
    assert payonce(*base, *plain, *options).json["rule"] == "it"
    assert payonce(*base, "--amount", "5").json["rule"] == "rest"


def test_no_route_ends_with_5(payonce: Payonce, tmp_path: Path) -> None:
    """An account that is not there, or is of the other mode, ends as the refusal of a payment would."""
    (tmp_path / "payonce.toml").write_text(ACCOUNTS + LIVE)
    for name, why in (("nobody", "there is no such account"), ("real", "is an account of live mode")):
        ran = payonce("routes", "explain", "--amount", "5", "--currency", "INR", "--provider", name)
        assert (ran.code, ran.err) == (5, "It would be refused: no_route.\n")
        assert f"skipped {name} {why}" in squeezed(ran.out)
    (tmp_path / "payonce.toml").write_text(ACCOUNTS)
    paid = payonce("pay", "--amount", "5", "--currency", "INR", "--provider", "nobody")
    assert (paid.code, "(no_route)" in paid.err) == (5, True)
    assert "Accounts: a, b." in paid.err
    (tmp_path / "payonce.toml").unlink()
    ran = payonce("routes", "explain", "--amount", "5", "--currency", "INR", "--provider", "mokc")
    assert ran.err == "It would be refused: no_route. Did you mean mock?\n"


def test_the_route_is_the_merchants(payonce: Payonce, tmp_path: Path) -> None:
    """--merchant: accounts of others take nothing of it, as if there were none; the operator sees that they are there."""
    own = ACCOUNTS.replace("[providers.b]\n", '[providers.b]\nmerchants = "mer_b"\n', 1)
    assert own != ACCOUNTS
    (tmp_path / "payonce.toml").write_text(own)
    base = ("routes", "explain", "--amount", "5", "--currency", "INR", "--json")
    for merchant, taken in (("mer_default", ["a"]), ("mer_b", ["a", "b"])):
        found = payonce(*base, "--merchant", merchant).json
        assert [each["account"] for each in found["candidates"]] == taken
        why = "does not serve mer_default, to which there is no such account"
        assert found["skipped"] == ([] if "b" in taken else [{"account": "b", "why": why}])
    refused = payonce(*base, "--provider", "b")
    assert (refused.code, refused.json["candidates"]) == (5, [])
    wrong = payonce(*base, "--merchant", "acme")
    assert (wrong.code, "is no merchant's id" in wrong.err) == (2, True)
    ran = payonce("routes", "check")
    assert "b takes payments of mer_b only" in ran.out.splitlines()
    assert payonce("routes", "check", "--json").json["merchants"] == {"a": "*", "b": ["mer_b"]}
    shown = payonce("config", "show", "--json").json["providers"]
    assert [(each["name"], each["merchants"], each["callsMax"]) for each in shown] == [("a", "*", None), ("b", ["mer_b"], None)]
    line = next(line for line in payonce("config", "show").out.splitlines() if line.startswith("b\t"))
    assert line.split("\t")[3] == "mer_b"


def test_without_rules_the_order_of_the_configuration_counts(payonce: Payonce, tmp_path: Path) -> None:
    """Accounts of one's own without rules: all that can take it, as written; an account of the other mode is skipped."""
    (tmp_path / "payonce.toml").write_text(ACCOUNTS + LIVE)
    ran = payonce("routes", "explain", "--amount", "5", "--currency", "INR")
    assert (ran.code, squeezed(ran.out)) == (
        0,
        [
            "0.05 INR: there are no rules",
            "PLACE ACCOUNT WHY",
            "1 a takes INR, in the order of the configuration",
            "2 b takes INR, in the order of the configuration",
            "skipped real is an account of live mode",
        ],
    )


def test_bad_questions_end_with_2(payonce: Payonce, tmp_path: Path) -> None:
    """What no payment may have is refused as a payment would be, naming the field."""
    (tmp_path / "payonce.toml").write_text(ACCOUNTS)
    for options, said in (
        (("--amount", "0", "--currency", "INR"), "amount must be"),
        (("--amount", "5", "--currency", "XXX"), "currency must be"),
        (("--amount", "5", "--currency", "INR", "--metadata", "plan"), "name=value"),
    ):
        ran = payonce("routes", "explain", *options)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err
        assert "The key" not in ran.err


def test_config_show_names_the_rules_and_their_origin(payonce: Payonce, tmp_path: Path) -> None:
    """Rules and thresholds stand in `config show`, with where they come from."""
    (tmp_path / "payonce.toml").write_text(RULES)
    out = squeezed(payonce("config", "show").out)
    assert "rules (payonce.toml)" in out
    assert "inr currency INR b, and no other" in out
    assert "high value from: 1,000,000 minor units (default)" in out
    shown = payonce("config", "show", "--json").json
    assert (shown["rulesOrigin"], shown["rules"][0]["name"]) == ("payonce.toml", "inr")


def test_changed_rules_are_tried_on_payments_that_were_made(payonce: Payonce, tmp_path: Path) -> None:
    """How many would have been asked for elsewhere first, from where to where, with an example; nothing is written."""
    (tmp_path / "payonce.toml").write_text(RULES + '[[rules]]\nuse = ["a"]\n')
    for n, currency in enumerate(("INR", "INR", "EUR")):
        assert payonce("pay", "--amount", str(5 + n), "--currency", currency, "--key", f"k{n}").code in (0, 3)
    (tmp_path / "new.toml").write_text(RULES.replace('use = ["b"]', 'use = ["a"]') + '[[rules]]\nuse = ["a"]\n')
    before = payonce("list", "--json").out
    ran = payonce("routes", "simulate", "new.toml", "--json")
    assert (ran.code, ran.json["of"], ran.json["changed"], ran.json["truncated"]) == (0, 3, 2, False)
    (group,) = ran.json["groups"]
    assert (group["from"], group["to"], group["count"]) == ("b", "a", 2)
    assert ran.json["warnings"][0] == "Only rules and thresholds are tried; not looked at: providers."
    out = squeezed(payonce("routes", "simulate", "new.toml").out)
    assert out[0] == "would have changed 2 of 3 payments: another account would have been asked first"
    assert out[2] == f"2 b a inr inr {group['examples'][0]}"
    assert payonce("routes", "simulate", "new.toml", "-n", "1", "--json").json["of"] == 1
    assert payonce("list", "--json").out == before


def test_a_file_that_cannot_be_tried_ends_with_2(payonce: Payonce, tmp_path: Path) -> None:
    """With the line and the reason, before a store is opened."""
    (tmp_path / "payonce.toml").write_text(RULES)
    (tmp_path / "bad.toml").write_bytes(b'[[rules]]\nuse = ["zz"]\n')
    (tmp_path / "odd.toml").write_bytes(b"\xff")
    for name, said in (
        ("bad.toml", "bad.toml, line 2: [[rules]] rule 1: use names zz, and there is no such account"),
        ("odd.toml", "odd.toml is not UTF-8 text"),
        ("none.toml", "none.toml cannot be read"),
    ):
        ran = payonce("routes", "simulate", name)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err
        assert "started" not in ran.err
    assert payonce("routes", "simulate", "payonce.toml", "--last", "10001").code == 2
    assert payonce("routes", "simulate", "payonce.toml", "--merchant", "acme").code == 2
