"""The webhook part of the provider contract: what is genuine and fresh is heard, everything else is refused, and nothing
that anybody may post makes the adapter raise. For adapters that have ``parse_webhook``, over their webhook cases."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from msgspec.structs import replace

from payonce.adapter import WebhookEvent, WebhookRefused

from .provider_cases import Subject, WebhookCase, decoded, texts_in
from .provider_spoiling import ODD_BODIES, SHAPES, swapped_leaves

OTHER: Final = "no_secret_of_this_account"
YEARS_US: Final = 10 * 365 * 86_400 * 1_000_000
TOLD_MIN: Final = 8  # a text of a webhook of at least this length is recognised in a refusal
ODD_VALUES: Final = ("", "é²", "t=,v1=", "t=" + "9" * 5000 + ",v1=00", "9" * 5000, "=", ",", "sha256=", "\x00", "-1", "1e400")

Said = WebhookEvent | WebhookRefused


class WebhookContract:
    """See the module docstring."""

    def test_genuine_webhooks_mean_what_they_must(self, subject: Subject) -> None:
        """Each recorded webhook is verified and is exactly the recorded event, however often it comes."""
        seen = [(c, heard(subject, c), heard(subject, c)) for c in _genuine(subject)]
        _none(f"{c.name}: {_told(first)}, not {c.event}" for c, first, again in seen if not first == again == c.event)

    def test_refused_webhooks_are_refused(self, subject: Subject) -> None:
        """Each case that is "refused" raises WebhookRefused."""
        said = ((c, heard(subject, c)) for c in _heard(subject) if c.refused)
        _none(f"{c.name}: taken for {event}" for c, event in said if isinstance(event, WebhookEvent))

    def test_every_live_secret_counts(self, subject: Subject) -> None:
        """While a secret is rotated, webhooks signed with the old one and with the new one are both genuine."""
        for c in _genuine(subject):
            signed = [s for s in c.webhook.secrets if heard(subject, c, secrets=(s,)) == c.event]
            assert signed, f"{c.name}: none of its secrets alone makes it genuine"
            for secrets in ((signed[0], OTHER), (OTHER, signed[0])):
                said = heard(subject, c, secrets=secrets)
                assert said == c.event, f"{c.name}: its good secret at place {secrets.index(signed[0])} of two: {_told(said)}"

    def test_secrets_of_the_account_are_named_newest_first(self, subject: Subject) -> None:
        """ "Every secret that is good now, newest first"; one that is not set is none: an empty secret is everybody's."""
        _heard(subject)
        adapter, values = subject.adapter, dict(subject.credentials)
        plain = {k: v for k, v in values.items() if not optional(k)}
        for given in (plain, values, {**plain, "webhook_secret": "", "webhook_secret_old": ""}):
            secrets = _secrets(subject, adapter.credentials_of(given))
            assert all(secrets), f"an empty secret among those of credentials with {sorted(given)}"
        new, old = "made_up_new_secret", "made_up_old_secret"
        named = _secrets(subject, adapter.credentials_of({**plain, "webhook_secret": new, "webhook_secret_old": old}))
        assert new not in named or named[:2] == (new, old), "webhook_secret comes first, then webhook_secret_old"

    def test_a_wrong_secret_is_refused(self, subject: Subject) -> None:
        """No secret, an empty one, another one, or nearly the right one: refused."""
        _none(
            f"{c.name}: genuine under {says}"
            for c in _genuine(subject)
            for says, secrets in _wrong_secrets(c.webhook.secrets)
            if isinstance(heard(subject, c, secrets=secrets), WebhookEvent)
        )

    def test_a_changed_body_is_refused(self, subject: Subject) -> None:
        """A byte of any region changed, cut or added; of a form each field that is signed, changed, doubled or left out."""
        _none(problem for c in _genuine(subject) for problem in _after_change(subject, c))

    def test_a_changed_or_missing_signature_is_refused(self, subject: Subject) -> None:
        """Where a header signs, none is refused without it, nor with any of its characters changed. What other headers say
        changes nothing that is looked up."""
        _none(problem for c in _genuine(subject) for problem in _headers(subject, c))

    def test_stale_and_future_webhooks_are_refused(self, subject: Subject) -> None:
        """Where the vendor signs the time, what is older or younger than the tolerance is refused; where it does not, age is
        no reason."""
        _none(problem for c in _genuine(subject) for problem in _times(subject, c))

    def test_events_are_told_apart(self, subject: Subject) -> None:
        """ "The same for every delivery of it", and another for every other event."""
        cases = {c.name: c for c in _genuine(subject)}
        for c in cases.values():
            assert not c.repeats or c.repeats in cases, f"{c.name} repeats {c.repeats}, which is no genuine case"
        ids = {c.name: c.event.id for c in cases.values() if c.event is not None}
        first = {name: c.repeats or name for name, c in cases.items()}
        pairs = [(a, b) for a in cases for b in cases if a < b]
        _none(f"{a} and {b} repeat each other with two ids" for a, b in pairs if first[a] == first[b] and ids[a] != ids[b])
        _none(f'{a} and {b} are one event (say "repeats")' for a, b in pairs if first[a] != first[b] and ids[a] == ids[b])

    def test_no_webhook_makes_it_raise(self, subject: Subject) -> None:
        """Any bytes with any headers are refused or an event: neither verify_webhook nor parse_webhook raises another thing."""
        problems: dict[str, None] = {}
        for c in _heard(subject):
            for headers, body in _strange(c):
                for says, said in (
                    ("verify", _verified(subject, c, headers, body)),
                    ("parse", _parsed(subject, headers, body)),
                ):
                    if said:
                        problems[f"{c.name}: {says}_webhook {said}"] = None
        _none(problems)

    def test_refusals_tell_nothing(self, subject: Subject) -> None:
        """The text of a refusal has nothing of the body, of the headers or of a secret in it."""
        for c in _heard(subject):
            hidden = {*c.webhook.secrets, *c.webhook.headers.values(), *texts_in(decoded(c.webhook.content()))}
            body = c.webhook.content()
            hidden |= {value for _, value in parse_qsl(body.decode("latin-1"))}
            spoilt: list[dict[str, Any]] = [{"secrets": (OTHER,)}, {"headers": {}}, {"body": body + b" "}]
            spoilt.append({"now_us": c.webhook.now_us + YEARS_US})
            said = [heard(subject, c, **each) for each in spoilt]
            texts = [str(each) for each in said if isinstance(each, WebhookRefused)]
            _none(f"{c.name}: {text!r} tells {h!r}" for text in texts for h in hidden if len(h) >= TOLD_MIN and h in text)


