"""The real template, deployed: a payment goes in through the HTTP API and comes out settled, under the template's rights."""

import datetime as dt
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from tools.aws_package import build

from payonce.outbound.endpoints import ACTIVE_AFTER_US

from .receiver import Receiver
from .stack import PYTHON, Stack, client, deployed, until

pytestmark = pytest.mark.xdist_group("deployed")  # one stack for all of them

BODY = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok"}
SETTLE_S = 60.0
ELSEWHERE = {
    "TRAN_TABLE": "x",
    "IDEM_TABLE": "y",
    "SQS_QUEUE_URL": "https://sqs.invalid/1/z",
    "MAX_RETRIES": "none",
    "PAYONCE_MODE": "live",
    "PAYONCE_CONFIG": "/nonexistent/payonce.toml",
    "PAYONCE_OF_TOMORROW": "1",
    "AWS_PROFILE": "nobody",
    "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with shell_of_somebody(), deployed(tmp_path_factory.mktemp("stack")) as up:
        yield up


@contextmanager
def shell_of_somebody() -> Iterator[None]:
    """Names that a shell may have, none of which may count: the starter's, a profile, an endpoint, a live mode."""
    with pytest.MonkeyPatch.context() as shell:
        for name, value in ELSEWHERE.items():
            shell.setenv(name, value)
        yield
        assert {name: os.environ.get(name) for name in ELSEWHERE} == ELSEWHERE


def asked(url: str, body: Any = None, key: str = "", bearer: Mapping[str, str] = {}) -> tuple[int, Any]:
    """Status and document of a GET, or of a POST with a body."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {}), **bearer}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def settled(stack: Stack, payment_id: str) -> dict[str, Any]:
    """The payment once it is at its end."""

    def look() -> dict[str, Any] | None:
        status, view = asked(f"{stack.api}/payments/{payment_id}", bearer=stack.bearer)
        return view if status == 200 and view["status"] in ("SUCCESS", "FAILED") else None

    return until(look, SETTLE_S, every=0.2)


def charges(stack: Stack, payment_id: str) -> list[str]:
    """What the vendors' ledger shows of a payment."""
    _, page = asked(f"{stack.sandbox_url}/sandbox/ledger")
    return [m["kind"] for m in page["movements"] if m["reference"].startswith(payment_id.removeprefix("pay_"))]


def refusals(stack: Stack) -> list[str]:
    """Log lines about calls of AWS that were refused."""
    functions = ("ApiFunction", "WorkerFunction", "DeliverFunction", "SweeperFunction")
    return [line for f in functions for line in stack.logs(f) if "AccessDenied" in line or "not authorized" in line]


def test_a_payment_settles(stack: Stack) -> None:
    """A post is accepted through the HTTP API, its id goes through SQS to the worker, and the ledger shows one charge. The same
    key, again, is the same payment."""
    status, view = asked(f"{stack.api}/payments", BODY, "settles", stack.bearer)
    assert status == 202
    id = view["transactionId"]
    assert asked(f"{stack.api}/payments", BODY, "settles", stack.bearer)[1]["transactionId"] == id
    assert settled(stack, id)["status"] == "SUCCESS"
    assert [kind for kind in charges(stack, id) if kind in ("charge", "capture")] in (["charge"], ["capture"])
    assert any('"event":"started"' in line for line in stack.logs("WorkerFunction"))
    assert refusals(stack) == []


def test_a_payment_that_waits_settles_by_itself(stack: Stack) -> None:
    """One that is declined at first, and one whose answer is lost, go on through delayed messages, without a sweep."""
    ids = []
    for token in ("tok_decline_then_ok", "tok_lost_response", "tok_500_then_ok"):
        status, view = asked(f"{stack.api}/payments", {**BODY, "paymentMethod": token, "provider": "mock"}, token, stack.bearer)
        assert status == 202
        ids.append(view["transactionId"])
    for id in ids:
        assert settled(stack, id)["status"] in ("SUCCESS", "FAILED")
        assert len([kind for kind in charges(stack, id) if kind in ("charge", "capture")]) <= 1
    assert refusals(stack) == []


def test_the_sweeper_finds_what_has_no_message(stack: Stack) -> None:
    """With the mapping off and its queue emptied a payment is due and nobody knows; one sweep sends it, and it settles."""
    functions, queue = stack.client("lambda"), stack.outputs["QueueUrl"]
    mapping = stack.mapping("WorkerFunction")
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    _, view = asked(f"{stack.api}/payments", BODY, "unheard", stack.bearer)
    stack.client("sqs").purge_queue(QueueUrl=queue)
    functions.update_event_source_mapping(UUID=mapping, Enabled=True)
    swept = stack.invoke("SweeperFunction")
    assert swept["sent"] >= 1
    assert settled(stack, view["transactionId"])["status"] == "SUCCESS"
    assert any('"CloudWatchMetrics"' in line for line in stack.logs("SweeperFunction"))
    assert refusals(stack) == []


def test_a_merchant_is_told(stack: Stack) -> None:
    """An endpoint that is made over HTTP gets the news of a payment, signed with the secret that was shown, by the function of
    the other queue; who listens later asks for them, and gets the same. Every call was one that the roles allow."""
    with Receiver().up() as receiver:
        receiver.answers = [503]  # the first try is in vain
        status, made = asked(f"{stack.api}/webhook-endpoints", {"url": receiver.url}, bearer=stack.bearer)
        assert status == 201, made
        counts = dt.datetime.fromisoformat(made["createdAt"]) + dt.timedelta(microseconds=ACTIVE_AFTER_US)
        until(lambda: dt.datetime.now(dt.UTC) > counts or None, 30)
        status, view = asked(f"{stack.api}/payments", BODY, "told", stack.bearer)
        assert status == 202
        until(lambda: len(receiver.got) >= 2 or None, SETTLE_S, every=0.2)
        headers, body = receiver.got[-1]
        event = Verifier(made["secret"]).verify(body, headers)
        assert (event["type"], event["data"]["payment"]["transactionId"]) == ("payment.succeeded", view["transactionId"])
        assert {got["webhook-id"] for got, _ in receiver.got} == {event["id"]}
        where = f"{stack.api}/webhook-endpoints/{made['id']}/deliveries"

        def delivered() -> Any:
            rows = asked(where, bearer=stack.bearer)[1]["data"]
            return rows if [row["state"] for row in rows] == ["delivered"] else None

        assert until(delivered, SETTLE_S, every=0.2)[0]["tries"] == 2

        def told() -> Any:
            return [each for each in asked(f"{stack.api}/events", bearer=stack.bearer)[1]["data"] if each["id"] == event["id"]]

        assert until(lambda: told() or None, SETTLE_S, every=0.2) == [event]
    functions = stack.client("lambda").list_functions()["Functions"]
    assert made["secret"] not in json.dumps([f["Environment"] for f in functions]) + stack.log
    assert refusals(stack) == []


def test_nobody_comes_in_without_a_key(stack: Stack) -> None:
    """The functions want one always; what strangers may see is only that the API lives."""
    assert asked(f"{stack.api}/payments", BODY, "stranger")[0] == 401
    assert asked(f"{stack.api}/payments", BODY, "stranger", {"authorization": "Bearer sk_test_" + "0" * 52})[0] == 401
    assert asked(f"{stack.api}/livez")[0] == 200


CONFIG = """version = 1
[providers.mock]
secret = "aws-secret:payonce/mock#key"
"""


def test_a_secret_at_aws_is_read_by_reference(tmp_path: Path) -> None:
    """With a configuration of its own in the package, whose only account names a secret, and the right to read that one secret,
    the functions start and a payment settles. The value is in no variable and in no log."""
    config, value = tmp_path / "payonce.toml", "sesame-0451"
    config.write_text(CONFIG)
    package = build(tmp_path / "package.zip", local=True, python=PYTHON, config=config)

    def secret(url: str, _sandbox: str) -> dict[str, str]:
        text = json.dumps({"key": value, "other": "x"})
        made = client("secretsmanager", url).create_secret(Name="payonce/mock", SecretString=text)
        return {"SecretArns": made["ARN"]}

    with deployed(tmp_path, package=package, prepare=secret) as stack:
        status, view = asked(f"{stack.api}/payments", BODY, "secret", stack.bearer)
        assert status == 202
        assert settled(stack, view["transactionId"])["status"] == "SUCCESS"
        assert refusals(stack) == []
        said = stack.log + "\n".join(stack.logs("WorkerFunction") + stack.logs("ApiFunction"))
        assert '"accounts":["mock"]' in said
        assert value not in said
        functions = stack.client("lambda").list_functions()["Functions"]
        assert value not in json.dumps([f["Environment"] for f in functions])
