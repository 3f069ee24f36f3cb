"""The AWS client: signatures, wrong clocks, credentials that expire, and where it finds region and endpoints."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from payonce.awsapi import Answer, Denied, Done, Lost
from payonce.awsclient.client import AwsClient
from payonce.awsclient.signing import Address, Ask, Keys, signed
from payonce.awsclient.surroundings import Missing, Ready, Surroundings

from .loopback import ENV, NOW, SECRET, TOKEN, Seen, Server, SetClock, asked, get, refusal, reply, serving, use


def aws_checks(seen: Seen) -> bytes:
    """As AWS: a date that is wrong by more than five minutes is refused, and the refusal quotes the request."""
    at = datetime.strptime(seen.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    date = format_datetime(NOW, usegmt=True)
    if abs(at - NOW) <= timedelta(minutes=5):
        return reply(200, b"{}", Date=date)
    quoted = f"Signature expired: {at} is now earlier than ... The Canonical String: x-amz-security-token:{TOKEN}"
    body = json.dumps({"__type": "InvalidSignatureException", "message": quoted}).encode()
    return reply(400, body, Date=date)


@pytest.mark.parametrize("minutes", [-20, 20, 60 * 24])
def test_a_wrong_clock_is_corrected_after_the_first_refusal(minutes: int) -> None:
    """The same call is signed anew with AWS's time, and further ones at once."""

    async def two(client: AwsClient) -> list[Answer]:
        return [await get(client), await get(client)]

    with serving(aws_checks) as server:
        assert use(server.url, two, SetClock(NOW + timedelta(minutes=minutes))) == [Done({}), Done({})]
        assert len(server.seen) == 3


def test_a_refused_signature_with_a_right_clock_is_a_refusal() -> None:
    """Sent once; and what AWS quotes of the request, with the session token in it, is left out."""
    date = format_datetime(NOW, usegmt=True)
    body = json.dumps({"__type": "InvalidSignatureException", "message": f"expected ... {TOKEN}"}).encode()
    for answer in (reply(400, body, Date=date), reply(400, body, Date="soon"), reply(400, body)):
        said = asked(answer)
        assert isinstance(said, Denied)
        assert said.code == "InvalidSignatureException"
        assert TOKEN not in repr(said)


