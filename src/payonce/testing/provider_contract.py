"""The contract of ``payonce.adapter.Adapter``, for every provider: give it a subject, run with pytest.

    class TestMine(ProviderContract):
        @pytest.fixture
        def subject(self) -> Subject:
            return Subject.load(my_adapter, Path("fixtures/providers/mine"))

``ProviderContract`` needs recorded cases only (see ``provider_cases``). What an adapter may do besides (webhooks, actions,
listings, signed bodies) is demanded where it has the methods. ``provider_live`` drives the adapter against its simulator in
the sandbox and compares with the ledger.
"""

from collections.abc import Iterable
from typing import get_args

import msgspec
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
    SendOutcome,
    Succeeded,
    Unknown,
    Unreadable,
)
from payonce.core.errors import DECLINES

from .provider_abilities import AbilityContract
from .provider_amounts import AmountContract
from .provider_cases import Case, Subject, not_covered, parts
from .provider_secrets import LATER_HEADERS, SecretContract, credentials_in, requests_in, secrets_in
from .provider_specs import SpecContract
from .provider_spoiling import ODD_BODIES, SHAPES, Spoilt, foreign, swapped_leaves, unmapped, unreadable
from .provider_webhooks import WebhookContract

MONEY = (Succeeded, Authorized, Captured, Refunded)
OUTCOMES = {type_.__name__ for type_ in get_args(SendOutcome)} - {"NotSent", "Rejected"}


class ProviderContract(AbilityContract, AmountContract, SecretContract, SpecContract, WebhookContract):
    """All of it but the live part. A subclass has a fixture ``subject``."""

    def test_everything_declared_has_a_case(self, subject: Subject) -> None:
        """Every declared step, status word and decline code is shown by a recorded case."""
        _none(not_covered(subject))

    def test_declines_are_normalised(self, subject: Subject) -> None:
        """Every vendor code maps to a normalised one; outcomes that STATUSES names exist."""
        strange = [d.code for d in subject.adapter.DECLINES.values() if d.code not in DECLINES]
        _none(strange + [o for o in subject.adapter.STATUSES.values() if o not in OUTCOMES])

    def test_builds_the_recorded_request(self, subject: Subject) -> None:
        """ "What build makes: the same for the same intent, byte for byte"."""
        built = ((c, _build(subject, c.intent)) for c in subject.cases)
        _none(f"{c.name}: {got}, not {c.request.wanted()}" for c, got in built if got != c.request.wanted())

    def test_asks_for_what_is_recorded(self, subject: Subject) -> None:
        """A read that takes several requests makes the recorded ones, in that order, and no more than are allowed."""
        asked = ((c, subject.converse(c)[0]) for c in subject.cases)
        _none(f"{c.name}: {got}" for c, got in asked if got != [each.request.wanted() for each in c.more])
        _none(f"{c.name}: a read of more than {READS_MAX} requests" for c in subject.cases if len(c.more) >= READS_MAX)

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
            for s in foreign(c, subject.adapter)
            if not _says_so(outcome := subject.learn(c, s.response, s.at), s, c)
        )

    def test_nothing_makes_it_raise(self, subject: Subject) -> None:
        """ "Anything not documented is Unknown; never raises": any status with any body, for any step; and its own answers with
        each value replaced by one of another shape."""
        strange = {*SHAPES.values(), *ODD_BODIES, *(_first(subject, kind) for kind in subject.adapter.CAPABILITIES.steps)}
        for case in subject.cases:
            for at, whole in enumerate(case.answers()):
                for body in {*strange, *(s.response.body for s in unreadable(case) if s.at == at)}:
                    for status in (100, 200, 204, 302, 400, 401, 403, 404, 409, 418, 599):
                        _ask(subject, case, Response(status=status, headers={"retry-after": "²"}, body=body), at)
                for body in swapped_leaves(whole.body):
                    _ask(subject, case, Response(status=whole.status, headers={}, body=body), at)
        answers = {answer.body for case in subject.cases for answer in case.answers()}
        for body in {*strange, *(other for whole in answers for other in (whole, *swapped_leaves(whole)))}:
            shown = subject.adapter.expose(body)
            assert isinstance(shown, bytes), f"expose gives {shown!r:.80} for {body!r:.80}"

    def test_secrets_stay_hidden(self, subject: Subject) -> None:
        """Credentials are in no repr and in no request; they come with ``authenticate`` and ``authenticate_body`` alone."""
        credentials, secrets = credentials_in(subject), secrets_in(subject)
        texts = [repr(credentials), str(credentials), f"{credentials}", pretty_repr(credentials), repr([credentials])]
        for name, request in requests_in(subject):
            texts += [repr(request), request.body.decode("utf-8", "replace")]
            named = {header.lower() for header, _ in request.headers}
            assert named.isdisjoint(LATER_HEADERS), f"{name}: {named & set(LATER_HEADERS)} would be stored"
            assert named.isdisjoint(n.lower() for n in subject.adapter.authenticate(request, credentials)), name
        _none(f"a secret in {text[:80]}" for text in texts for secret in secrets if secret in text)


def _ask(subject: Subject, case: Case, response: Response, at: int) -> None:
    try:
        subject.learn(case, response, at)
    except Exception as error:
        raise AssertionError(f"{case.name}, status {response.status}, {response.body[:300]!r}: {error!r}") from error


def _first(subject: Subject, kind: str) -> bytes:
    """An answer to a step, which another step will not expect."""
    return next((c.answers()[0].body for c in subject.cases if c.intent.kind == kind), b"")


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
