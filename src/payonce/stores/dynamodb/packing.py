"""Events and bodies as few bytes: DynamoDB charges a write per started KB of the whole item, so size is price.

A packed value is one byte that names the version, and raw DEFLATE (RFC 1951) with a preset dictionary: text that events of
every payment have alike, so that already the first one is mostly references into it. The dictionary of a version NEVER
changes, or everything packed with it is lost; a better one gets the next version, and the older ones stay. A test pins its
digest. It holds field names, words and paths, the most frequent ones last (nearest is cheapest); no ids, nobody's data.

A log is events in order, one a line (JSON has no raw newline). Each event ends with the hash of the one before, 64 characters
that cannot be squeezed; they follow from the bytes before them, so only the first of a log keeps its own. Whatever is altered
in a log alters every hash after it, and the last one is stored beside (``head``)."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import Entry, digest

VERSION: Final = 1
UNPACKED_MAX: Final = 64 * 1024 * 1024  # bytes: more is no value of ours
LEVEL: Final = 9
_RAW: Final = -zlib.MAX_WBITS  # neither header nor checksum: the content is checked by its hashes

DICTIONARY: Final = b"".join(
    (
        # bodies, the built-in adapters' and details
        b"command=cancel_refund_transaction&var1=&var2=&var3=command=capture_transaction",
        b'cancellation_reason=abandoned{"order_status":"TERMINATED"}{"action":"VOID"}{"action":"CAPTURE","amount":',
        b'{"refund_amount":,"refund_id":"","refund_note":"refund","refund_speed":"STANDARD"}{"speed":"normal","receipt":"',
        b'payment_intent=pi_&amount=&metadata%5Breference%5D=amount_to_capture={"charge":"ch_","amount":,"reference":"',
        b'{"type":"redirect","url":"session_{"payment_session_id":"session_',
        b'","payment_method":{"card":{"channel":"link","instrument_id":"{"upi":{"',
        b"txnid=&amount=&productinfo=&firstname=Customer&email=customer%40payonce.invalid&phone=&pg=CC&bankcode=CC",
        b"&store_card_token=&txn_s2s_flow=4",
        b'{"order_id":"","order_amount":,"order_currency":"INR","customer_details":{"customer_id":"","customer_phone":"',
        b'"},"order_tags":{"reference":""},"order_note":"","order_expiry_time":"2026-',
        b"&currency=eur&capture_method=automatic&capture_method=manual&automatic_payment_methods%5Benabled%5D=true",
        b"&automatic_payment_methods%5Ballow_redirects%5D=never&metadata%5Breference%5D=&description=",
        b"payment_method=&expand%5B0%5D=latest_charge",
        b'{"amount":,"currency":"INR","receipt":"","notes":{"reference":""},"payment":{"capture":"manual",',
        b'"capture_options":{"manual_expiry_period":2880,"refund_speed":"normal"}}}',
        b'","method":"card","token":"","method":"upi","source":"","action_expires_at":,"return_url":"',
        b'{"payment_method":"tok_ok","description":"Order ","metadata":{"order":"customer_id":"email":"',
        # the rarer outcomes and decisions
        b'"type":"Resolved","verdict":"not-charged","reason":"charged","provider_ref":"reversed"not-done',
        b'"type":"Judged","what":"operation_FAILED","reason":"operation_IN_DOUBT"attention"CANCELED"left","reason":',
        b'"never_captured"IN_DOUBT","reason":"horizon"FAILED","reason":"attempts_exhausted"route_exhausted"canceled',
        b'"type":"Hinted","attempt":0,"ref":""type":"Asked","kind":"cancel"reversal","number":2,"operation_id":"op_',
        b'"reason":"late_success"void"capture","number":"refund","number":2,"operation_id":"op_',
        b'"type":"RefundFailed","code":"refund_refused"type":"Refunding","ref":"type":"Refunded","ref":"re_',
        b'"type":"Voided","ref":"type":"Closed","container":"type":"NotSent","reason":"type":"Rejected","reason":"',
        b'"type":"Unreadable","reason":"retry_after_s":"type":"Unknown","reason":"HTTP 500"timeout: no answer within ',
        b' s"connection reset"HTTP 429","retry_after_s":1"type":"Mismatch","differs":["amount"],"held":true,"refunded_minor":',
        b'"type":"Declined","code":"insufficient_funds","hard":true,"scope":"issuer"provider_technical"customer_input"',
        b'configuration"do_not_honor"processing_error"stolen_card"expired_card","hard":false,"scope":"issuer","ref":"',
        b'","vendor_code":"","flips_until_us":"type":"RequiresAction","expires_at_us":,"action_sha256":"',
        b'"type":"Absent"}}"type":"Processing","ref":"pay_"type":"Authorized","ref":"',
        b'"type":"Found","tries":[{"type":"Succeeded","ref":"],"refunds":[],"container":"closed","container_id":"',
        b'],"container":"open","container_id":"","reference":"","handle_sha256":"',
        # steps of the built-in adapters, from the rarest to the plainest
        b'"path":"/merchant/postservice.php?form=2","path":"/_payment","headers":[["content-type",',
        b'"application/x-www-form-urlencoded"],["accept","application/json"]]payu_mock","adapter":"payu',
        b'"api_version":"2025-01-01","method":"PATCH","path":"/orders//authorization/refunds","method":"POST",',
        b'"path":"/orders/sessions","headers":[["content-type","application/json"],["x-api-version","2025-01-01"],',
        b'["x-idempotency-key","cashfree_mock","adapter":"cashfree',
        b'"api_version":"v1","method":"POST","path":"/payments//refund//capture","path":"/payments/create/json"',
        b'["x-refund-idempotency","path":"/orders","headers":[["content-type","application/json"]],"body_sha256":"',
        b'razorpay_mock","adapter":"razorpay"api_version":"2026-10-28.endive","method":"POST","path":"/v1/refunds"',
        b'"path":"/v1/payment_intents//capture/cancel"/v1/payment_intents/pi_/confirm","path":"/v1/payment_intents"',
        b',"headers":[["content-type","application/x-www-form-urlencoded"],["stripe-version","2026-10-28.endive"],',
        b'["idempotency-key","stripe_mock","adapter":"stripe","credential_id":"api.razorpay.com/v1api.cashfree.com/pg',
        b'info.payu.insecure.payu.in"base_url":"https://api.stripe.com","mode":"live"',
        # the first plan: terms and route
        b'"rule":"anything-else"high-value"inr","route":[{"account":"","why":"named by rule ',
        b'"},{"account":"mock","why":"the request names ","taken":false},{"account":"payu_mock","why":"takes no EUR",',
        b'"taken":false},{"account":"razorpay_mock","why":"the request names it"},{"account":"cashfree_mock","why":"',
        b'"},{"account":"stripe_mock","why":"}],"why":"first of the route","manual":true,"action_expires_us":',
        b'"terms":{"container":true,"closable":true,"own_capture":true,"voidable":false,"keyed":false,"replay_span_s":0,',
        b'"refund_replay_span_s":7200,"readable":true,"processing_s":30,"read_lag_s":5,"call_timeout_ms":10000,',
        b'"hold_s":172800,"horizon_s":86400,"watch_s":345600,"settle_s":86400,"read_schedule_s":[1,3,10,30,120,600,3600]}',
        b'"opens":{"n":1,"account":"mock","adapter":"mock","base_url":"http://sandbox.payonce.invalid/mock",',
        b'"credential_id":"sandbox","reference":"0100","terms":{"container":false,"closable":false,"own_capture":false,',
        b'"voidable":true,"keyed":true,"replay_span_s":7200,"refund_replay_span_s":7200,"readable":true,"processing_s":2,',
        b'"read_lag_s":1,"call_timeout_ms":7000,"hold_s":604800,"horizon_s":60,"watch_s":120,"settle_s":120,',
        b'"read_schedule_s":[1,2,3,5,8,10]},"why":"next of the route","action_expires_us":179',
        # what every payment has
        b'"kind":"Judged","data":{"type":"Judged","kind":"Asked","data":{"type":"Asked","kind":"',
        b'{"v":3,"seq":1,"at_us":179,"actor":"api","request_id":"req_","kind":"Accepted","data":{"type":"Accepted",',
        b'"payment_id":"pay_06h","merchant_id":"mer_default","mode":"test","operation_id":"op_06h","amount_minor":',
        b',"currency":"INR","currency":"EUR","idempotency_key":"","details_sha256":"","late_success":"refund",',
        b'"attempts_max":3,"client_id":"","provider":"","capture_method":"manual","action_s":1800},"prev":""}',
        b',"kind":"replay","owner":","kind":"close","kind":"void","kind":"refund","kind":"capture","kind":"create","owner":"',
        b',"actor":"worker","request_id":"","kind":"Planned","data":{"type":"Planned","step":{"seq":4,"kind":"fire",',
        b'"owner":"","at_us":179,"send_by_us":179,"lease_until_us":179,"key":"","request":{"account":"mock","mode":"test",',
        b'"credential_id":"sandbox","base_url":"http://sandbox.payonce.invalid/mock","api_version":"1","method":"POST",',
        b'"path":"/charges","headers":[["content-type","application/json"],["idempotency-key",""]],"body_sha256":"',
        b'"}},"attempt":1,"opens":{"n":0,"account":""}},"operation":2}\n{"v":3,"seq":3,"at_us":179,"actor":"worker",',
        b'"request_id":"","kind":"Planned","data":{"type":"Planned","step":{"seq":4,"kind":"read","owner":"","at_us":179,',
        b'"send_by_us":179,"lease_until_us":179}}\n{"v":3,"seq":5,"at_us":179,"actor":"worker","request_id":"",',
        b'"kind":"Observed","data":{"type":"Observed","about":4,"outcome":{"type":"Created","container":"order_',
        b'","reference":"06h0100"}}\n{"v":3,"seq":3,"at_us":179,"actor":"worker","request_id":"","kind":"Observed",',
        b'"data":{"type":"Observed","about":2,"outcome":{"type":"Captured","ref":"{"type":"Succeeded","ref":"ch_',
        b'","reference":"06h0100","amount_minor":1000,"currency":"INR","mode":"live"EUR","mode":"test"}}',
    )
)


def pack(data: bytes) -> bytes:
    """As few bytes as this version can, the version first."""
    squeeze = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    return bytes((VERSION,)) + squeeze.compress(data) + squeeze.flush()


def unpack(packed: bytes) -> bytes:
    """What was packed. Raises NewerSchema for a version that is not known here, InvariantViolated for damage."""
    if not packed or packed[0] == 0:
        raise InvariantViolated("packed bytes without a version. Nothing was touched; run `payonce verify`.")
    if packed[0] > VERSION:
        raise NewerSchema(f"Packed in version {packed[0]}, known is {VERSION}. Nothing was touched; run the newer payonce.")
    inflate = zlib.decompressobj(_RAW, DICTIONARY)
    try:
        data = inflate.decompress(packed[1:], UNPACKED_MAX)
    except zlib.error as e:
        raise InvariantViolated(f"packed bytes are damaged: {e}. Nothing was touched; run `payonce verify`.") from e
    if not inflate.eof or inflate.unused_data:
        raise InvariantViolated("packed bytes are cut, or too many. Nothing was touched; run `payonce verify`.")
    return data


def lines(entries: Sequence[Entry], *, first: bool) -> bytes:
    """Events as the lines of a log. ``first``: they begin it, and the first keeps the hash of the one before."""
    texts = [e.raw if first and n == 0 else _without(e) for n, e in enumerate(entries)]
    return b"\n".join(texts)


def raws(log: bytes) -> tuple[tuple[bytes, str], ...]:
    """The events of a log as the exact bytes that were committed, each with its hash."""
    return tuple(_chained(log.split(b"\n")))


def _chained(texts: Iterable[bytes]) -> Iterable[tuple[bytes, str]]:
    before = ""
    for text in texts:
        raw = text if not before else text + _tail(before)
        before = digest(raw)
        yield raw, before


def _without(entry: Entry) -> bytes:
    tail = _tail(entry.envelope.prev)
    if not entry.raw.endswith(tail) or b"\n" in entry.raw:
        raise InvariantViolated(
            f"event {entry.envelope.seq} does not end with the hash of the one before. Nothing was written."
        )
    return entry.raw.removesuffix(tail)


def _tail(prev: str) -> bytes:
    return b',"prev":"' + prev.encode() + b'"}'