def optional(name: str) -> bool:
    """A credential without which an account works: the secrets of webhooks, and what is good only while one is rotated."""
    return name.startswith("webhook_secret") or name.endswith("_old")


def heard(
    subject: Subject,
    case: WebhookCase,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    secrets: Sequence[str] | None = None,
    now_us: int | None = None,
) -> Said:
    """What is made of a case with something changed: its event, or the refusal."""
    came = case.webhook
    headers, body = came.headers if headers is None else headers, came.content() if body is None else body
    try:
        subject.able("verify_webhook")(
            headers, body, came.secrets if secrets is None else secrets, came.now_us if now_us is None else now_us
        )
        event: WebhookEvent = subject.able("parse_webhook")(headers, body)
    except WebhookRefused as refusal:
        return refusal
    return event


def _heard(subject: Subject) -> tuple[WebhookCase, ...]:
    if not subject.able("parse_webhook"):
        pytest.skip("this adapter has no webhooks")
    assert subject.webhooks, "there is no webhook case: the contract cannot look at what this adapter hears"
    return subject.webhooks


def _genuine(subject: Subject) -> Iterator[WebhookCase]:
    return (c for c in _heard(subject) if c.event is not None)


def _secrets(subject: Subject, credentials: object) -> tuple[str, ...]:
    return tuple(subject.able("webhook_secrets")(credentials))


