"""A text of changed rules is read as a start would read it, however hostile, and rules survive being written as text."""

from pathlib import Path
from typing import Final

import pytest

from payonce.config import Settings, load
from payonce.core.errors import ConfigError
from payonce.core.routing import Offer, Rules
from payonce.dryrun import LINE_DOTS_MAX, TOML_BYTES_MAX, VALUES_MAX, toml_of, tried

ACCOUNTS: Final = 'version = 1\n[providers.a]\nadapter = "mock"\n[providers.b]\nadapter = "mock"\n'
EVERYTHING: Final = """
[[rules]]
name = "all of it"
when = { currency = ["INR", "USD"], amount_from = 0, amount_to = 10, high_value = false, method = "card", client = ["a \\" b"] }
use = ["b", "a"]
fallback = "none"
[[rules]]
when = { merchant = "mer_x", metadata = { "plan.a b" = ["gold", 1, 1.5, true], n = "ü\\u007f" } }
use = "a"
fallback = ["b"]
[[rules]]
name = "rule 7"
use = ["a"]
[routing.high_value]
default = 5
INR = 700
"""


def settings_of(folder: Path, toml: str) -> Settings:
    (folder / "payonce.toml").write_text(toml)
    return load({}, {}, folder / "payonce.toml")


def offers() -> list[Offer]:
    return [Offer(account="a", mode="test"), Offer(account="b", mode="test", currencies=frozenset({"INR"}))]


def test_rules_survive_as_text(tmp_path: Path) -> None:
    """What ``toml_of`` writes is read back as the same rules and thresholds, every kind of condition and value in them."""
    settings = settings_of(tmp_path, ACCOUNTS + EVERYTHING)
    assert len(settings.rules.rules) == 3
    found = tried(toml_of(settings.rules), settings, offers())
    assert found.rules == settings.rules
    assert tried(toml_of(Rules()), settings, offers()).rules == Rules()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[rules]]\nuse = ["zz"]\n', "the text, line 2: [[rules]] rule 1: use names zz, and there is no such account"),
        ('[[rules]]\nuse = ["a"]\nwhen = { curency = "INR" }\n', "line 3"),
        ("[[rulez]]\n", "[rulez] is not known; did you mean rules?"),
        ("[routing.high_value]\nINR = 0\n", "the text, line 2: routing.high_value.INR must be a whole number"),
        ("x = [\n", "is not valid TOML"),
        ("version = 2\n", "its version is not known"),
        (f"x = {'[' * 30_000}", "nests too deeply"),
        ("#" * (TOML_BYTES_MAX + 1), f"more than {TOML_BYTES_MAX} bytes"),
        (f"\n{'a.' * 30_000}a = 1", f"line 2: there are more than {LINE_DOTS_MAX} dots"),
    ],
)
def test_a_text_that_would_stop_a_start_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With the line and the reason, and in words that fit: nothing was going to start."""
    with pytest.raises(ConfigError) as refused:
        tried(text, settings_of(tmp_path, ACCOUNTS), offers())
    assert said in str(refused.value)
    assert "started" not in str(refused.value)


def test_texts_made_to_take_long_do_not(tmp_path: Path) -> None:
    """Lines are not counted through where that would be quadratic; long lists are not compared with each other."""
    settings = settings_of(tmp_path, ACCOUNTS)
    with pytest.raises(ConfigError, match="the text: "):
        tried("[[rules]]\nuse = [\n" + '"a",\n' * 10_000 + "]\n", settings, offers())
    many = ", ".join(str(n) for n in range(VALUES_MAX + 1))
    found = tried(f'[[rules]]\nwhen = {{ metadata = {{ n = [{many}] }} }}\nuse = "a"\n' * 2, settings, offers())
    assert "was not looked for" in " ".join(found.warnings)


def test_the_rest_of_a_payonce_toml_is_named_and_not_looked_at(tmp_path: Path) -> None:
    """A whole file does; the accounts in it are not those that are tried, and a threshold that goes away is said."""
    settings = settings_of(tmp_path, ACCOUNTS + '[[rules]]\nuse = "a"\n[routing.high_value]\nINR = 7\n')
    found = tried('version = 1\n[server]\nport = 1\n[providers.c]\nadapter = "?"\n[[rules]]\nuse = "b"\n', settings, offers())
    assert found.warnings[:2] == (
        "Only rules and thresholds are tried; not looked at: server, providers.",
        "The text has no [routing.high_value]: the default threshold holds, not the present ones.",
    )
    assert [rule.use for rule in found.rules.rules] == [("b",)]


def test_shipped_rules_stand_in_as_at_a_start(tmp_path: Path) -> None:
    """Without accounts of one's own, a text without rules means the shipped rules, and it is said."""
    settings = settings_of(tmp_path, "version = 1\n")
    found = tried("", settings, [])
    assert found.rules.rules == settings.rules.rules != ()
    assert "the shipped ones stand in" in found.warnings[0]
