"""The provider contract itself: an adapter with one defect fails the test that is about it, with a text that names it."""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.adapter import (
    Authorized,
    ConfigError,
    HttpRequest,
    Intent,
    Listing,
    Response,
    Succeeded,
    WebhookEvent,
    WebhookRefused,
)
from payonce.providers import load_adapters
from payonce.testing.provider_cases import Subject
from payonce.testing.provider_contract import ProviderContract

FIXTURES = Path(__file__).parents[1] / "fixtures" / "providers"
CONTRACT = ProviderContract()


class Broken:
    """An adapter with some of its methods replaced: each gets the whole one first."""

    def __init__(self, whole: Any, **methods: Callable[..., Any]) -> None:
        self._whole, self._methods = whole, methods

    def __getattr__(self, name: str) -> Any:
        whole = getattr(self._whole, name)
        method = self._methods.get(name)
        return whole if method is None else lambda *args: method(whole, *args)


class Shuffled(Broken):
    """Builds in the order in which texts hash."""

    def build(self, intent: Intent) -> HttpRequest:
        built: HttpRequest = self._whole.build(intent)
        return replace(built, headers=(*built.headers, *((name, "1") for name in set("abcdef"))))


RESHUFFLED = Shuffled(load_adapters()["mock"])


def subject(name: str, adapter: Any = None, **methods: Callable[..., Any]) -> Subject:
    whole = load_adapters()[name]
    return Subject.load(adapter or Broken(whole, **methods), FIXTURES / name)