def _wrong_secrets(good: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "no secret at all", ()
    yield "an empty secret", ("",)
    yield "another secret", (OTHER,)
    yield "two other secrets", (OTHER, OTHER[::-1])
    for secret in good if len(good) == 1 else ():
        yield "its secret without the last character", (secret[:-1],)
        yield "its secret and one character more", (secret + "x",)
        yield "its secret in the other case", (secret.swapcase(),)


def _after_change(subject: Subject, case: WebhookCase) -> Iterator[str]:
    body = case.webhook.content()
    if case.webhook.form:
        yield from _form_changes(subject, case)
        return
    places = sorted({0, len(body) - 1, *range(0, len(body), max(1, len(body) // 64))})
    changed = [(f"byte {at} changed", body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]) for at in places]
    changed += [("a blank added", body + b" "), ("a newline added", body + b"\n"), ("the last byte cut", body[:-1])]
    changed += [("a blank before it", b" " + body), ("nothing", b""), ("written differently", _reformatted(body))]
    for says, other in changed:
        if other != body and isinstance(heard(subject, case, body=other), WebhookEvent):
            yield f"{case.name}: heard with {says}"


def _form_changes(subject: Subject, case: WebhookCase) -> Iterator[str]:
    """A signature inside a form covers some fields: those that are not "unsigned" by the case. Another value of an unsigned one
    may make another event of it, which is no evidence and costs a read, but never one about another payment of ours."""
    pairs = parse_qsl(case.webhook.content().decode(), keep_blank_values=True)
    for at, (name, value) in enumerate(pairs):
        rest = pairs[:at] + pairs[at + 1 :]
        other = [*pairs[:at], (name, value + "1"), *pairs[at + 1 :]]
        said = heard(subject, case, body=urlencode(other).encode())
        if name in case.unsigned:
            if isinstance(said, WebhookEvent) and case.event and said.references != case.event.references:
                yield f"{case.name}: {name} is unsigned, and another one makes it be about another payment: {said}"
            continue
        if isinstance(said, WebhookEvent):
            yield f'{case.name}: heard with another {name} (is it "unsigned"?)'
        if value and isinstance(heard(subject, case, body=urlencode(rest).encode()), WebhookEvent):
            yield f"{case.name}: heard without {name}"
        for doubled in ([(name, value + "1"), *pairs], [*pairs, (name, value + "1")]):
            said = heard(subject, case, body=urlencode(doubled).encode())
            if isinstance(said, WebhookEvent) and said != case.event:
                yield f"{case.name}: a second {name} makes another event of it: {said}"


def _headers(subject: Subject, case: WebhookCase) -> Iterator[str]:
    headers, signing = case.webhook.headers, 0
    for name, value in headers.items():
        without = heard(subject, case, headers={k: v for k, v in headers.items() if k != name})
        signs = isinstance(without, WebhookRefused)
        signing += signs
        for at, char in enumerate(value):
            changed = value[:at] + ("1" if char != "1" else "2") + value[at + 1 :]
            said = heard(subject, case, headers={**headers, name: changed})
            if signs and isinstance(said, WebhookEvent):
                yield f"{case.name}: heard with character {at} of {name} changed (leave out of the case what does not sign)"
                break
            if isinstance(said, WebhookEvent) and not _same_about(said, case.event):
                yield f"{case.name}: {name} is not signed, and another one makes it be about something else: {said}"
                break
    if not signing and not case.webhook.form:
        yield f"{case.name}: heard without any of its headers, and its body is no form: what signs it?"
    if isinstance(heard(subject, case, headers={}), WebhookEvent) and not case.webhook.form:
        yield f"{case.name}: heard without headers"


def _same_about(said: WebhookEvent, recorded: WebhookEvent | None) -> bool:
    return recorded is not None and replace(said, id=recorded.id) == recorded


def _times(subject: Subject, case: WebhookCase) -> Iterator[str]:
    came = case.webhook
    if not came.signed_us:
        for now_us in (came.now_us + YEARS_US, max(0, came.now_us - YEARS_US)):
            if heard(subject, case, now_us=now_us) != case.event:
                yield f'{case.name}: refused for its age, and the case says of no time that is signed ("signed_us")'
        return
    span_us = came.tolerance_s * 1_000_000
    for says, now_us in (("sent", 0), ("nearly stale", span_us - 1_000_000), ("a little ahead", -min(span_us, 5_000_000) // 2)):
        if heard(subject, case, now_us=came.signed_us + now_us) != case.event:
            yield f"{case.name}: refused when {says}, within the {came.tolerance_s} s of its tolerance"
    for says, now_us in (
        ("stale", span_us),
        ("a year old", YEARS_US // 10),
        ("from the future", -span_us),
        ("far ahead", -YEARS_US),
    ):
        later_us = now_us + (2_000_000 if now_us > 0 else -2_000_000)
        if isinstance(heard(subject, case, now_us=max(0, came.signed_us + later_us)), WebhookEvent):
            yield f"{case.name}: heard when it is {says} (tolerance {came.tolerance_s} s)"


def _strange(case: WebhookCase) -> Iterator[tuple[Mapping[str, str], bytes]]:
    headers, body = case.webhook.headers, case.webhook.content()
    cuts = (body[:at] for at in range(0, len(body), max(1, len(body) // 16)))
    for each in (*SHAPES.values(), *ODD_BODIES, *cuts, *swapped_leaves(body)):
        yield headers, each
    yield {}, body
    for name in headers:
        for value in ODD_VALUES:
            yield {**headers, name: value}, body


def _verified(subject: Subject, case: WebhookCase, headers: Mapping[str, str], body: bytes) -> str:
    for secrets in (case.webhook.secrets, ("ключ",), ()):
        try:
            subject.able("verify_webhook")(headers, body, secrets, case.webhook.now_us)
        except WebhookRefused:
            continue
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what must not be raised
            return f"raises {type(error).__name__}: {error}"[:200]
    return ""


def _parsed(subject: Subject, headers: Mapping[str, str], body: bytes) -> str:
    try:
        event: Any = subject.able("parse_webhook")(headers, body)
    except WebhookRefused:
        return ""
    except Exception as error:  # noqa: BLE001 - as above
        return f"raises {type(error).__name__}: {error}"[:200]
    good = isinstance(event, WebhookEvent) and event.id and isinstance(event.id, str) and isinstance(event.kind, str)
    names = [*event.references, *event.refs] if good else [None]
    return "" if good and all(isinstance(n, str) and n for n in names) else f"makes an event with empty or odd names: {event}"


def _reformatted(body: bytes) -> bytes:
    """The same JSON with other blanks."""
    try:
        return msgspec.json.format(body, indent=3)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body + b"\r\n"


def _told(said: Said) -> str:
    return f"refused ({said})" if isinstance(said, WebhookRefused) else str(said)


def _none(problems: Iterable[str]) -> None:
    found = list(problems)
    assert not found, "\n".join(found)
