"""Mutants of what merchants are told, of limits, and of whose accounts are whose. Their worlds begin at seed 150."""
# ruff: noqa: E501 - source text is quoted as it stands
# fmt: off

from .mutation import Mutant, mutant

COURIER = "outbound.courier:Courier."
TELLING = "outbound.telling:"

TOLD: tuple[Mutant, ...] = (
    mutant("notice_not_written", "news come with a notice", ("engine:Engine._change", "tell = bool(told) and self.listeners.any(p.merchant_id, p.mode)", "tell = False")),
    mutant("notice_dropped_by_the_store", "news come with a notice", ("stores.memory:MemoryStore._tell", "if change.notify:", "if change.notify and len(change.news) > 1:")),
    mutant("notice_forgets_its_first_news", "an older notice stands", ("stores.memory_outbox:MemoryOutbox.note", "first, _ = self._notices.get(payment_id, (seq, 0))", "first = seq")),
    mutant("notice_taken_before_deliveries_are_kept", "a notice goes when its deliveries are kept", (COURIER + "_notice", 'made = telling.deliveries(told, [e for e in known if e.state == "enabled"], now)', 'made = telling.deliveries(told, [e for e in known if e.state == "enabled"], now)\n            await self.outbox.hand_over(payment_id, entries[-1].envelope.seq, ())')),
    mutant("deliveries_kept_after_the_notice_went", "deliveries are kept with their notice in one write", (COURIER + "_notice", "if await self.outbox.hand_over(payment_id, entries[-1].envelope.seq, made):", "if await self.outbox.hand_over(payment_id, entries[-1].envelope.seq, ()):\n                for each in made:\n                    await self.outbox.add(each)")),
    mutant("handed_over_at_any_version", "news since the look are looked at again", ("stores.memory_outbox:MemoryOutbox.hand_over", "if not known or known != version:", "if not known:")),
    mutant("delivered_before_it_is_sent", "an outcome is written after the try", (COURIER + "_try", "replace(d, due_us=self._clock.now_us() + self._lease_us)", 'replace(d, state="delivered", due_us=None)')),
    mutant("any_answer_is_a_yes", "only 2xx is taken", ("outbound.schedule:after", "if 200 <= sent.status < 300:", "if 200 <= sent.status < 400:")),
    mutant("no_answer_is_a_yes", "only 2xx is taken", ("outbound.schedule:after", "if 200 <= sent.status < 300:", "if sent.status < 300:")),
    mutant("tries_end_early", "ten tries", ("outbound.schedule:after", "if tried.tries >= TRIES_MAX or", "if tried.tries >= 3 or")),
    mutant("delivery_not_claimed", "a delivery is claimed before it is sent", (COURIER + "_try", "if not await self.outbox.settle(replace(d, due_us=self._clock.now_us() + self._lease_us)):", "if False:"), (COURIER + "_try", "replace(d, version=d.version + 1)", "d")),
    mutant("claim_ends_with_the_delivery", "a claimed delivery is due again", (COURIER + "_try", "replace(d, due_us=self._clock.now_us() + self._lease_us)", "replace(d, due_us=None)")),
    mutant("wrong_scope_is_told", "an event is its merchant's", (TELLING + "deliveries", "if e.scope == Scope(n.payment.merchant_id, n.payment.mode) and e.wants", "if e.wants"), (TELLING + "body", "if told is None or (told.payment.merchant_id, told.payment.mode) != (d.merchant_id, d.mode):", "if told is None:")),
    mutant("mode_is_not_looked_at", "an event is of its mode", (TELLING + "deliveries", "if e.scope == Scope(n.payment.merchant_id, n.payment.mode)", "if e.merchant_id == n.payment.merchant_id"), (TELLING + "body", "(told.payment.merchant_id, told.payment.mode) != (d.merchant_id, d.mode)", "told.payment.merchant_id != d.merchant_id")),
    mutant("types_ignored", "an endpoint hears what it asked for", (TELLING + "deliveries", "and e.wants(n.type) and", "and")),
    mutant("old_secret_signs_no_more", "in an overlap both secrets sign", ("outbound.endpoints:Endpoints.secrets", "[: 1 + old]", "[:1]")),
    mutant("secret_of_the_next_generation", "a message is signed with a valid secret", ("outbound.endpoints:Endpoints.secrets", "signing.derived(key, endpoint.id, n) for n", "signing.derived(key, endpoint.id, n + 1) for n")),
    mutant("disabled_is_told", "to a disabled endpoint nothing is sent", (COURIER + "_delivery", 'if endpoint is None or (endpoint.state == "disabled" and d.type != TEST_TYPE):', "if endpoint is None:")),
    mutant("recovery_of_one_page", "a recovery reads all of its range", (COURIER + "_recover", "if not page.more:", "if True:"), (COURIER + "_recover", "if now < going.until_us else None", "if False else None")),
    mutant("recovery_only_of_new", "a recovery opens what failed", (COURIER + "_open", "if await self._reopen(known):", "if False:")),
    mutant("cursor_off_by_one", "a page goes on after the last one", ("stores.memory:MemoryStore.feed", "return FeedPage(tuple(fed for *_, fed in rest[:limit]), feed_after(scope, at_us, place), len(rest) > limit)", "return FeedPage(tuple(fed for *_, fed in rest[: max(1, limit - 1)]), feed_after(scope, at_us, place), len(rest) > limit)")),
    mutant("feed_by_the_clock", "a time that goes back stands behind", ("stores.memory:MemoryStore._tell", "max(times[seq], told[-1][0] if told else 0)", "times[seq]")),
    mutant("limit_of_calls_ignored", "no more calls at once than an account may have", ("lanes:Lanes.full", "if self._flying.get(account, 0) >= self._caps.get(account, 1 << 30):", "if False:")),
    mutant("accounts_are_everybodys", "an account serves its own merchants", ("dispatch:Account.serves", "return mode == self.mode and (self.merchants is None or merchant_id in self.merchants)", "return mode == self.mode")),
)
# fmt: on
