"""Each rule taken away must make its interleaving fail: a test that no mutant can fail is a defect."""
# ruff: noqa: ARG005, E501 - patches take what they replace; the table has one mutant a line

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from payonce import engine, outside, restore
from payonce.core import apply, attempts, breaker, operations, owed, plan, verdict
from payonce.core.due import Judge, Next
from payonce.core.due import held_back as real_held_back
from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.outcome import Absent, Closed, Created, Declined, Found, Rejected
from payonce.core.payment import Payment, Step
from payonce.health import Health

from . import test_interleavings as cases
from . import test_interleavings_accounts as accounts
from . import test_interleavings_workers as races
from . import test_restore as restored
from . import test_states as states
from . import test_verdict as verdicts
from . import world
from .fake_adapter import FakeAdapter

Patch = Callable[[pytest.MonkeyPatch], None]


class Mutant(NamedTuple):
    rule: str  # that is taken away
    patch: Patch
    killers: list[Callable[[], Any]]


def or_no(extra: Callable[[Any, Any, Any], bool]) -> Patch:
    """NO is also concluded where ``extra(attempt, sends, seen)`` says so."""
    real = verdict._proven_no

    def weaker(a: Any, sends: Any, seen: Any) -> bool:
        return real(a, sends, seen) or extra(a, sends, seen)

    return lambda m: m.setattr(verdict, "_proven_no", weaker)


def unboxed(patch: Patch) -> Patch:
    """Beside the rule, the wall behind it: that plan closes what it leaves."""

    def both(m: pytest.MonkeyPatch) -> None:
        patch(m)
        m.setattr(plan, "_open_box", lambda a: False)

    return both


def last_decline(a: Any, sends: Any, seen: Any) -> bool:
    return any(isinstance(o, Declined) for _, o in seen)


def absent(a: Any, sends: Any, seen: Any) -> bool:
    return any(isinstance(o, Absent) for _, o in seen)


def closed_unread(a: Any, sends: Any, seen: Any) -> bool:
    return any(isinstance(o, Closed) for _, o in seen)


def rejected(a: Any, sends: Any, seen: Any) -> bool:
    return any(isinstance(o, Rejected) for _, o in seen)


def counted(a: Any, sends: Any, seen: Any) -> bool:
    found = verdict.last_found(a)
    tries = getattr(found.outcome, "tries", ()) if found else ()
    return len(tries) == len(verdict.fires(a)) > 0 and all(isinstance(t, Declined) for t in tries)


def timer(a: Any, sends: Any, seen: Any) -> bool:
    return bool(a.steps[-1].ended_us > plan.horizon_us(a) - 20_000_000)


def everything_sealed(m: pytest.MonkeyPatch) -> None:
    for module in (plan, apply):
        m.setattr(module, "unresolved", lambda a: False)
    m.setattr(apply, "sealed", lambda a: True)


def no_reversal_guard(m: pytest.MonkeyPatch) -> None:
    real = plan._surplus

    def eager(p: Any, now: int, facts: Any) -> Any:
        m.setattr(plan, "unresolved", lambda a: False)
        try:
            return real(p, now, facts)
        finally:
            m.setattr(plan, "unresolved", verdict.unresolved)

    m.setattr(plan, "_surplus", eager)
    m.setattr(apply, "unresolved", lambda a: False)


def left_is_unresolved(m: pytest.MonkeyPatch) -> None:
    for module in (plan, apply):
        m.setattr(module, "unresolved", lambda a: verdict.verdict(a) in ("UNKNOWN", "OPEN"))


def weigh_nothing(m: pytest.MonkeyPatch) -> None:
    m.setattr(engine, "weigh", lambda p, part, step, outcome: outcome)


def reference_only(m: pytest.MonkeyPatch) -> None:
    m.setattr(verdict, "_compare", lambda p, outcome: outcome)


def hint_dropped(m: pytest.MonkeyPatch) -> None:
    class Never:
        pass

    m.setattr(apply, "Unreadable", Never)


