"""Mutants of the adapters: what they ask, and what they take an answer for."""
# ruff: noqa: E501 - source text is quoted as it stands
# fmt: off

from .mutation import Mutant, mutant

MOCK = "providers.mock:"
ORDERS = "providers.razorpay.answers:"
ASKING = "providers.razorpay.building:"
CASHFREE = "providers.cashfree:"
READS = "providers.cashfree.reads:"
SENDS = "providers.cashfree.sends:"
PAID = "providers.cashfree.payments:"
BUILDING = "providers.cashfree.building:"

ADAPTERS: tuple[Mutant, ...] = (
    # --- mock -----------------------------------------------------------------------------------------------------------
    mutant("mock_without_key", "a keyed fire has its key", (MOCK + "Mock._post", '("idempotency-key", key)', '("idempotency-key", __import__("uuid").uuid4().hex)'), ("dispatch:prepare", "if earlier is not None:", 'if earlier is not None and call.kind != "replay":'), ("core.apply:_planned", "_require(a.terms.keyed and same,", "_require(True,")),
    mutant("mock_amount_of_another_field", "the amount is the charge's", (MOCK + "_try", "amount_minor=charge.taken,", "amount_minor=charge.taken - charge.refunded,")),
    mutant("mock_refunds_for_amount", "the amount is the charge's", (MOCK + "_try", "amount_minor=charge.taken,", "amount_minor=charge.refunded or charge.taken,")),
    mutant("mock_any_4xx_is_rejected", "only the vendor's words say no", (MOCK + "_rejected", "if doc is None or doc.error.type not in REJECTIONS:", "if False:"), (MOCK + "_rejected", 'return Rejected(reason=f"{doc.error.type}: {doc.error.code[:40]}")', 'return Rejected(reason="4xx")'), (MOCK + "Mock.parse", "case 400 | 401 | 403:", "case 400 | 401 | 403 | 404 | 409 | 422 | 429:")),
    mutant("mock_5xx_is_rejected", "5xx is unknown", (MOCK + "Mock.parse", 'return Unknown(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))', 'return Rejected(reason=f"HTTP {response.status}")')),
    mutant("mock_conflict_is_declined", "another request in progress is no decline", (MOCK + "Mock.parse", 'return Unknown(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))', 'return msgspec.structs.replace(DECLINES["do_not_honor"], ref="x", reference=intent.reference)')),
    mutant("mock_garbage_is_rejected", "an unreadable answer is unknown", (MOCK + "_charged", 'return Unknown(reason="not the JSON we know")', 'return Rejected(reason="not the JSON we know")')),
    mutant("mock_processing_is_declined", "processing is not a no", (MOCK + "_try", "return Processing(ref=charge.id, reference=charge.reference)", 'return _no("do_not_honor", charge.id, charge.reference)')),
    mutant("mock_processing_is_success", "processing is not a yes", (MOCK + "_try", 'case "succeeded":', 'case "succeeded" | "processing":')),
    mutant("mock_first_entry_only", "a list is read whole", (MOCK + "Mock.parse_read", "for charge in doc.data]\n        refunds", "for charge in doc.data[:1]]\n        refunds")),
    mutant("mock_failed_read_is_absent", "a read that failed shows nothing", (MOCK + "Mock.parse_read", 'return Unreadable(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))', "return Absent()")),
    mutant("mock_reference_not_checked", "our reference is theirs", (MOCK + "Mock.parse", "return _charged(response)", "return _charged(Response(status=response.status, headers=response.headers, body=__import__('re').sub(rb'\"reference\":\"[0-9a-z]{20}0[0-9]', b'\"reference\":\"' + intent.reference[:22].encode(), response.body)))")),
    mutant("mock_decline_reference_not_checked", "a decline names our charge", (MOCK + "Mock.parse", "return _declined(response)", "d = _declined(response)\n                return msgspec.structs.replace(d, reference=intent.reference) if isinstance(d, Declined) else d")),
    mutant("mock_read_reference_not_checked", "a charge found is ours", (MOCK + "Mock.parse_read", "        del intent\n", ""), (MOCK + "Mock.parse_read", "return Found(tries=tuple(tries)", "tries = [msgspec.structs.replace(t, reference=intent.reference) for t in tries]\n        return Found(tries=tuple(tries)")),
    mutant("mock_refunded_not_read", "what was given back is read", (MOCK + "_try", "refunded_minor=charge.refunded,", "refunded_minor=0,"), (MOCK + "Mock.parse_read", "refunds=tuple(_refunded(r) for r in refunds)", "refunds=()")),
    mutant("mock_refund_of_the_first_charge", "a refund names its charge", (MOCK + "Mock.build", '{"charge": intent.provider_ref,', '{"charge": "ch_000000000001",')),
    mutant("mock_charge_of_a_unit_less", "the charge is the payment", (MOCK + "_charge_body", '"amount": intent.amount_minor,', '"amount": intent.amount_minor - 1,')),
    # --- razorpay -------------------------------------------------------------------------------------------------------
    mutant("razorpay_any_order_is_created", "an order names our money", (ORDERS + "created", "if (order.amount, order.currency) != (intent.amount_minor, intent.currency):", "if False:")),
    mutant("razorpay_container_of_another_field", "the container is the order's id", (ORDERS + "created", "container=order.id,", "container=order.receipt or order.id,")),
    mutant("razorpay_created_receipt_not_checked", "the receipt is ours", (ORDERS + "created", 'reference=order.receipt or ""', "reference=intent.reference")),
    mutant("razorpay_fire_is_a_charge", "the answer to a fire proves no charge", (ORDERS + "fired", "    return Processing(ref=fired.razorpay_payment_id, reference=intent.reference)", "    return Succeeded(ref=fired.razorpay_payment_id, reference=intent.reference, amount_minor=intent.amount_minor, currency=intent.currency, mode=intent.mode)")),
    mutant("razorpay_hold_is_a_charge", "a hold is not a charge", (ORDERS + "_try", 'case "captured" | "refunded" if p.captured or (p.status == "captured" and p.captured is None):', 'case "authorized" | "captured" | "refunded":'), (ORDERS + "_try", 'case "authorized":', 'case "":')),
    mutant("razorpay_fired_order_not_checked", "a payment of another order is no evidence", (ORDERS + "fired", "if fired.razorpay_order_id not in (None, intent.container):", "if False:")),
    mutant("razorpay_declined_order_not_checked", "a decline is of our order", (ORDERS + "_declined", 'if not intent.container or error.about("order_id") != intent.container:', "if False:")),
    mutant("razorpay_captured_payment_not_checked", "a capture is of our payment", (ORDERS + "captured", "if (payment.id, payment.order_id) != (intent.provider_ref, intent.container):", "if False:")),
    mutant("razorpay_capture_amount_not_read", "the amount captured is read", (ORDERS + "captured", "amount_minor=payment.amount,", "amount_minor=intent.amount_minor,"), (ORDERS + "_found", "_try(intent.mode, reference, p, told)", "_try(intent.mode, reference, msgspec.structs.replace(p, amount=intent.amount_minor), told)")),
    mutant("razorpay_guards_are_refusals", "order_already_paid is no refusal", (ORDERS + "refused", "if reason in GUARDS or", "if"), (ORDERS + "refused", "named = reason in REFUSALS or", "named = reason in GUARDS or reason in REFUSALS or"), (ORDERS + "refused", 'if payment_id := error.about("payment_id"):', 'if (payment_id := error.about("payment_id")) and reason not in GUARDS:')),
    mutant("razorpay_refused_capture_is_no", "a refused capture is looked up", (ORDERS + "refused", 'if intent.kind == "capture":', "if False:")),
    mutant("razorpay_any_400_is_rejected", "only the vendor's words say no", (ORDERS + "refused", "    if named and error.code ==", "    if True or error.code =="), (ORDERS + "refused", "if doc is None or response.status not in (400, 401, 403):", "if doc is None and response.status in (400, 401, 403, 404, 409):\n        return Rejected(reason='4xx')\n    if doc is None or response.status not in (400, 401, 403):")),
    mutant("razorpay_5xx_is_rejected", "5xx is unknown", (ORDERS + "refused", '        return Unknown(reason=f"HTTP {response.status}", retry_after_s=wait_s)', '        return Rejected(reason=f"HTTP {response.status}", retry_after_s=wait_s)')),
    mutant("razorpay_provisional_taken_as_final", "a technical failure may flip", (ORDERS + "_failed", "if reason in PROVISIONAL else None", "if False else None"), (ORDERS + "_declined", "if reason in PROVISIONAL:", "if False:")),
    mutant("razorpay_unmapped_is_declined", "an unmapped word is no no", (ORDERS + "_failed", '        return Unknown(reason=f"unmapped reason {reason[:60]}")', '        known = DECLINES["card_declined"]'), ("providers.razorpay.vendor:DECLINES", "", "{k: v for k, v in DECLINES.items() if k not in PROVISIONAL}")),
    mutant("razorpay_first_payment_only", "every payment of an order is read", (ORDERS + "by_container", "[p for p in payments.items if p.order_id == order.id]", "[p for p in payments.items if p.order_id == order.id][:1]")),
    mutant("razorpay_last_payment_only", "every payment of an order is read", (ORDERS + "by_container", "[p for p in payments.items if p.order_id == order.id]", "[p for p in payments.items if p.order_id == order.id][-1:]")),
    mutant("razorpay_newest_order_only", "every order of a receipt is read", (ORDERS + "by_receipt", "for order in ours:", "for order in ours[-1:]:")),
    mutant("razorpay_oldest_order_only", "every order of a receipt is read", (ORDERS + "by_receipt", "for order in ours:", "for order in ours[:1]:")),
    mutant("razorpay_receipt_not_filtered", "orders of our receipt only", (ORDERS + "by_receipt", "if order.receipt == intent.reference]", "]"), (ORDERS + "_found", 'reference = order.receipt or ""', "reference = intent.reference")),
    mutant("razorpay_empty_list_is_read", "a page that failed is no empty list", (ORDERS + "unread", 'return Unreadable(reason=f"HTTP {response.status}", retry_after_s=retry_after_s(response))', "return Absent()")),
    mutant("razorpay_lapsed_hold_is_charged", "a lapsed hold took nothing", (ORDERS + "_try", 'case "refunded" if p.captured is False and p.amount_refunded == p.amount:', 'case "never":'), (ORDERS + "_try", 'case "captured" | "refunded" if p.captured or (p.status == "captured" and p.captured is None):', 'case "captured" | "refunded":')),
    mutant("razorpay_refund_without_key", "a refund has its key", (ASKING + "refund", 'body, ("x-refund-idempotency", intent.key))', "body)")),
    mutant("razorpay_pending_refund_counts", "a pending refund is not given back", (ORDERS + "_refund", '"pending": Refunding, "failed": RefundFailed', '"pending": Refunded, "failed": Refunded')),
    mutant("razorpay_orders_capture_at_once", "every order is made with manual capture", (ASKING + "order", '"capture": "manual",', '"capture": "automatic",')),
    mutant("razorpay_order_amount_off", "the order is the payment", (ASKING + "order", '"amount": intent.amount_minor,', '"amount": intent.amount_minor + 1,')),
    mutant("razorpay_fires_without_its_order", "a fire names its order", (ASKING + "payment", '"order_id": intent.container}', '"order_id": intent.reference}')),
    mutant("razorpay_failed_refund_counts", "a refund that failed gave nothing back", (ORDERS + "_refund", '"failed": RefundFailed', '"failed": Refunded'), (ORDERS + "_found", 'if r.status == "processed")', 'if r.status != "pending")')),
    mutant("razorpay_refunds_of_given_sums_only", "every charge is asked for its refunds", (ORDERS + "_found", "p.status in CHARGED and p.captured is not False]", "p.amount_refunded and p.status in CHARGED and p.captured is not False]")),
    mutant("razorpay_refund_reference_not_checked", "a refund is ours by its reference", (ORDERS + "refund", "(refund.payment_id, refund.reference) != (intent.provider_ref, intent.refund_reference)", "refund.payment_id != intent.provider_ref"), (ORDERS + "_refund", "reference=r.reference,", "reference=r.reference[:22] + '00',")),
    mutant("razorpay_webhook_trusted", "a webhook is signed", ("providers.razorpay.webhooks:verify", "    if not good:", "    if False:")),
    # --- cashfree -------------------------------------------------------------------------------------------------------
    mutant("cashfree_requested_is_closed", "TERMINATION_REQUESTED proves nothing", (READS + "_whole", '("TERMINATED", "EXPIRED")', '("TERMINATED", "EXPIRED", "TERMINATION_REQUESTED")'), (PAID + "meaning", 'flips = None if order.order_status == "TERMINATED" else', 'flips = None if order.order_status.startswith("TERMINAT") else')),
    mutant("cashfree_always_closed", "an order is closed when it says so", (READS + "_whole", 'container="closed" if over else "open"', 'container="closed" if order.order_status != "ACTIVE" else "open"'), (READS + "_whole", 'if order.order_status == "PAID" and not taken and not gone:', "if False:")),
    mutant("cashfree_failed_is_final", "a failed payment of an open order may flip", (PAID + "meaning", 'flips = None if order.order_status == "TERMINATED" else ends_us(order)', "flips = None")),
    mutant("cashfree_pending_is_a_no", "a pending payment is no no", (PAID + "meaning", 'if status in ("PENDING", "FLAGGED"):', "if False:"), (PAID + "meaning", "if status in DECLINES:", 'if status in DECLINES or status in ("PENDING", "FLAGGED"):'), (PAID + "_why", "        return DECLINES[status], status\n", '        return DECLINES.get(status, DECLINES["FAILED"]), status\n')),
    mutant("cashfree_paid_before_listed", "a paid order without its payment is not read", (READS + "_whole", 'if order.order_status == "PAID" and not taken and not gone:', "if False:")),
    mutant("cashfree_order_not_checked", "the payments are of our order", (READS + "_payment", "if any(told is not None", "if False and any(told is not None")),
    mutant("cashfree_amount_of_the_order", "the amount is what was paid", (PAID + "meaning", "taken = captured(payment, paid)", "taken = order.order_amount")),
    mutant("cashfree_any_order_is_created", "an order names our money", (SENDS + "_created", "if not as_asked(intent, order):", "if False:"), (READS + "_whole", 'order.order_id if order.payment_session_id and as_asked(intent, order) else ""', "order.order_id")),
    mutant("cashfree_created_reference_not_checked", "the order is ours", (SENDS + "_created", "reference=order.order_id)", "reference=intent.reference)")),
    mutant("cashfree_read_reference_not_checked", "the order is ours", (READS + "_whole", "        reference=order.order_id,\n", "        reference=intent.reference,\n"), (PAID + "meaning", "id_of(payment.cf_payment_id), payment.order_id, payment.payment_status", "id_of(payment.cf_payment_id), intent.reference, payment.payment_status")),
    mutant("cashfree_container_of_another_field", "the container is the order", (SENDS + "_created", "container=order.order_id,", "container=order.payment_session_id,")),
    mutant("cashfree_fire_is_a_charge", "the answer to a fire proves no charge", (SENDS + "_fired", "return Processing(ref=ref, reference=intent.reference)", "return __import__('payonce.adapter', fromlist=['x']).Succeeded(ref=ref, reference=intent.reference, amount_minor=intent.amount_minor, currency=intent.currency, mode=intent.mode)")),
    mutant("cashfree_any_4xx_is_rejected", "only words about the request say no", (SENDS + "_refused", 'if intent.kind in ("fire", "capture", "void") and not who and', "if False and")),
    mutant("cashfree_4xx_of_a_proxy_is_rejected", "only the vendor's words say no", (SENDS + "_refused", "if error.type not in REJECTIONS.get(response.status, ()):", "if response.status >= 500 or response.status == 429:"), (SENDS + "_refused", 'if intent.kind in ("fire", "capture", "void") and not who and', "if False and")),
    mutant("cashfree_5xx_is_rejected", "5xx is unknown", (SENDS + "_refused", "        return Unknown(reason=words, retry_after_s=wait_s(response))", "        return Rejected(reason=words, retry_after_s=wait_s(response))")),
    mutant("cashfree_any_404_is_absent", "only order_not_found is a miss", (READS + "read", 'if response.status == 404 and not intent.seen and error_of(response).code == "order_not_found":', "if response.status == 404:")),
    mutant("cashfree_first_payment_only", "every payment of an order is read", (READS + "_whole", "for raw in decoded(answers[1], tuple[msgspec.Raw, ...])]", "for raw in decoded(answers[1], tuple[msgspec.Raw, ...])[:1]]")),
    mutant("cashfree_last_payment_only", "every payment of an order is read", (READS + "_whole", "for raw in decoded(answers[1], tuple[msgspec.Raw, ...])]", "for raw in decoded(answers[1], tuple[msgspec.Raw, ...])[-1:]]")),
    mutant("cashfree_refunds_not_read", "what was given back is read", (READS + "_whole", "if taken and len(answers) == 2:", "if False:"), (READS + "_whole", "_refunds(order, decoded(answers[2], tuple[msgspec.Raw, ...])) if taken else []", "[]")),
    mutant("cashfree_any_refund_counts", "a refund counts when it is done", (PAID + "refund_of", "kind = REFUNDS.get(refund.refund_status)", "kind = Refunded"), (PAID + "_refunded_minor", 'if refund.refund_status != "SUCCESS":', "if False:")),
    mutant("cashfree_without_keys", "a POST has its key", (BUILDING + "send", "    if key:\n", "    if False:\n")),
    mutant("cashfree_refund_id_not_ours", "the id of a refund is derived", (BUILDING + "refund_body", '"refund_id": intent.refund_reference,', '"refund_id": __import__("uuid").uuid4().hex,'), ("dispatch:prepare", "if earlier is not None:", 'if earlier is not None and call.kind != "refund":')),
    mutant("cashfree_minor_for_major", "amounts are in major units", (BUILDING + "_number", "to_decimal(amount_minor, currency)", "str(amount_minor)")),
    mutant("cashfree_amount_as_a_float", "amounts are digits, never floats", (BUILDING + "_number", "to_decimal(amount_minor, currency).encode()", 'f"{float(to_decimal(amount_minor, currency)):.4g}".encode()')),
    mutant("cashfree_close_of_another_order", "a close is of our order", (BUILDING + "place", "intent.reference", "intent.reference[:22] + '00'")),
)
