"""Who did it, as one text: what is written can be read, and old texts too."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.actors import CHARS_MAX, Actor, actor, for_merchants, operator, read

KEY = "key_01kav00000000000000x"


@pytest.mark.parametrize(
    ("who", "where", "text", "said"),
    [
        (KEY, "203.0.113.7", f"{KEY}@203.0.113.7", Actor("key", KEY, "203.0.113.7")),
        (KEY, "2001:db8::1%eth0", f"{KEY}@2001:db8::1%eth0", Actor("key", KEY, "2001:db8::1%eth0")),
        ("operator:alice", "till-1", "operator:alice@till-1", Actor("operator", "operator:alice", "till-1")),
        ("api", "127.0.0.1", "api@127.0.0.1", Actor("local", "api", "127.0.0.1")),
        ("cli", "", "cli", Actor("local", "cli")),
        ("worker", "", "worker", Actor("system", "worker")),
        ("", "", "unknown", Actor("system", "unknown")),
    ],
)
def test_what_is_written_is_read(who: str, where: str, text: str, said: Actor) -> None:
    """Keys, operators, local programs and what works by itself, with and without a place."""
    assert actor(who, where) == text
    assert read(text) == said


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("operator:cli", "operator"),
        ("operator:reconcile", "operator"),
        ("api", "local"),
        ("cli", "local"),
        ("python", "local"),
        ("worker", "system"),
        ("webhook", "system"),
        ("return", "system"),
        ("key_short", "system"),
        ("operatorish", "system"),
    ],
)
def test_what_earlier_versions_wrote_is_read(text: str, kind: str) -> None:
    """An actor without a place; what only looks like a key or an operator is neither."""
    assert read(text) == Actor(kind, text, "")  # type: ignore[arg-type]


@given(who=st.text(max_size=300), where=st.text(max_size=300))
def test_no_name_forges_another_actor(who: str, where: str) -> None:
    """Whatever a name or a place holds, the text has one place, no space and no control character, and a bounded length."""
    text = actor(who, where)
    said = read(text)
    assert text == (f"{said.who}@{said.where}" if said.where else said.who)
    assert "@" not in said.who + said.where
    assert re.fullmatch(r"[!-~]+", text)
    assert 0 < len(said.who) <= CHARS_MAX >= len(said.where)


@given(name=st.text(max_size=60))
def test_no_user_is_a_key_or_payonce_itself(name: str) -> None:
    """A user's name, whatever it is, makes an operator."""
    assert read(operator(name, "host")).kind == "operator"


def test_a_nameless_user_is_an_operator() -> None:
    """Where the system knows no name."""
    assert operator("", "h") == "operator:unknown@h"


def test_merchants_do_not_see_who_operates() -> None:
    """Neither the person nor the machine; their own keys, and what works by itself, they see."""
    assert for_merchants(operator("alice", "till-1")) == for_merchants("operator:cli") == "operator"
    assert for_merchants("cli@till-1") == "cli"
    for text in (f"{KEY}@203.0.113.7", "api", "worker"):
        assert for_merchants(text) == text