def no_deadline(m: pytest.MonkeyPatch) -> None:
    real = world.World.__init__

    def careless(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.deadline_checked = False

    m.setattr(world.World, "__init__", careless)


def wall_clock_only(m: pytest.MonkeyPatch) -> None:
    m.setattr(world.Worker, "monotonic_us", lambda self: 0)


def no_lease(m: pytest.MonkeyPatch) -> None:
    m.setattr(engine, "plan", plan._first_row)
    m.setattr(Step, "ended_us", property(lambda s: s.seen_at_us if s.outcome is not None else s.at_us))


def unclear_is_done(m: pytest.MonkeyPatch) -> None:
    async def claim(self: Any, p: Any, planned: Any, bodies: Any, refs: Any) -> Any:
        after, change = self._change(p, [planned], bodies, refs)
        return None if isinstance(await self.store.commit(change, p.version), engine.Conflict) else after

    m.setattr(engine.Engine, "_claim", claim)


def no_owner(m: pytest.MonkeyPatch) -> None:
    real = world.Worker.bits
    m.setattr(world.Worker, "bits", lambda self, count: 7 if count == 64 else real(self, count))


def answer_written_once(m: pytest.MonkeyPatch) -> None:
    async def record(self: Any, claimed: Any, seq: int, heard: Any) -> Any:
        p = await self.store.get(claimed.id)
        part, step = operations.part_of(p, seq)  # type: ignore[misc]
        weighed = verdict.weigh(p, part, step, heard.outcome)
        return await self._write(p, [engine.Observed(about=seq, outcome=weighed)])

    m.setattr(engine.Engine, "_record", record)


def newer_rows_read(m: pytest.MonkeyPatch) -> None:
    class Never(Exception):
        pass

    m.setattr(engine, "NewerSchema", Never)


def lost_is_usable(m: pytest.MonkeyPatch) -> None:
    m.setattr(outside.Outside, "lost", lambda self, p, a: False)


def capture_left(m: pytest.MonkeyPatch) -> None:
    m.setattr(plan, "captures", lambda a: [])


def held_forgotten(m: pytest.MonkeyPatch) -> None:
    """A rejected capture falls through to a fire."""
    m.setattr(plan, "held", lambda a: None)
    m.setattr(plan, "_again", lambda a: "fire")


def fire_any_time(m: pytest.MonkeyPatch) -> None:
    m.setattr(plan, "shown_idle", lambda a: True)


def replay_for_ever(m: pytest.MonkeyPatch) -> None:
    for module in (plan, owed):
        m.setattr(module, "replay_by", lambda first, terms, span_s: 10**20)


def not_live(m: pytest.MonkeyPatch) -> None:
    m.setattr(Payment, "live", property(lambda p: True))


def provisional_is_final(m: pytest.MonkeyPatch) -> None:
    m.setattr(verdict, "final_decline", lambda a, step, outcome: isinstance(outcome, Declined))


def lists_by_arrival(m: pytest.MonkeyPatch) -> None:
    def latest(a: Any) -> Any:
        return max((s for s in a.steps if s.kind == "read" and s.outcome), key=lambda s: s.seen_at_us, default=None)

    m.setattr(verdict, "last_read", latest)


def doubt_unwatched(m: pytest.MonkeyPatch) -> None:
    real = plan._losers
    m.setattr(plan, "_losers", lambda p, now, facts: real(p, now, facts) if p.status in plan.FINAL else [])


def no_watch(m: pytest.MonkeyPatch) -> None:
    m.setattr(plan, "_watch", lambda p, now, facts: plan.QUIET if p.status in plan.FINAL else None)


def hint_swallowed(m: pytest.MonkeyPatch) -> None:
    m.setattr(operations, "awaits_read", lambda a: a.hint is not None)


def no_read_before_giving(m: pytest.MonkeyPatch) -> None:
    """A refused refund is repeated without asking whether the vendor was first."""
    real = owed._reversal

    def blind(p: Any, o: Any, charge: Any, now: int, facts: Any) -> Any:
        due = real(p, o, charge, now, facts)
        refused = o.steps and o.steps[-1].kind == "refund" and not operations.sends(o)
        return (
            plan.Next(due.at_us, engine.Call(kind="refund", account=charge.account, attempt=charge.n, operation=o.n))
            if refused
            else due
        )

    m.setattr(owed, "_reversal", blind)


def policy_ignored(m: pytest.MonkeyPatch) -> None:
    m.setattr(apply, "_asked", lambda p, env, e: p)


def refused(rule: str, history: Callable[[], object]) -> None:
    """As test_states asks it, with an AssertionError where pytest would fail."""
    try:
        history()
    except InvariantViolated:
        return
    raise AssertionError(rule)


def create_counts(m: pytest.MonkeyPatch) -> None:
    """A container that may exist bars failover, as if it had moved money."""
    real = verdict.verdict
    stuck = lambda a: "UNKNOWN" if real(a) == "IDLE" and any(s.kind == "create" for s in a.steps) else real(a)  # noqa: E731
    m.setattr(apply, "sealed", lambda a: a.left or stuck(a) in ("NO", "IDLE"))


# --- lost creates, breakers, drains, routes, reads of two requests ------------------------------------------------


def no_look(m: pytest.MonkeyPatch) -> None:
    """A create whose answer was lost is made again, unseen."""
    real = attempts._idle

    def blind(p: Any, a: Any, now: int, settle_by: int, facts: Any) -> Any:
        due = real(p, a, now, settle_by, facts)
        if isinstance(due.do, Judge) or due.do.kind != "read":
            return due
        return Next(due.at_us, replace(due.do, kind="create"))

    m.setattr(attempts, "_idle", blind)


def container_overwritten(m: pytest.MonkeyPatch) -> None:
    real = apply._observed

    def last_wins(p: Any, env: Any, e: Any) -> Any:
        after = real(p, env, e)
        if not isinstance(e.outcome, Created):
            return after
        part, _ = operations.part_of(after, e.about)  # type: ignore[misc]
        return apply._with(after, replace(part, container=e.outcome.container))

    m.setattr(apply, "_observed", last_wins)


def strangers_container(m: pytest.MonkeyPatch) -> None:
    """The container of a read that names another reference is taken all the same."""
    real = verdict.weigh

    def careless(p: Any, part: Any, step: Any, outcome: Any) -> Any:
        weighed = real(p, part, step, outcome)
        foreign = isinstance(outcome, Found) and isinstance(weighed, Absent)
        return Found(container_id=outcome.container_id) if foreign else weighed

    m.setattr(engine, "weigh", careless)


def silence_is_waited_for(m: pytest.MonkeyPatch) -> None:
    """Neither the create nor the look was answered, and the same account is asked again."""
    m.setattr(attempts, "Unreadable", Closed)


def sleeper_claims(m: pytest.MonkeyPatch) -> None:
    async def stands(self: Any, leave: Any) -> bool:
        return True

    m.setattr(Health, "stands", stands)


def lost_race_is_won(m: pytest.MonkeyPatch) -> None:
    real = Health._put

    async def put(self: Any, kind: str, name: str, value: Any, expected_version: int) -> bool:
        await real(self, kind, name, value, expected_version)
        return True

    m.setattr(Health, "_put", put)


def no_probe_lease(m: pytest.MonkeyPatch) -> None:
    m.setattr(breaker, "PROBE_LEASE_US", 1)


def endless_probe_lease(m: pytest.MonkeyPatch) -> None:
    m.setattr(breaker, "PROBE_LEASE_US", breaker.OPEN_MAX_US)


def later_look_only(m: pytest.MonkeyPatch) -> None:
    """A read of the registry counts only if no other one began meanwhile."""
    real = Health._read

    async def read(self: Any) -> None:
        known, turn = self._known, self._turn + 1
        await real(self)
        self._known = self._known and (known or turn == self._turn)

    m.setattr(Health, "_read", read)


def refire_unblocked(m: pytest.MonkeyPatch) -> None:
    """Neither breaker nor drain stops the fire into an idle container."""
    real = plan._resolve
    m.setattr(plan, "_resolve", lambda p, a, now, facts: real(p, a, now, replace(facts, blocked={})))
    m.setattr(engine, "ADMITTED", frozenset({"create"}))


def drain_stops_captures(m: pytest.MonkeyPatch) -> None:
    m.setattr(plan, "held", lambda a: None)


def drained_is_no(m: pytest.MonkeyPatch) -> None:
    """What was sent to a drained account is given up as if it were refused."""
    real = plan._unresolved

    def row(p: Any, now: int, facts: Any) -> Any:
        gone = [a for a in p.attempts if (b := facts.blocked.get(a.account)) and b.drained]
        return None if gone else real(p, now, facts)

    m.setattr(plan, "_unresolved", row)
    m.setattr(apply, "sealed", lambda a: True)


def drained_is_waited_for(m: pytest.MonkeyPatch) -> None:
    def later(p: Any, facts: Any) -> Any:
        used = {a.account for a in p.attempts}
        return next((name for name in p.accounts if name not in used), None)

    m.setattr(attempts, "_freed_later", later)


def open_breaker_is_not_waited_for(m: pytest.MonkeyPatch) -> None:
    m.setattr(attempts, "_freed_later", lambda p, facts: None)


def taken_ignored(m: pytest.MonkeyPatch) -> None:
    m.setattr(Payment, "accounts", property(lambda p: tuple(c.account for c in p.route)))


def half_a_read(m: pytest.MonkeyPatch) -> None:
    """Without its list a read is taken for one that shows an empty list."""
    real = FakeAdapter.parse_read

    def parse_read(self: Any, intent: Any, response: Any) -> Any:
        if intent.seen and response.status != 200:
            response = replace(response, status=200, body=b'{"tries": [], "refunds": []}')
        return real(self, intent, response)

    m.setattr(FakeAdapter, "parse_read", parse_read)


def list_before_state(m: pytest.MonkeyPatch) -> None:
    real = FakeAdapter.__init__

    def backwards(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.parts = self.parts[::-1]

    m.setattr(FakeAdapter, "__init__", backwards)


def idle_by_arrival(m: pytest.MonkeyPatch) -> None:
    """The list that came last licenses a fire, whenever it was asked for."""

    def idle(a: Any) -> bool:
        last = max((s for s in a.steps if s.kind == "read" and s.outcome), key=lambda s: s.seen_at_us, default=None)
        return last is not None and isinstance(last.outcome, Found) and last.outcome.container == "open"

    m.setattr(plan, "shown_idle", idle)


def ignorance_is_bliss(m: pytest.MonkeyPatch) -> None:
    real = Health.__init__

    def knows(self: Any, *args: Any) -> None:
        real(self, *args)
        self._known = True

    m.setattr(Health, "__init__", knows)


def nothing_is_looked_for(m: pytest.MonkeyPatch) -> None:
    async def answered(*_: Any) -> bool:
        return True

    m.setattr(restore, "_look", answered)


def hold_ends_payments(m: pytest.MonkeyPatch) -> None:
    m.setattr(engine, "held_back", lambda do: not isinstance(do, Judge) and real_held_back(do))


def hold_begins_attempts(m: pytest.MonkeyPatch) -> None:
    real = outside.Outside.facts

    def facts(self: Any, *args: Any, **kwargs: Any) -> Any:
        return replace(real(self, *args, **kwargs), hold=False)

    m.setattr(outside.Outside, "facts", facts)
    m.setattr(engine, "held_back", lambda do: False)


def doubt_ends_by_itself(m: pytest.MonkeyPatch) -> None:
    real = plan._doubt
    m.setattr(plan, "_doubt", lambda p, now, facts: real(replace(p, reason="horizon"), now, facts))


def doubt_is_forgotten(m: pytest.MonkeyPatch) -> None:
    real = apply._attention
    m.setattr(apply, "_attention", lambda p, verdicts: real(replace(p, attention=""), verdicts))


def probe_for_all(m: pytest.MonkeyPatch) -> None:
    m.setattr(breaker, "blocks", lambda b, now_us: False)


CASES: list[Mutant] = [
    Mutant("a rejected replay says nothing of the fire", or_no(rejected), [lambda: cases.test_01_the_replay_of_a_charged_fire_is_refused("422")]),
    Mutant("absent is no proof", or_no(absent), [cases.test_01_duplicate_order_id_is_looked_up_not_believed]),
    Mutant(
        "the last decline speaks for its send only",
        unboxed(or_no(last_decline)),
        [lambda: cases.test_02_stalled_fire_arrives_after_the_refire_was_declined("closable")],
    ),
    Mutant("a count of two proves nothing", unboxed(or_no(counted)), [cases.test_04_a_list_read_from_before_the_refire_arrives_after_it]),
    Mutant("no timer makes NO", or_no(timer), [races.test_20_a_capture_on_record_is_never_left]),
    Mutant("past the deadline nothing is sent", no_deadline, [cases.test_03_the_sender_freezes_after_its_commit_and_thaws_too_late]),
    Mutant("the deadline is monotonic too", wall_clock_only, [lambda: races.test_18_the_clock_of_one_of_two_workers_jumps("keyed", -1)]),
    Mutant("a lost account is not used", lost_is_usable, [lambda: cases.test_05_the_account_changes_while_unknown("base_url")]),
    Mutant("unknown is not left", everything_sealed, [lambda: cases.test_05_the_account_changes_while_unknown("mode")]),
    Mutant("final is watched", no_watch, [lambda: cases.test_06_failed_then_the_vendor_flips_to_paid(False, "refund")]),
    Mutant("a surplus is reversed", policy_ignored, [lambda: cases.test_06_failed_then_the_vendor_flips_to_paid(False, "refund")]),
    Mutant("a read under way does not answer a newer hint", hint_swallowed, [cases.test_06_a_hint_during_the_read_is_not_swallowed_by_it]),
    Mutant("no reversal while unresolved", no_reversal_guard, [cases.test_07_a_surplus_is_not_given_back_while_a_third_is_unknown]),
    Mutant("left is resolved", left_is_unresolved, [cases.test_07_a_left_attempt_does_not_bar_the_reversal]),
    Mutant("a refused refund is looked up", no_read_before_giving, [lambda: cases.test_07_the_vendor_refunds_by_itself_as_we_do(False)]),
    Mutant("a container moves nothing", create_counts, [cases.test_09_container_creation_times_out_then_the_provider_is_down]),
    Mutant("a foreign object is no evidence", weigh_nothing, [cases.test_13_a_foreign_object_is_no_evidence]),
    Mutant("a foreign decline is no evidence", weigh_nothing, [cases.test_13_a_foreign_decline_does_not_lead_to_failover]),
    Mutant("amount is compared", reference_only, [lambda: cases.test_13_wrong_money_in_a_good_answer("wrong_amount", "answer")]),
    Mutant("currency is compared in reads", reference_only, [lambda: cases.test_13_wrong_money_in_a_good_answer("wrong_currency", "read")]),
    Mutant("a newer row is left alone", newer_rows_read, [races.test_15_an_older_worker_meets_a_newer_row]),
    Mutant("an unclear claim is looked up", unclear_is_done, [races.test_16_byte_identical_claims_of_two_workers]),
    Mutant("a claim has an owner", no_owner, [races.test_16_byte_identical_claims_of_two_workers]),
    Mutant("an answer is written until it holds", answer_written_once, [races.test_19_the_answer_in_hand_survives_conflicts_and_an_absent_store]),
    Mutant("a lease is waited for", no_lease, [races.test_19_a_second_worker_waits_for_the_lease]),
    Mutant("a capture on record bars leaving", capture_left, [races.test_20_a_capture_on_record_is_never_left]),
    Mutant("a rejected capture is captured again", held_forgotten, [races.test_20_a_rejected_capture_never_becomes_a_fire]),
    Mutant("a re-fire waits for an idle read", fire_any_time, [lambda: cases.test_02_stalled_fire_arrives_after_the_refire_was_declined("closable")]),
    Mutant("a hint stays after Unreadable", hint_dropped, [races.test_20_the_hint_stays_after_a_401_on_its_read]),
    Mutant("no replay outside the span", replay_for_ever, [races.test_14_a_keyed_vendor_forgets_its_keys]),
    Mutant("a slept-over replay is not sent", replay_for_ever, [races.test_14_workers_that_slept_over_the_span_do_not_replay]),
    Mutant("a provisional decline is not final", provisional_is_final, [cases.test_06_a_provisional_decline_is_waited_for]),
    Mutant("IN_DOUBT is watched", doubt_unwatched, [cases.test_06_in_doubt_is_watched]),
    Mutant("a list speaks of its own time", lists_by_arrival, [verdicts.test_a_list_that_arrives_late_speaks_of_its_own_time]),
    *(Mutant(f"apply refuses {rule}", not_live, [lambda r=rule, h=history: refused(r, h)]) for rule, history in states.REFUSED[1:4]),
    Mutant("closed means closed and re-read", unboxed(or_no(closed_unread)), [cases.test_02_a_close_that_was_only_requested_proves_nothing]),
    Mutant("a lost create is looked up", no_look, [lambda: accounts.test_a_lost_create_is_looked_up_not_repeated("closable", False)]),
    Mutant("a container is written once", container_overwritten, [accounts.test_a_created_that_comes_late_does_not_replace_what_was_found]),
    Mutant("a strangers container is not taken", strangers_container, [accounts.test_a_strangers_container_is_not_taken]),
    Mutant("silence sends it to the next account", silence_is_waited_for, [lambda: accounts.test_09_nobody_answers_the_create_nor_the_look("closable")]),
    Mutant("leave is asked for again before the claim", sleeper_claims, [lambda by=by: accounts.test_an_account_is_blocked_between_plan_and_claim(by) for by in ("breaker", "drain")]),
    Mutant("an open breaker stops new calls", probe_for_all, [accounts.test_the_account_of_an_open_breaker_is_passed_over_and_heals]),
    Mutant("one probe at a time", lost_race_is_won, [accounts.test_one_of_two_workers_gets_the_one_probe]),
    Mutant("a probe has a lease", no_probe_lease, [accounts.test_the_slot_of_a_dead_probe_is_free_when_its_lease_ends]),
    Mutant("the lease of a probe ends", endless_probe_lease, [accounts.test_the_slot_of_a_dead_probe_is_free_when_its_lease_ends]),
    Mutant("the first look counts", later_look_only, [accounts.test_processes_that_look_for_the_first_time_at_once_know_what_they_read]),
    Mutant("what is not known is not assumed", ignorance_is_bliss, [accounts.test_a_process_that_never_reached_the_registry_starts_nothing]),
    Mutant("a breaker stops the re-fire", refire_unblocked, [lambda: accounts.test_a_breaker_stops_the_refire_but_no_read_and_no_capture("closable")]),
    Mutant("a drain stops the re-fire", refire_unblocked, [lambda: accounts.test_a_drain_during_unknown_seals_before_it_leaves("manual")]),
    Mutant("drained is not NO", drained_is_no, [lambda: accounts.test_a_drain_is_no_no("unique")]),
    Mutant("a hold is captured under a drain", drain_stops_captures, [accounts.test_a_hold_at_a_drained_account_is_captured]),
    Mutant("a drain is not waited for", drained_is_waited_for, [lambda: accounts.test_after_a_no_only_what_frees_itself_is_waited_for("drain")]),
    Mutant("an open breaker is waited for", open_breaker_is_not_waited_for, [lambda: accounts.test_after_a_no_only_what_frees_itself_is_waited_for("breaker")]),
    Mutant("half a read is none", half_a_read, [lambda: accounts.test_the_second_request_of_a_read_is_lost("closable", "404")]),
    Mutant("state before list", list_before_state, [accounts.test_paid_and_closed_between_the_two_requests_of_a_read]),
    Mutant("an old read licenses nothing", idle_by_arrival, [lambda: accounts.test_a_read_from_before_the_refire_arrives_after_it("tries")]),
    Mutant("a restored container is looked for", nothing_is_looked_for, [lambda: races.test_17_a_backup_is_restored_with_sent_attempts_missing("manual", False)]),
    Mutant("every account is asked after a restore", nothing_is_looked_for, [lambda: restored.test_what_was_charged_at_another_account_is_found("keyed", 0), restored.test_an_attempt_that_was_left_is_never_fired_again, restored.test_a_gap_is_left_to_a_person]),
    Mutant("no payment ends unpaid under hold", hold_ends_payments, [lambda: restored.test_what_was_charged_at_another_account_is_found("keyed", 30)]),
    Mutant("no attempt begins under hold", hold_begins_attempts, [lambda: restored.test_what_was_charged_at_another_account_is_found("unique", 0)]),
    Mutant("what was restored elsewhere does not end by itself", doubt_ends_by_itself, [restored.test_a_gap_is_left_to_a_person]),
    Mutant("what was restored elsewhere is not forgotten", doubt_is_forgotten, [restored.test_the_doubt_stays_visible_when_an_attempt_turns_out_to_be_charged]),
    Mutant("what is not taken is not used", taken_ignored, [accounts.test_what_the_route_skipped_is_never_used]),
]  # fmt: skip


@pytest.mark.parametrize("mutant", CASES, ids=lambda m: m.rule.replace(" ", "_"))
def test_every_rule_is_missed_when_taken_away(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interleaving passes with the rule and fails, by an oracle or by apply's own check, without it."""
    for killer in mutant.killers:
        killer()
    mutant.patch(monkeypatch)
    for killer in mutant.killers:
        with pytest.raises((AssertionError, InvariantViolated, NewerSchema)):
            killer()
