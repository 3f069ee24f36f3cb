"""What goes wrong with executions and messages, against the deployed stack. Each is compared with the sandbox's ledger."""

import json
from collections.abc import Iterator

import pytest

from tests.aws.stack import Stack

from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployed")]


@pytest.fixture(scope="module")
def site(stack: Stack) -> Iterator[Site]:
    """The deployed stack."""
    here = Site(stack)
    yield here
    here.close()


def test_a_worker_that_is_killed_in_a_call_costs_time_only(site: Site) -> None:
    """kill -9 of the execution while the vendor charges: its message is hidden for minutes, so the sweeper brings it back when
    the claim of the dead has run out. One charge, found or sent again under its key."""
    id = site.accepted("killed-1", "tok_slow_5s")
    site.in_a_call(id)
    assert site.kill() >= 1
    assert site.get(id)["status"] == "PENDING"
    site.becomes(id, "SUCCESS", sweep=True)
    assert site.moved(id) == [("charge", 1050)]
    assert len([e for e in site.history(id) if e["kind"] == "Planned"]) >= 2, "the first call had no answer"


def test_a_second_delivery_does_nothing_while_the_first_is_in_the_call(site: Site) -> None:
    """Five more messages during a call of five seconds: it is made once, and there is one charge."""
    site.purge()  # what a killed execution had is hidden for minutes
    id = site.accepted("double-1", "tok_slow_5s")
    site.in_a_call(id)
    site.send([id] * 5)
    site.becomes(id, "SUCCESS")
    site.send([id] * 5)
    site.within(lambda: site.lengths() == (0, 0, 0) or None, lambda: f"the queue has {site.lengths()}")
    assert site.steps(id) == ["fire"]
    assert site.moved(id) == [("charge", 1050)]


def test_a_message_that_becomes_visible_in_a_slow_call_does_nothing(site: Site) -> None:
    """A visibility timeout of a second and a call of five: the message is handed out again and again meanwhile, and there is
    one call and one charge."""
    before = site.stack.log.count("WorkerFunction")
    with site.queue_with(VisibilityTimeout="1"):
        id = site.accepted("visible-1", "tok_slow_5s")
        site.in_a_call(id)
        site.becomes(id, "SUCCESS")
    assert site.stack.log.count("WorkerFunction") - before >= 3, "it was handed out more than once"
    assert site.steps(id) == ["fire"]
    assert site.moved(id) == [("charge", 1050)]


def test_messages_in_any_order_and_number_end_the_same(site: Site) -> None:
    """Ids of payments, some with operations that wait, each thrice and the youngest first: all settle, each charged once."""
    held = site.accepted("order-hold", captureMethod="manual")
    site.becomes(held, "AUTHORIZED")
    with site.at_rest():
        assert site.ask(held, "capture", "order-capture").status_code == 202
        ids = [held, *(site.accepted(f"order-{n}", amount=1000 + n) for n in range(5))]
        site.purge()
        for _ in range(3):
            site.send(ids[::-1])
        site.send(ids, delay_s=1)
    for id in ids:
        site.becomes(id, "SUCCESS")
    site.within(lambda: site.lengths() == (0, 0, 0) or None, lambda: f"the queue has {site.lengths()}")
    assert site.moved(held) == [("authorize", 1050), ("capture", 1050)]
    assert [site.moved(id) for id in ids[1:]] == [[("charge", 1000 + n)] for n in range(5)]


def test_deleting_every_message_loses_nothing(site: Site) -> None:
    """With the queue emptied nobody works on payments and refunds that wait; the sweeper finds each."""
    paid = site.accepted("deleted-paid")
    site.becomes(paid, "SUCCESS")
    with site.at_rest():
        ids = [site.accepted(f"deleted-{n}", amount=1000 + n) for n in range(4)]
        assert site.ask(paid, "refunds", "deleted-refund", 50).status_code == 202
        assert site.lengths()[0] >= 5
        site.purge()
        assert site.lengths() == (0, 0, 0)
    assert {site.get(id)["status"] for id in ids} == {"PENDING"}
    site.sweep()  # the scheduled one may be first with some of them: what counts is that each is found
    for id in ids:
        site.becomes(id, "SUCCESS")
    site.within(lambda: site.get(paid)["refunded"] == 50 or None, lambda: f"the refund is not done: {site.get(paid)}")
    assert [site.moved(id) for id in ids] == [[("charge", 1000 + n)] for n in range(4)]
    assert site.moved(paid) == [("charge", 1050), ("refund", 50)]


def test_poison_ends_among_the_dead_letters_and_is_shown_without_being_taken(site: Site) -> None:
    """What is no id is never worked on: it ends in the dead-letter queue. Listing it twice shows it twice. A payment's message
    that lies there goes back by redrive, and its payment settles without a sweep; the poison stays."""
    policy = json.loads(
        site.sqs.get_queue_attributes(QueueUrl=site.queue, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    )
    for queue in (site.queue, site.dead):  # what earlier tests had handed out too often lies there
        site.sqs.purge_queue(QueueUrl=queue)
    with site.queue_with(RedrivePolicy=json.dumps({**policy, "maxReceiveCount": 1})):
        site.send(["not an id"])
        site.within(lambda: site.lengths(site.dead)[0] == 1 or None, lambda: f"dead letters: {site.lengths(site.dead)}")
    with site.at_rest():
        id = site.accepted("dead-1")
        site.purge()
        site.send([id], queue=site.dead)
        for _ in range(2):
            shown = site.cli("dlq", "list", "--json")
            assert shown.returncode == 0, shown.stderr
            messages = json.loads(shown.stdout)["messages"]
            assert sorted(m["id"] for m in messages) == sorted(["not an id", id]), messages
        assert site.lengths(site.dead)[0] == 2
        redriven = site.cli("dlq", "redrive", "--all", "--json")
        assert redriven.returncode == 0, redriven.stderr
    site.becomes(id, "SUCCESS")
    assert site.moved(id) == [("charge", 1050)]
    left = json.loads(site.cli("dlq", "list", "--json").stdout)["messages"]
    assert [m["id"] for m in left] == ["not an id"]
    dropped = site.cli("dlq", "redrive", "--all", "--drop-poison", "--json")
    assert dropped.returncode == 0, dropped.stderr
    assert site.lengths(site.dead)[0] == 0
