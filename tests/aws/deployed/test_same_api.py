"""The tests of the API in tests/api, as they stand there, over HTTP: against `payonce serve` on SQLite, and against the stack
that is deployed. Both must pass the same ones."""

import inspect
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import httpx2
import pytest
from msgspec import Struct

from payonce.api.openapi import document
from tests.api import test_create, test_operations, test_reads, test_refusals, test_returning, test_surface
from tests.aws.stack import Stack

from .over_http import Target, on_aws, on_sqlite, serving_over

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployed")]

MODULES: Final = (test_create, test_refusals, test_operations, test_reads, test_returning, test_surface)
STORE, PARTS, VENDOR = "a store of its own", "no request over HTTP", "the words of the tiny vendor"
# Why a test is not run here. All others are.
ELSEWHERE: Final = {
    "test_an_unclear_commit_is_asked_about_before_it_is_answered": STORE,
    "test_a_store_that_cannot_write_says_retry_the_same_key": STORE,
    "test_a_refused_write_names_its_cause_and_no_path": STORE,
    "test_every_trouble_of_a_file_has_a_cause": PARTS,
    "test_a_full_store_keeps_the_key_usable": STORE,
    "test_a_payment_that_is_not_visible_yet_is_in_progress": STORE,
    "test_what_no_account_offers_is_refused": "accounts of its own",
    "test_sandbox_tokens_are_refused_in_live_mode": "a server in live mode",
    "test_an_account_that_takes_all_or_nothing_says_so": "accounts of its own",
    "test_the_payments_of_others_are_not_there": STORE,
    "test_an_unclear_write_is_one_operation": STORE,
    "test_a_store_that_takes_no_write_keeps_the_key_usable": STORE,
    "test_the_youngest_error_counts": "accounts of its own",
    "test_another_scope_sees_nothing": STORE,
    "test_the_details_of_a_page_come_in_one_call": STORE,
    "test_a_key_of_another_scope_is_not_found": STORE,
    "test_attention_lists_what_needs_eyes": STORE,
    "test_a_named_provider_is_used": "accounts of its own",
    "test_the_history_shows_no_card_number_and_no_secret": VENDOR,
    "test_a_settled_payment_tells_who_took_it": VENDOR,
    "test_a_refund_is_accepted_done_and_shown": VENDOR,
    "test_the_payment_says_where_the_customer_goes_and_until_when": VENDOR,
    "test_the_customer_goes_on_to_the_shop_and_the_payment_is_read": STORE,
    "test_reads_for_customers_end": STORE,
    "test_a_payment_that_has_ended_is_not_read_again": STORE,
    "test_head_is_get_without_its_body": "the exact length of an answer, which the namespace changes",
    "test_the_last_error_says_what_went_wrong": VENDOR,
    "test_every_kind_of_action_is_shown": PARTS,
    "test_after_the_time_is_over_nothing_can_be_done": "a clock of its own",
    "test_a_store_that_takes_no_write_does_not_keep_the_customer": STORE,
    "test_the_provider_is_told_to_send_the_customer_here": "another public address",
    "test_what_stands_in_the_address_is_kept": PARTS,
    "test_head_sends_no_byte_of_a_body": PARTS,
    "test_a_bug_is_a_500_that_gives_nothing_away": STORE,
    "test_a_row_of_a_newer_version_is_not_ready": STORE,
    "test_liveness_asks_nobody": STORE,
    "test_readiness_shows_its_checks_or_fails_by_name": STORE,
    "test_extra_routes_get_the_same_envelope": "routes of its own",
    "test_it_can_be_mounted": PARTS,
    "test_an_absurd_length_is_413": "lengths that no HTTP client sends",
}
# What the gateway does itself, so that the function cannot: not run on the deployed stack.
GATEWAYS: Final = {
    "test_every_answer_has_a_request_id_and_security_headers": "request ids are the gateway's",
    "test_an_unknown_method_is_a_problem_with_allow": "the emulator answers OPTIONS itself, which AWS does only with CORS",
}
# The emulator hands these bodies over as text, with what is no UTF-8 replaced. What AWS does is not documented, and unverified.
NO_TEXTS: Final = (b'{"description": "\xff\xfe"}', b'{"description": "\xed\xa0\x80"}')