def _credentials(number: int, lives_s: int) -> dict[str, Any]:
    until = (datetime.now(UTC) + timedelta(seconds=lives_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"AccessKeyId": f"AKID{number}", "SecretAccessKey": SECRET, "Expiration": until}


@contextmanager
def container(lives_s: int, patch: pytest.MonkeyPatch, refused: tuple[str, ...] = ()) -> Iterator[Server]:
    """AWS, and beside it the place where a container gets its credentials: other ones each time. botocore reads this process's
    environment, so that is what is set."""
    given_out = iter(range(1, 100))

    def answer(seen: Seen) -> bytes:
        if seen.line.startswith("GET"):
            return reply(200, json.dumps({**_credentials(next(given_out), lives_s), "Token": TOKEN}).encode())
        used = seen.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        return refusal("ExpiredTokenException") if used in refused else reply(200, json.dumps({"used": used}).encode())

    with serving(answer) as server:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        patch.setenv("AWS_REGION", "eu-west-1")
        patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/credentials")
        yield server


async def thrice(client: AwsClient) -> list[str]:
    """The keys that three calls were signed with."""
    answers = [await get(client) for _ in range(3)]
    assert all(isinstance(answer, Done) for answer in answers), answers
    return [str(answer.body["used"]) for answer in answers if isinstance(answer, Done)]


def test_credentials_of_a_container_are_renewed_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that last are kept; those that end within minutes are renewed before the next call."""
    with container(6 * 3600, monkeypatch) as server:
        assert use(server.url, thrice, env=os.environ) == ["AKID1", "AKID1", "AKID1"]
        assert [seen.headers.get("x-amz-security-token") for seen in server.seen if "POST" in seen.line] == [TOKEN] * 3
    with container(300, monkeypatch) as server:
        one, two, three = use(server.url, thrice, env=os.environ)
        assert one < two < three


def test_credentials_that_are_refused_as_expired_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow clock may take them for good when they are not: the same call is made once more with fresh ones."""
    with container(6 * 3600, monkeypatch, refused=("AKID1",)) as server:
        assert use(server.url, thrice, env=os.environ) == ["AKID2", "AKID2", "AKID2"]
    with container(6 * 3600, monkeypatch, refused=("AKID1", "AKID2")) as server:
        assert use(server.url, get, env=os.environ) == Denied("ExpiredTokenException", "")


def test_credentials_come_from_a_program_that_the_profile_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``credential_process``, region and endpoint of a profile; the program runs again before its answer expires."""
    program, config, count = tmp_path / "give.py", tmp_path / "config", tmp_path / "count"
    program.write_text(
        "import json, pathlib, sys\n"
        f"count = pathlib.Path({str(count)!r})\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        f"print(json.dumps({{**{_credentials(0, 300)!r}, 'Version': 1, 'AccessKeyId': f'AKID{{number}}'}}))\n"
    )
    with container(1, monkeypatch) as server:
        monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        config.write_text(
            f"[profile shop]\nregion = eu-north-1\nendpoint_url = {server.url}\n"
            f"credential_process = {sys.executable} {program}\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_PROFILE", "shop")
        one, two, three = use(None, thrice, env=os.environ)
        assert one < two < three
        assert "/eu-north-1/dynamodb/" in server.seen[-1].headers["authorization"]


@pytest.mark.parametrize(
    ("without", "reason"),
    [("AWS_ACCESS_KEY_ID", "NoCredentialsError"), ("AWS_REGION", "NoRegionError")],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, without: str, reason: str) -> None:
    """Nothing is sent, and the reason is the word that ``opening`` explains."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_CONFIG_FILE": "/x",
        "AWS_SHARED_CREDENTIALS_FILE": "/x",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    env = {name: value for name, value in ENV.items() if name != without} | {"AWS_CONFIG_FILE": "/x"}
    with serving(reply()) as server:
        assert use(server.url, get, env=env) == Lost(reason)
        assert server.seen == []


PLACES: list[tuple[dict[str, str], str, str]] = [
    ({}, "sqs", "https://sqs.eu-west-1.amazonaws.com"),
    ({"AWS_REGION": "cn-north-1"}, "dynamodb", "https://dynamodb.cn-north-1.amazonaws.com.cn"),
    ({"AWS_ENDPOINT_URL": "http://h:1"}, "sqs", "http://h:1"),
    ({"AWS_ENDPOINT_URL": "http://h:1", "AWS_ENDPOINT_URL_SQS": "http://q:2"}, "sqs", "http://q:2"),
    ({"AWS_ENDPOINT_URL": "http://[::1]:4566"}, "sqs", "http://[::1]:4566"),
    ({"AWS_ENDPOINT_URL_SQS": "http://q:2"}, "dynamodb", "https://dynamodb.eu-west-1.amazonaws.com"),
    ({"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://s:2"}, "secretsmanager", "http://s:2"),
    (
        {"AWS_ENDPOINT_URL": "http://h", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE"},
        "ssm",
        "https://ssm.eu-west-1.amazonaws.com",
    ),
    ({"AWS_REGION": "evil.example/"}, "ssm", "InvalidRegionError"),
    ({"AWS_ENDPOINT_URL": "ftp://h"}, "ssm", "InvalidEndpointError"),
    ({"AWS_ENDPOINT_URL": "http://h:99999"}, "ssm", "InvalidEndpointError"),
    ({"AWS_ENDPOINT_URL": "http://[h"}, "ssm", "InvalidEndpointError"),
    ({"AWS_USE_FIPS_ENDPOINT": "true"}, "ssm", "AWS_USE_FIPS_ENDPOINT"),
]


@pytest.mark.parametrize(("env", "service", "place"), PLACES)
def test_where_a_service_is(env: dict[str, str], service: Any, place: str) -> None:
    """Environment of the service before that of all, then the region's host; what cannot be right is refused."""
    around = Surroundings({**ENV, "AWS_CONFIG_FILE": "/nowhere", **env}, None)
    found = around.ready(service)
    if isinstance(found, Ready):
        assert f"http{'s' if found.address.https else ''}://{found.address.header}" == place
    else:
        assert isinstance(found, Missing)
        assert found.word.startswith(place)


TEXT = st.text("abcXYZ012-_/+=", min_size=1, max_size=40)


@given(
    keys=st.builds(Keys, TEXT, TEXT, st.none() | TEXT),
    place=st.builds(
        Address,
        st.booleans(),
        st.sampled_from(["h.example", "127.0.0.1"]),
        st.none() | st.just(8000),
        st.sampled_from(["/", "/a b", "/~x"]),
    ),
    what=st.sampled_from(
        [("dynamodb", "PutItem"), ("sqs", "SendMessageBatch"), ("ssm", "GetParameter"), ("secretsmanager", "GetSecretValue")]
    ),
    body=st.binary(max_size=200),
    seconds=st.integers(0, 10**9),
)
def test_the_signature_is_botocores(keys: Keys, place: Address, what: tuple[str, str], body: bytes, seconds: int) -> None:
    """For any credentials, address, body and date."""
    at = datetime.fromtimestamp(10**9 + seconds, UTC)
    ours = signed(Ask(place, "eu-west-1", what[0], what[1], body), keys, at)
    url = f"http{'s' if place.https else ''}://{place.header}{place.path}"
    plain = {
        name: value
        for name, value in ours.items()
        if name not in ("authorization", "host", "x-amz-date", "x-amz-security-token")
    }
    theirs = AWSRequest("POST", url, plain, body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: at)
        SigV4Auth(Credentials(keys.id, keys.secret, keys.token), what[0], "eu-west-1").add_auth(theirs)
    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]


def test_no_secret_shows(caplog: pytest.LogCaptureFixture) -> None:
    """In no repr, answer or log line, whatever goes wrong."""
    texts = list[str]()
    keys = Keys("AKID", SECRET, TOKEN)
    texts += [repr(keys), f"{keys}", str([keys])]

    async def do(client: AwsClient) -> None:
        texts.extend([repr(client), repr(vars(client)), repr(await get(client))])

    with caplog.at_level(logging.DEBUG):
        for answer in (refusal("AccessDeniedException"), reply(500, b"x"), b"junk\r\n\r\n"):
            with serving(answer) as server:
                use(server.url, do)
        use("http://127.0.0.1:9", do, env={**ENV, "AWS_SESSION_TOKEN": f"{TOKEN}\r\nx: y"})
    said = "".join(texts) + caplog.text
    assert SECRET not in said
    assert TOKEN not in said
