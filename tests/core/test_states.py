"""The transition table: what a payment can become, and what it can never become again."""

import itertools
from typing import get_args

from payonce.core.events import Event
from payonce.core.payment import FINAL, PaymentStatus
from payonce.core.states import TRANSITIONS, allowed

STATUSES = get_args(PaymentStatus)


def test_the_table_speaks_of_statuses_and_events_that_exist() -> None:
    """No row has a misspelt status or event, and no row stands twice."""
    events = {each.__name__ for each in get_args(Event)}
    for t in TRANSITIONS:
        assert {t.before, t.after} <= {"", *STATUSES}
        assert t.event in events
    assert len({t[:3] for t in TRANSITIONS}) == len(TRANSITIONS)


def test_success_is_for_ever() -> None:
    """Nothing leaves SUCCESS: a payment that people were told is paid stays paid."""
    assert [t for t in TRANSITIONS if t.before == "SUCCESS"] == []


def test_a_final_status_changes_only_by_evidence_of_success() -> None:
    """FAILED and CANCELED are left only for SUCCESS: by what a provider shows, or when a decision against it is taken back."""
    left = {(t.event, t.after) for t in TRANSITIONS if t.before in FINAL}
    assert left == {("Observed", "SUCCESS"), ("Resolved", "SUCCESS")}


def test_nothing_becomes_success_by_judgement() -> None:
    """SUCCESS comes from evidence or an operator's recorded decision, never from a timer or a rule."""
    assert {t.event for t in TRANSITIONS if t.after == "SUCCESS"} == {"Observed", "Resolved"}


def test_every_open_status_can_end_well_and_badly() -> None:
    """From every status that occurs and is not final both SUCCESS and an end without payment can be reached in one step."""
    occurring = {t.after for t in TRANSITIONS} - FINAL
    for before in occurring:
        after = {t.after for t in TRANSITIONS if t.before == before}
        assert "SUCCESS" in after
        assert after & {"FAILED", "CANCELED"}


def test_allowed_is_the_table() -> None:
    """Staying is always allowed, every row is, and nothing else."""
    rows = {t[:3] for t in TRANSITIONS}
    events = {t.event for t in TRANSITIONS}
    for before, event, after in itertools.product(("", *STATUSES), events, STATUSES):
        assert allowed(before, event, after) == (before == after or (before, event, after) in rows)
