"""The contract of ``payonce.adapter.Adapter``, for every provider: give it a subject, run with pytest.

    class TestMine(ProviderContract):
        @pytest.fixture
        def subject(self) -> Subject:
            return Subject.load(my_adapter, Path("fixtures/providers/mine"))

``ProviderContract`` needs recorded cases only (see ``provider_cases``). ``provider_live`` drives the adapter against its
simulator in the sandbox and compares with the ledger.
"""

import re
from collections.abc import Iterable

import msgspec
import pytest
from rich.pretty import pretty_repr

from payonce.adapter import (
    READS_MAX,
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Found,
    HttpRequest,
    Intent,
    Outcome,
    Refunded,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
)
from payonce.core.errors import DECLINES, ConfigError

from .provider_cases import Case, Spoilt, Subject, foreign, not_covered, parts, unmapped, unreadable

MONEY = (Succeeded, Authorized, Captured, Refunded)
LATER_HEADERS = ("authorization", "cookie", "x-client-secret", "x-api-key", "x-client-id")  # come with authenticate


class ProviderContract:
    """All of it but the live part. A subclass has a fixture ``subject``."""

    def test_everything_declared_has_a_case(self, subject: Subject) -> None:
        """Every declared step, status word and decline code is shown by a recorded case."""
        _none(not_covered(subject))

    def test_declines_are_normalised(self, subject: Subject) -> None:
        """Every vendor code maps to a normalised one; outcomes that STATUSES names exist."""
        strange = [d.code for d in subject.adapter.DECLINES.values() if d.code not in DECLINES]
        known = {type_.__name__ for type_ in (*MONEY, Unknown)} | {"Declined", "Processing", "RequiresAction", "Created"}
        _none(strange + [o for o in subject.adapter.STATUSES.values() if o not in known | {"Closed", "Voided", "Mismatch"}])

    def test_builds_the_recorded_request(self, subject: Subject) -> None:
        """ "What build makes: the same for the same intent, byte for byte"."""
        built = ((c, _build(subject, c.intent)) for c in subject.cases)
        _none(f"{c.name}: {request}" for c, request in built if request != c.request.wanted())

    def test_asks_for_what_is_recorded(self, subject: Subject) -> None:
        """A read that takes several requests makes the recorded ones, in that order, and no more than are allowed."""
        asked = ((c, subject.converse(c)[0]) for c in subject.cases)
        _none(f"{c.name}: {got}" for c, got in asked if got != [each.request.wanted() for each in c.more])
        assert all(len(c.more) < READS_MAX for c in subject.cases)

    def test_equal_intents_build_equal_bytes(self, subject: Subject) -> None:
        """Neither time nor chance nor the order in which metadata was written reaches the request."""

        def again(intent: Intent) -> Intent:
            turned = dict(reversed(list(intent.metadata.items())))
            copy = msgspec.json.decode(msgspec.json.encode(intent), type=Intent)
            return msgspec.structs.replace(copy, metadata=turned)

        _none(c.name for c in subject.cases if _build(subject, c.intent) != _build(subject, again(c.intent)))

    def test_recorded_answers_mean_what_they_must(self, subject: Subject) -> None:
        """Each recorded answer has exactly the recorded outcome, however often it is asked."""
        seen = [(c, subject.learn(c), subject.learn(c)) for c in subject.cases]
        _none(f"{c.name}: {first}, not {c.outcome}" for c, first, second in seen if not first == second == c.outcome)

    def test_what_proves_nothing_is_unknown(self, subject: Subject) -> None:
        """R3: "What is not proven NO is UNKNOWN": 5xx, 429, empty, HTML, cut and misshapen answers are never a yes or a no."""
        _none(
            f"{c.name}, {s.says}: {outcome}"
            for c in subject.cases
            for s in unreadable(c)
            if not isinstance(outcome := subject.learn(c, s.response, s.at), Unreadable if c.read else Unknown)
        )

    def test_unmapped_words_are_unknown(self, subject: Subject) -> None:
        """A status word or decline code that nobody mapped is never guessed. It hides no money that is shown beside it."""
        _none(
            f"{c.name}, {s.says}: {outcome}"
            for c in subject.cases
            for s in unmapped(c, subject.adapter)
            if not isinstance(outcome := subject.learn(c, s.response, s.at), Unreadable if c.read else Unknown)
            and not _shows_less(outcome, c.outcome)
        )

    def test_what_is_about_something_else_says_so(self, subject: Subject) -> None:
        """Another amount, currency, mode or reference is carried in the outcome, so that core can refuse it."""
        _none(
            f"{c.name}, {s.says}: {outcome}"
            for c in subject.cases
            for s in foreign(c)
            if not _says_so(outcome := subject.learn(c, s.response, s.at), s, c)
        )

    def test_nothing_makes_it_raise(self, subject: Subject) -> None:
        """ "Anything not documented is Unknown; never raises": any status with any body, for any step."""
        bodies = {s.response.body for c in subject.cases for s in unreadable(c)} | {b"[" * 5000, b'{"data":[1,null,{}]}', b"\0"}
        for case in subject.cases:
            for status in (100, 200, 204, 302, 400, 401, 403, 404, 409, 418, 599):
                for body in bodies:
                    for at in range(1 + len(case.more)):
                        subject.learn(case, Response(status=status, headers={"retry-after": "²"}, body=body), at)
        for body in bodies:
            assert isinstance(subject.adapter.expose(body), bytes)

    def test_secrets_stay_hidden(self, subject: Subject) -> None:
        """Credentials are in no repr and in no request; they come with ``authenticate`` alone."""
        credentials = subject.adapter.credentials_of(subject.credentials)
        secrets = [value for value in subject.credentials.values() if len(value) >= 8]
        assert secrets, "credentials.json holds nothing to look for"
        texts = [repr(credentials), str(credentials), f"{credentials}", pretty_repr(credentials), repr([credentials])]
        for case in subject.cases:
            request = _build(subject, case.intent)
            texts += [repr(request), request.body.decode("utf-8", "replace")]
            named = {name.lower() for name, _ in request.headers}
            assert named.isdisjoint(LATER_HEADERS), f"{case.name}: {named & set(LATER_HEADERS)} would be stored"
            assert named.isdisjoint(n.lower() for n in subject.adapter.authenticate(request, credentials))
        _none(f"a secret in {text[:80]}" for text in texts for secret in secrets if secret in text)

    def test_missing_credentials_are_named(self, subject: Subject) -> None:
        """ "Raises ConfigError naming what is missing"."""
        for name in subject.credentials:
            fewer = {k: v for k, v in subject.credentials.items() if k != name}
            with pytest.raises(ConfigError, match=re.escape(name)):
                subject.adapter.credentials_of(fewer)


