"""Mutants of the store on DynamoDB; killed by worlds that live on it."""
# ruff: noqa: E501 - source text is quoted as it stands
# fmt: off

from .mutation import Mutant, mutant

WRITING = "stores.dynamodb.writing:"
ATTEMPT = "stores.dynamodb.writing:_Attempt."
CHANGING = "stores.dynamodb.changing:"
READING = "stores.dynamodb.reading:"
ITEMS = "stores.dynamodb.items:"

CLOUD: tuple[Mutant, ...] = (
    # --- lost answers ---------------------------------------------------------------------------------------------------
    mutant("dynamo_lost_is_conflict", "a condition that failed because of our own write is success", (ATTEMPT + "_moved", "if self.lost and await self._ours(row):", "if False:")),
    mutant("dynamo_lost_key_is_conflict", "a key that names our own payment is success", (ATTEMPT + "_taken", "if self.lost and taken.payment_id == mine and", "if False and")),
    mutant("dynamo_lost_is_forgotten", "after a lost answer nothing is certain", (ATTEMPT + "_send", "self.lost, said, losses = True, reason, losses + 1", "said, losses = reason, losses + 1")),
    mutant("dynamo_lost_is_nothing", "an unclear write is not called undone", (WRITING + "Writing.commit", "if attempt.lost:", "if False:")),
    mutant("dynamo_lost_is_done", "an answer that never came is no success", (ATTEMPT + "_send", "self.lost, said, losses = True, reason, losses + 1", "return Done({})")),
    mutant("dynamo_busy_is_done", "what AWS did not take is not done", (ATTEMPT + "_send", "case Busy(code=code):\n                    said = code", "case Busy():\n                    return Done({})")),
    mutant("dynamo_one_token_for_all", "another request has another token", (ATTEMPT + "_token", "return seen.hexdigest()[:TOKEN_CHARS]", 'return "token"')),
    mutant("dynamo_every_try_another_token", "what is sent again is the same request", (ATTEMPT + "_send", 'self._aws.call("dynamodb", operation, request)', 'self._aws.call("dynamodb", *self._request(new))'), (ATTEMPT + "_taken", "if self.lost and taken.payment_id == mine and", "if False and")),
    # --- conditions -----------------------------------------------------------------------------------------------------
    mutant("dynamo_condition_forgotten", "a write holds only at its version", (CHANGING + "written", 'condition = "#version = :was AND #schema <= :known"', 'condition = "(#version = :was OR attribute_exists(#version)) AND #schema <= :known"')),
    mutant("dynamo_created_over", "a payment is created once", (CHANGING + "written", '"attribute_not_exists(#transactionId)"', '"( attribute_not_exists(#transactionId) OR attribute_exists(#version) )"')),
    mutant("dynamo_key_taken_over", "a key stands for one payment for ever", (ITEMS + "key_put", '"attribute_not_exists(#key)"', '"attribute_not_exists(#key) OR attribute_exists(#key)"')),
    mutant("dynamo_key_not_written", "the key is written with the payment", (ATTEMPT + "_request", 'actions = [{"Update": new.update}, {"Put": put}]', 'actions = [{"Update": new.update}]')),
    mutant("dynamo_late_deferral", "a deferral that comes late undoes nothing", (WRITING + "Writing._deferral", 'else " AND #due = :wasDue"', 'else " AND (#due = :wasDue OR attribute_exists(#due) )"')),
    # --- what lies apart ------------------------------------------------------------------------------------------------
    mutant("dynamo_refs_are_truth", "a reference's item only nominates", (READING + "Reading.find_ref", "if await self._known_as(id, value, account)", "if True")),
    mutant("dynamo_refs_not_written", "each reference leads home", (CHANGING + "written", "early += puts + [items.ref_put(table, ref, p.id) for ref in _unseen(change, before)]", "early += puts")),
    mutant("dynamo_gap_accepted", "a history with a gap is read again", (READING + "_reaches", "return reached >= log_from - 1", "return True")),
    mutant("dynamo_segment_not_written", "older events are moved, not dropped", (CHANGING + "_log", "before.version + 1, [moved]", "before.version + 1, []")),
    mutant("dynamo_segment_named_wrongly", "an older part is named by its first event", (CHANGING + "_log", "items.segment_put(table, before.id, before.log_from,", "items.segment_put(table, before.id, before.log_from + 1,")),
    mutant("dynamo_body_not_written", "a body that lies apart is there", ("stores.dynamodb.beside:extended", "        puts.append(packed_put(table, body_key(payment_id, sha256), small))\n", "")),
    # --- due ------------------------------------------------------------------------------------------------------------
    mutant("dynamo_due_index_late", "the due index is never later than due", (CHANGING + "_due_at", "else due_us", "else due_us + 30_000_000")),
    mutant("dynamo_due_index_not_moved", "the due index is never later than due", (CHANGING + "_due_at", "if was is None or was > due_us:", "if was is None:")),
    mutant("dynamo_due_index_decides", "the due index only nominates", ("stores.dynamodb.indexes:Indexes._due_times", "times = {items.listed_id(row): due_of(row) for row in rows}", 'times = {items.listed_id(each): int(each["dueAt"]["N"]) for each in batch}')),
    mutant("dynamo_batch_left_undone", "what a batch left undone is asked again", ("stores.dynamodb.asking:get_items", 'wanted = body.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])', "wanted = []")),
)
