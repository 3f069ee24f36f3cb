"""AWS does not answer for some seconds, against the deployed stack: between the functions and their tables, and as a whole."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.aws.stack import Stack

from .silence import between
from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployed")]


@pytest.fixture(scope="module")
def site(stack: Stack) -> Iterator[Site]:
    """The deployed stack."""
    here = Site(stack)
    yield here
    here.close()


def test_tables_that_do_not_answer_are_a_503_and_the_same_key_is_one_payment(site: Site) -> None:
    """POST while the tables are silent: 503 retry_same_key with Retry-After, never "failed". The same key afterwards is one
    payment, whatever had become of the first write, and one charge."""
    with between(site, "ApiFunction") as door:
        site.accepted("silent-0")  # an execution that is up, with a connection
        with door.shut():
            answer = site.post("silent-1")
            assert answer.status_code == 503, answer.text
            told = answer.json()
            assert (told["code"], answer.headers["content-type"]) == ("retry_same_key", "application/problem+json")
            assert int(answer.headers["retry-after"]) >= 1
        again = [site.post("silent-1") for _ in range(3)]
        assert [each.status_code for each in again] == [202] * 3, [each.text for each in again]
        ids = {each.json()["transactionId"] for each in again}
        assert len(ids) == 1
    (id,) = ids
    site.becomes(id, "SUCCESS", sweep=True)
    assert site.moved(id) == [("charge", 1050)]
    assert [
        p["transactionId"] for p in site.payments().values() if p["idempotencyKey"] == again[0].json()["idempotencyKey"]
    ] == [id]


def test_tables_that_do_not_answer_in_a_call_cost_time_only(site: Site) -> None:
    """The vendor charges while its answer cannot be recorded: it is looked up or sent again under its key. One charge."""
    with between(site, "WorkerFunction") as door:
        id = site.accepted("silent-call", "tok_slow_5s")
        site.in_a_call(id)
        with door.shut():
            site.within(lambda: site.moved(id) or None, lambda: "the vendor did nothing")
        site.becomes(id, "SUCCESS", sweep=True)
    assert site.moved(id) == [("charge", 1050)]


def test_a_frozen_aws_costs_time_only(site: Site) -> None:
    """All of AWS stands still (SIGSTOP) with posts on their way and a worker in a call: posts are sent again with their keys,
    and everything settles, each charged once."""
    slow = site.accepted("frozen-slow", "tok_slow_5s")
    site.in_a_call(slow)
    with ThreadPoolExecutor(4) as pool:
        os.kill(site.emulator, signal.SIGSTOP)
        try:
            posts = [pool.submit(site.accepted, f"frozen-{n}", amount=1000 + n) for n in range(4)]

            site.within(lambda: site.moved(slow) or None, lambda: "the vendor did nothing")
        finally:
            os.kill(site.emulator, signal.SIGCONT)
        ids = [each.result() for each in posts]
    again = [site.accepted(f"frozen-{n}", amount=1000 + n) for n in range(4)]
    assert again == ids
    for id in (slow, *ids):
        site.becomes(id, "SUCCESS", sweep=True)
    assert [site.kept(id) for id in (slow, *ids)] == [[1050], [1000], [1001], [1002], [1003]]