class Case(Struct, frozen=True):
    """One test with one set of its parameters."""

    module: ModuleType
    function: FunctionType
    given: dict[str, Any]
    name: str


def cases(*, whole: bool) -> Iterator[Case]:
    """Every test of the modules that is run here, with each set of parameters, or with the first one."""
    for module in MODULES:
        for name, function in vars(module).items():
            if not name.startswith("test_") or not inspect.isfunction(function) or name in ELSEWHERE:
                continue
            tables = [mark.args for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
            sets = itertools.product(*(table[1] for table in tables))
            for n, rows in enumerate(sets if whole else itertools.islice(sets, 1)):
                given: dict[str, Any] = {}
                for (names, _), row in zip(tables, rows, strict=True):
                    fields = names.split(",") if isinstance(names, str) else names
                    given |= dict(zip([f.strip() for f in fields], row if len(fields) > 1 else (row,), strict=True))
                yield Case(module, function, given, f"{module.__name__.rpartition('.')[2]}.{name}[{n}]")


def through_the_gateway(case: Case) -> bool:
    """It reaches the function as it was sent, and its answer the client."""
    return case.function.__name__ not in GATEWAYS and case.given.get("raw") not in NO_TEXTS


def require_the_same(target: Target, chosen: Iterable[Case], monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests) -> int:
    """Each is a subtest; how many there were."""
    for module in MODULES:
        monkeypatch.setattr(module, "serving", serving_over(target))
    run = 0
    for case in chosen:
        with subtests.test(case.name):
            try:
                case.function(**case.given)
            except httpx2.LocalProtocolError as error:
                pytest.skip(f"no HTTP client sends this: {error}")
        run += 1
    return run


def test_every_test_of_the_api_passes_on_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """Every test of the API that is about HTTP holds over HTTP on SQLite, word for word, with all of its parameters."""
    with on_sqlite(tmp_path) as target:
        assert require_the_same(target, cases(whole=True), monkeypatch, subtests) > 250


def test_every_test_of_the_api_passes_deployed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """The same on the deployed stack, each with the first of its parameters; tests/blackbox has all of them."""
    with on_aws(stack) as target:
        chosen = filter(through_the_gateway, cases(whole=False))
        assert require_the_same(target, chosen, monkeypatch, subtests) > 50


def test_what_is_not_run_here_is_there() -> None:
    """A name in the lists of exceptions is a test of the API, so that none is left out by a mistake."""
    names = [*ELSEWHERE, *GATEWAYS]
    assert [name for name in names if not any(hasattr(module, name) for module in MODULES)] == []
    assert [raw for raw in NO_TEXTS if not any(case.given.get("raw") == raw for case in cases(whole=True))] == []


def test_documents_and_readiness_are_those_of_sqlite(stack: Stack, tmp_path: Path) -> None:
    """Both answer with the same OpenAPI document, pages and style, take the request that it shows, and say that they are ready
    in the same words; HEAD is GET without its body."""
    shown = document()["paths"]["/payments"]["post"]["requestBody"]["content"]["application/json"]["example"]
    with on_sqlite(tmp_path) as local, httpx2.Client(timeout=60, verify=False) as http:
        keys = {local.url: {}, stack.api: stack.bearer}  # who comes from this machine needs none
        for path in ("/openapi.json", "/docs", "/docs/style.css", "/livez"):
            here, there = (http.get(url + path) for url in (local.url, stack.api))
            assert (there.status_code, there.content) == (200, here.content), path
            head = http.head(stack.api + path)
            assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", here.headers["content-type"])
        assert http.get(f"{stack.api}/openapi.json").json() == document()
        for url in (local.url, stack.api):
            taken = http.post(f"{url}/payments", json=shown, headers={"idempotency-key": "shown", **keys[url]})
            assert taken.status_code == 202, taken.text
        here, there = (http.get(f"{url}/readyz", headers=keys[url]).json() for url in (local.url, stack.api))
        assert (there["status"], there["checks"].keys()) == ("ready", here["checks"].keys())