def refuse_nothing(verify: Any, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
    return


def any_secret(verify: Any, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
    verify(headers, body, secrets or ("whsec_made_up",), now_us)


def any_time(verify: Any, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
    verify(headers, body, secrets, int(headers.get("x-webhook-timestamp", "0")) * 1000)


def first_secret_only(verify: Any, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
    verify(headers, body, secrets[:1], now_us)


def talkative(verify: Any, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> None:
    try:
        verify(headers, body, secrets, now_us)
    except WebhookRefused:
        raise WebhookRefused(f"not ours: {body!r}") from None


def key_error(parse: Any, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
    event: WebhookEvent = parse(headers, body)
    return replace(event, kind=headers["x-razorpay-event-id"] and event.kind)


def one_id(parse: Any, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
    event: WebhookEvent = replace(parse(headers, body), id="evt")
    return event


def new_id(parse: Any, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
    event: WebhookEvent = replace(parse(headers, body), id=str(random.random()))
    return event


WEBHOOKS = [
    ("razorpay", {"verify_webhook": refuse_nothing}, "test_a_wrong_secret_is_refused", "genuine under no secret at all"),
    ("razorpay", {"verify_webhook": refuse_nothing}, "test_a_changed_body_is_refused", r"heard with byte \d+ changed"),
    ("razorpay", {"verify_webhook": refuse_nothing}, "test_a_changed_or_missing_signature_is_refused", "what signs it"),
    ("razorpay", {"verify_webhook": first_secret_only}, "test_every_live_secret_counts", "at place 1 of two"),
    ("razorpay", {"verify_webhook": talkative}, "test_refusals_tell_nothing", "tells"),
    ("razorpay", {"parse_webhook": key_error}, "test_no_webhook_makes_it_raise", "parse_webhook raises KeyError"),
    ("razorpay", {"parse_webhook": one_id}, "test_events_are_told_apart", ""),
    ("razorpay", {"parse_webhook": new_id}, "test_genuine_webhooks_mean_what_they_must", "not WebhookEvent"),
    ("cashfree", {"verify_webhook": any_time}, "test_stale_and_future_webhooks_are_refused", "heard when it is stale"),
    ("payu", {"verify_webhook": refuse_nothing}, "test_a_changed_body_is_refused", "heard with another status"),
]


@pytest.mark.parametrize(("name", "methods", "test", "says"), WEBHOOKS, ids=[f"{n}-{t}" for n, _, t, _ in WEBHOOKS])
def test_a_defect_in_hearing_is_seen(name: str, methods: dict[str, Any], test: str, says: str) -> None:
    """Secrets, times, signatures, ids and exceptions of webhooks."""
    if test == "test_events_are_told_apart":  # it compares what is recorded, which the test before holds it to
        test, says = "test_genuine_webhooks_mean_what_they_must", "not WebhookEvent"
    with pytest.raises(AssertionError, match=says):
        getattr(CONTRACT, test)(subject(name, **methods))


def test_two_events_with_one_id_are_seen() -> None:
    """The recorded ids must differ, or the case says that one repeats the other."""
    whole = subject("razorpay")
    same = tuple(replace(c, event=replace(c.event, id="evt"), repeats="") if c.event else c for c in whole.webhooks)
    with pytest.raises(AssertionError, match="are one event"):
        CONTRACT.test_events_are_told_apart(replace(whole, webhooks=same))


def two_places(build: Any, intent: Intent) -> HttpRequest:
    """Every currency has two places, and a float in between."""
    wrong = {"JPY": 100, "KWD": 0.1}.get(intent.currency, 1)
    built: HttpRequest = build(replace(intent, amount_minor=max(1, int(intent.amount_minor * wrong))))
    return built


def in_32_bits(read: Any, intent: Intent, response: Response) -> Any:
    outcome = read(intent, response)
    if isinstance(outcome, Succeeded):
        return replace(outcome, amount_minor=outcome.amount_minor % 2**32)
    return outcome


AMOUNTS = [
    ({"build": two_places}, "test_every_unit_is_sent", "minor units of JPY: .*amount"),
    ({"parse": in_32_bits}, "test_every_unit_is_read_back", "4294979641 minor units of INR"),
]


@pytest.mark.parametrize(("methods", "test", "says"), AMOUNTS, ids=[t for _, t, _ in AMOUNTS])
def test_a_defect_in_amounts_is_seen(methods: dict[str, Any], test: str, says: str) -> None:
    """Another number of places, and more than 32 bits."""
    with pytest.raises(AssertionError, match=says):
        getattr(CONTRACT, test)(subject("mock", **methods))


def test_an_amount_that_cannot_be_followed_needs_a_case() -> None:
    """Where no recorded answer names the amount, the contract asks for cases of the currencies."""
    whole = subject("mock")
    cases = tuple(c for c in whole.cases if not isinstance(c.outcome, Succeeded | Authorized) and not c.read)
    with pytest.raises(AssertionError, match=r"add a case in INR with more than 2\*\*31 minor units"):
        CONTRACT.test_every_unit_is_read_back(replace(whole, cases=cases))


def echoing(credentials_of: Any, values: Mapping[str, str]) -> Any:
    if not values["key_id"].startswith("rzp_test_"):
        raise ConfigError(f"{values['key_id']} is no key_id")
    return credentials_of(values)


def chatty(authenticate: Any, request: HttpRequest, credentials: object) -> Any:
    print("sending")
    return authenticate(request, credentials)


def test_a_secret_in_an_error_is_seen() -> None:
    """The value of a refused credential must not be told."""
    with pytest.raises(AssertionError, match="a secret in"):
        CONTRACT.test_refused_credentials_are_not_shown(subject("razorpay", credentials_of=echoing))


def test_whatever_is_written_is_seen(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """An adapter prints nothing."""
    with pytest.raises(AssertionError, match="sending"):
        CONTRACT.test_it_writes_nothing(subject("mock", authenticate=chatty), capsys, caplog)


def test_bytes_that_depend_on_the_process_are_seen() -> None:
    """A request whose order comes from a set differs in another process."""
    assert os.environ.get("PYTHONHASHSEED", "random") == "random", "run without PYTHONHASHSEED"
    with pytest.raises(AssertionError, match="another request with PYTHONHASHSEED"):
        CONTRACT.test_other_processes_build_the_same_bytes(subject("mock", RESHUFFLED))


def believes(parse: Any, window: Any, response: Response, mode: str) -> Any:
    return Listing(tries=()) if response.status >= 500 else parse(window, response, mode)


def remembered(parse: Any, window: Any, response: Response, mode: str) -> Any:
    return PAGES.setdefault(str(window), parse(window, response, mode))


def unsigned(sign: Any, request: HttpRequest, credentials: object) -> bytes:
    return request.body


def outgoing(where: Any, intent: Intent, response: Response) -> Any:
    said = where(intent, response)
    return replace(said, url="javascript:alert(1)") if said else None


PAGES: dict[str, Any] = {}
ABILITIES = [
    ("razorpay", {"parse_listing": believes}, "test_a_spoilt_listing_is_unreadable", "status 500"),
    ("razorpay", {"parse_listing": remembered}, "test_a_listing_about_something_else_says_so", "another currency"),
    ("payu", {"authenticate_body": unsigned}, "test_the_body_is_sent_as_recorded", "not b'"),
    ("payu", {"authenticate_body": unsigned}, "test_another_account_signs_differently", "make no difference"),
    ("razorpay", {"next_action": outgoing}, "test_actions_can_be_opened", "javascript"),
]


@pytest.mark.parametrize(("name", "methods", "test", "says"), ABILITIES, ids=[f"{n}-{t}" for n, _, t, _ in ABILITIES])
def test_a_defect_in_an_ability_is_seen(name: str, methods: dict[str, Any], test: str, says: str) -> None:
    """Listings that are no pages, bodies without a signature, addresses that nobody should open."""
    with pytest.raises(AssertionError, match=says):
        getattr(CONTRACT, test)(subject(name, **methods))


def indexing(parse: Any, intent: Intent, response: Response) -> Any:
    outcome = parse(intent, response)
    if response.body == b"null":
        raise KeyError("id")
    return outcome


def test_an_answer_that_makes_it_raise_is_shown() -> None:
    """The text has the case, the status, the body and the error."""
    with pytest.raises(AssertionError, match=r"^\w+, status \d+, b'null': KeyError\('id'\)$"):
        CONTRACT.test_nothing_makes_it_raise(subject("razorpay", parse=indexing))


def test_abilities_without_cases_are_named() -> None:
    """An adapter that hears, lists and acts must show that it does."""
    whole = subject("razorpay")
    bare = tuple(replace(c, action=None) for c in whole.cases)
    with pytest.raises(AssertionError) as raised:
        CONTRACT.test_everything_declared_has_a_case(replace(whole, cases=bare, webhooks=(), listings=()))
    for missing in ("next_action: a case", 'webhooks: a case that is "refused"', 'listings: a "page" with a try in it'):
        assert missing in str(raised.value)
