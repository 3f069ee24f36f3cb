"""Mutants of what happens beside the charge: captures, voids, refunds, customers who act, webhooks."""
# ruff: noqa: E501 - source text is quoted as it stands
# fmt: off

from .mutation import Mutant, mutant

ASKED = "core.operations:"
APPLY = "core.apply:"
OWED = "core.owed:"
PLAN = "core.plan:"
INTAKE = "intake:Intake."
INBOX = "inbox:"
DISPATCH = "dispatch:"

AFTERWARDS: tuple[Mutant, ...] = (
    # --- what may be asked ----------------------------------------------------------------------------------------------
    mutant("reserve_not_counted", "a pending refund keeps its reserve", (ASKED + "reserved_minor", 'o.state != "FAILED"', 'o.state == "SUCCEEDED"')),
    mutant("reserve_of_doubt_released", "a refund in doubt keeps its reserve", (ASKED + "reserved_minor", 'o.state != "FAILED"', 'o.state not in ("FAILED", "IN_DOUBT")')),
    mutant("failed_refund_keeps_its_reserve", "a failed refund gives its reserve back", (ASKED + "reserved_minor", ' and o.state != "FAILED"', "")),
    mutant(
        "refunds_summed_outside_of_the_write",
        "what is left to give back is a condition of the write",
        (INTAKE + "operation", "for race in range(RACES_MAX):\n", "was = await find(self.store, scope, request.payment_id)\n        for race in range(RACES_MAX):\n"),
        (INTAKE + "operation", "asked = self.asking(p, request, key, now, note)", "asked = self.asking(was, request, key, now, note)\n            asked = __import__('msgspec').structs.replace(asked, number=len(p.operations) + 1, operation_id=ids.operation_id(p.id, len(p.operations) + 1, now), reference=ids.reference(p.id, len(p.operations) + 1, asked.attempt))"),
        (APPLY + "_asked", "_require(1 <= e.amount_minor <= p.captured_minor - reserved_minor(p)", "_require(True"),
    ),
    mutant("capture_and_void_together", "capture and void exclude each other", (ASKED + "excluding", 'o.kind in ("capture", "void") and', "False and"), (APPLY + "_planned", 'held = p.status == "AUTHORIZED" and excluding(p) == o', "held = True")),
    mutant("refund_of_a_hold", "only what was taken can be given back", (ASKED + "asking", '            _require_status(p, wanted.kind, "SUCCESS")\n', ""), (APPLY + "_asked", '_require(p.status == "SUCCESS" and e.attempt == p.winner,', "_require(True,"), (APPLY + "_asked", "_require(1 <= e.amount_minor <= p.captured_minor - reserved_minor(p)", "_require(True"), (ASKED + "asking", "p.captured_minor - reserved_minor(p)", "p.amount_minor - reserved_minor(p)")),
    mutant("part_of_a_hold_anywhere", "some accounts take the whole hold or nothing", (ASKED + "asking", "if amount < p.authorized_minor and not partial:", "if False:")),
    mutant("void_does_not_stop_the_charge", "after a void nothing new is sent", (APPLY + "_asked", "replace(p, cancel_asked=True)\n    if e.kind", "p\n    if e.kind")),
    mutant("operation_without_its_key", "the key is written with the operation", (INTAKE + "operation", "key=_row(key, request.kind, p.id, request)", "key=None")),
    mutant("repeat_answered_with_the_newest", "a repeat is answered with its own operation", (INTAKE + "_repeat", "operation=next(asked, p.operations[0])", "operation=p.operations[-1] if isinstance(request, NewOperation) else p.operations[0]")),
    # --- what is sent ---------------------------------------------------------------------------------------------------
    mutant("refund_with_a_new_key", "the key of a refund is derived, the same for every send", (DISPATCH + "prepare", "if earlier is not None:", 'if earlier is not None and call.kind != "refund":'), (DISPATCH + "intent", "ids.step_key(p.id, o.n if o else 1, call.attempt, kind)", 'ids.step_key(p.id, o.n if o else 1, call.attempt, kind if kind != "refund" else f"{kind}{p.version}")')),
    mutant("operations_share_a_key", "each operation has its own key", (DISPATCH + "intent", "ids.step_key(p.id, o.n if o else 1, call.attempt, kind)", "ids.step_key(p.id, 1, call.attempt, kind)")),
    mutant("capture_of_the_whole_payment", "a capture takes what was asked for", (DISPATCH + "intent", "capture_minor=(o.amount_minor if o else p.amount_minor)", "capture_minor=p.amount_minor")),
    mutant("capture_repeated_unseen", "a capture is sent again only after a look that shows the hold", (OWED + "_asked", "elif len(sent) < SENDS_MAX and operations.still_held(charge, o):", "elif len(sent) < SENDS_MAX:")),
    mutant("action_in_the_chain", "where the customer acts is never in the chain", (DISPATCH + "_beside", "named = replace(asked, action_sha256=digest(raw))", "named = replace(asked, action_sha256=digest(raw) + action.url)")),
    # --- what is proven -------------------------------------------------------------------------------------------------
    mutant("void_done_when_sent", "a void is done when the provider says so", (ASKED + "gone", "if any(isinstance(s.outcome, Voided) for s in steps):", 'if any(s.kind == "void" and s.outcome is not None for s in steps):')),
    mutant("refund_done_when_pending", "a pending refund may still fail", (ASKED + "state", '        return "PENDING", ""\n', '        return "SUCCEEDED", ""\n'), (OWED + "_watched", "if not sent or not readable(charge, facts):", "if True:")),
    mutant("late_failure_not_noticed", "a refund that was done is looked at again", (OWED + "_watched", "if not sent or not readable(charge, facts):", "if True:")),
    mutant("refund_of_another_believed", "an answer about another refund is not this one", ("core.verdict:weigh", "if said is not None and said != (given_back if isinstance(outcome, OF_REFUNDS) else wanted):", "if said is not None and not isinstance(outcome, OF_REFUNDS) and said != wanted:"), (ASKED + "_is", "return (given.reference, given.amount_minor) == (o.reference, o.amount_minor)", "return given.amount_minor == o.amount_minor")),
    mutant("any_part_is_a_mismatch", "what was captured is compared with what was asked for", ("core.verdict:_compare", "due = asked[-1] if asked and not isinstance(outcome, Authorized) else p.amount_minor", "due = p.amount_minor")),
    mutant("lapsed_hold_is_held", "a hold that is gone ends the payment", (ASKED + "gone", "return last is not None and isinstance(last.outcome, Found) and _released(a, last, last.outcome)", "return False")),
    # --- what is due ----------------------------------------------------------------------------------------------------
    mutant("hold_never_looked_at", "AUTHORIZED has an end", (PLAN + "_authorized", 'if p.status != "AUTHORIZED" or p.winner is None:', "if True:")),
    mutant("expired_action_not_closed", "an action that ran out is closed and read", (PLAN + "_resolve", "expired = until is not None and (until or horizon) <= last.ended_us", "expired = False")),
    mutant("expired_action_goes_on", "a customer who did not act is not sent elsewhere", (PLAN + "_cancel", "if late or (until is not None", "if False and (until is not None")),
    # --- webhooks -------------------------------------------------------------------------------------------------------
    mutant("webhook_trusted", "a webhook is a hint, never evidence", (APPLY + "apply", "p = _with(p, replace(a, hint=Hint(seq=env.seq, ref=event.ref)))", 'p = _with(p, replace(a, hint=Hint(seq=env.seq, ref=event.ref)))\n                p = _charge_state(replace(p, status="SUCCESS", winner=a.n, provider_ref=event.ref, captured_minor=p.amount_minor), "SUCCEEDED", "") if p.status == "PENDING" and p.winner is None else p'), ("core.states:_ALLOWED", "", '_ALLOWED | {("PENDING", "Hinted", "SUCCESS")}')),
    mutant("webhook_signature_not_checked", "a webhook is signed", (INBOX + "_verified", "            ear.verify_webhook(headers, body, secrets, now_us)\n", "            pass\n")),
    mutant("webhook_of_another_account", "a webhook finds payments of its own account only", (INBOX + "Receiver._payments", "if p and w.account in _named(p, reference):", "if p:")),
    mutant("webhook_answered_before_it_is_stored", "a webhook is stored before it is answered", (INBOX + "Receiver.hear", "new = await self.inbox.put(webhook)", "new = True")),
    mutant("webhook_kept_twice", "one event is one webhook, however often it comes", (INBOX + "id_of", 'raw = f"{len(account)}:{account}{event}".encode("utf-8", "replace")', 'raw = __import__("os").urandom(8)')),
    mutant("webhook_not_looked_up", "what was heard is looked up", ("process:Worker._advance", "elif self.app.webhooks:", "elif False:")),
    mutant("webhook_by_the_vendors_ids_only", "our reference finds a payment before the vendor's ids are known", (INBOX + "Receiver._payments", "for reference in w.references:", "for reference in ():")),
)
