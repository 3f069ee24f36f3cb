"""Every parser of bytes from outside holds for spoilt bytes: a bounded number of them, the same in every run. `make fuzz` tries
new ones for as long as it is told."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import TARGETS
from .mutating import spoilt


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_passes(name: str) -> None:
    """The good examples are good: the target says nothing about them."""
    target = TARGETS[name]
    assert target.corpus()
    for data in target.corpus():
        target.run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_spoilt_bytes_do_no_harm(name: str) -> None:
    """Whatever the bytes: what must hold for all of them does."""
    target = TARGETS[name]
    corpus = target.corpus()

    @settings(max_examples=target.examples, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, len(corpus) - 1), st.integers(0, 2**32), st.one_of(st.none(), st.binary(max_size=120)))
    def hold(chosen: int, seed: int, raw: bytes | None) -> None:
        target.run(spoilt(corpus[chosen], Random(seed), corpus) if raw is None else raw)

    hold()


@pytest.mark.parametrize("name", ["answers-stripe", "webhooks-razorpay", "http"])
def test_the_corpus_is_spoilt_in_many_ways(name: str) -> None:
    """Of a hundred inputs nearly all differ from each other and from what is on record: it is not one test a hundred times."""
    corpus = TARGETS[name].corpus()
    made = {spoilt(corpus[0], Random(seed), corpus) for seed in range(100)}
    assert len(made - set(corpus)) > 70