def _build(subject: Subject, intent: Intent) -> HttpRequest:
    return subject.adapter.build(intent)


def _says_so(outcome: AnyOutcome, spoilt: Spoilt, case: Case) -> bool:
    if isinstance(outcome, Unknown | Unreadable | Absent):
        return True
    shown = parts(outcome)[1:] if isinstance(outcome, Found) else parts(outcome)
    if not case.read:
        return all(getattr(part, spoilt.field, spoilt.value) == spoilt.value for part in shown)
    # A read may show several objects, refunds of other amounts among them: those that had our value must have the new one.
    before = parts(case.outcome)[1:]
    ours = [getattr(part, spoilt.field, None) for part in before]
    now = [getattr(part, spoilt.field, None) for part in shown]
    changed = {"amount_minor": case.intent.amount_minor, "currency": case.intent.currency}.get(spoilt.field)
    changed = {"mode": case.intent.mode, "reference": case.intent.reference}.get(spoilt.field, changed)
    return len(ours) == len(now) and all(n == (spoilt.value if o == changed else o) for o, n in zip(ours, now, strict=True))


def _shows_less(outcome: AnyOutcome, recorded: AnyOutcome) -> bool:
    """A read that still shows money, and claims nothing else than was recorded: unknown tries, and less given back."""
    if not isinstance(outcome, Found) or not any(isinstance(t, Succeeded | Authorized) for t in outcome.tries):
        return False

    def plain(part: Outcome) -> Outcome:
        return msgspec.structs.replace(part, refunded_minor=0) if isinstance(part, Succeeded) else part

    known = [plain(part) for part in parts(recorded)[1:]]
    given = sum(t.refunded_minor for t in parts(recorded) if isinstance(t, Succeeded))
    claimed = sum(t.refunded_minor for t in outcome.tries if isinstance(t, Succeeded))
    return claimed <= given and all(isinstance(part, Unknown) or plain(part) in known for part in parts(outcome)[1:])


def _none(problems: Iterable[str]) -> None:
    found = list(problems)
    assert not found, "\n".join(found)
