"""Secrets at AWS, by reference: fetched once from the local emulator, and what is said when one cannot be had."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from payonce.awsapi import Answer, Busy, Denied, Done, Lost, Service
from payonce.awsclient.client import AwsClient
from payonce.awsclient.secrets import fetch
from payonce.bootstrap import SystemClock, open_app
from payonce.config import load
from payonce.core.errors import ConfigError, StoreUnavailable
from tests.tables_of_their_own import asked

from .emulator import emulator, environment

VALUE = "whsec-never-shown"
ACCOUNT = 'version = 1\n[providers.mock]\nbase_url = "https://mock.invalid"\n'


@pytest.fixture(scope="module")
def at_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """An emulator that keeps two secrets and a parameter."""
    with emulator(tmp_path_factory.mktemp("aws")) as url:
        env = environment(url)
        asked(env, "secretsmanager", "CreateSecret", {"Name": "pay/plain", "SecretString": VALUE})
        fields = '{"secret": "whsec-never-shown", "n": 1, "old": ""}'
        asked(env, "secretsmanager", "CreateSecret", {"Name": "pay/json", "SecretString": fields})
        asked(env, "ssm", "PutParameter", {"Name": "/pay/one", "Value": VALUE, "Type": "SecureString"})
        yield env


class Counting:
    """A client that counts what is asked; ``says``: what it answers instead of asking."""

    def __init__(self, env: Mapping[str, str], says: Answer | None = None) -> None:
        self.inner, self.says = AwsClient(SystemClock(), environ=env), says
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        self.asked.append((operation, params))
        return self.says or await self.inner.call(service, operation, params)

    async def close(self) -> None:
        await self.inner.close()


class Quick:
    """No waiting between tries."""

    def now_us(self) -> int:
        return SystemClock().now_us()

    def monotonic_us(self) -> int:
        return SystemClock().monotonic_us()

    async def sleep(self, seconds: float) -> None:
        del seconds


def fetched(client: Counting, *references: str) -> dict[str, str]:
    async def main() -> dict[str, str]:
        try:
            return await fetch(client, Quick(), {ref: f"providers.p{n}.secret" for n, ref in enumerate(references)})
        finally:
            await client.close()

    return asyncio.run(main())


def test_each_secret_is_fetched_once(at_aws: Mapping[str, str]) -> None:
    """The whole text, one key of a JSON object, a decrypted parameter: one call for each secret, however many keys of it."""
    client = Counting(at_aws)
    names = ("aws-secret:pay/plain", "aws-secret:pay/json#secret", "aws-secret:pay/json", "aws-ssm:/pay/one")
    found = fetched(client, *names)
    assert [found[name] for name in names if name != "aws-secret:pay/json"] == [VALUE] * 3
    assert [operation for operation, _ in client.asked] == ["GetSecretValue", "GetSecretValue", "GetParameter"]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("aws-secret:pay/none", "aws-secret:pay/none does not exist"),
        ("aws-ssm:/pay/none", "aws-ssm:/pay/none does not exist"),
        ("aws-secret:pay/plain#key", "it is no JSON object"),
        ("aws-secret:pay/json#other", "there is no such key"),
        ("aws-secret:pay/json#n", "there is no such key with a text"),
        ("aws-secret:pay/json#old", "is empty at AWS"),
    ],
)
def test_what_is_not_there_is_named(at_aws: Mapping[str, str], reference: str, said: str) -> None:
    """The message names the account's key and the reference, never a value."""
    with pytest.raises(ConfigError) as failed:
        fetched(Counting(at_aws), reference)
    text = str(failed.value)
    assert said in text
    assert "providers.p0.secret" in text
    assert "Nothing was started" in text
    assert VALUE not in text


@pytest.mark.parametrize(
    ("reference", "answer", "said"),
    [
        (
            "aws-secret:pay/plain",
            Denied("AccessDeniedException", VALUE),
            "secretsmanager:GetSecretValue on arn:aws:secretsmanager:REGION:ACCOUNT:secret:pay/plain-??????",
        ),
        (
            "aws-secret:arn:aws:secretsmanager:eu-west-1:1:secret:k-abcdef#x",
            Denied("AccessDeniedException", ""),
            "secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:1:secret:k-abcdef",
        ),
        (
            "aws-ssm:/pay/one",
            Denied("AccessDeniedException", ""),
            "ssm:GetParameter on arn:aws:ssm:REGION:ACCOUNT:parameter/pay/one",
        ),
        ("aws-secret:pay/plain", Denied("DecryptionFailure", ""), "kms:Decrypt"),
        ("aws-secret:pay/plain", Lost("NoCredentialsError"), "there are no AWS credentials"),
        ("aws-secret:pay/plain", Denied("ExpiredTokenException", ""), "have expired"),
        ("aws-secret:pay/plain", Done({"SecretBinary": b"\xff\xfe"}), "binary"),
    ],
)
def test_the_missing_right_is_named(reference: str, answer: Answer, said: str) -> None:
    """What AWS refuses becomes the right that has to be given, on which ARN; AWS's own text is not repeated."""
    with pytest.raises(ConfigError) as failed:
        fetched(Counting({}, answer), reference)
    assert said in str(failed.value)
    assert VALUE not in str(failed.value)


@pytest.mark.parametrize("answer", [Lost("timeout"), Busy("ThrottlingException")])
def test_silence_is_asked_again_and_then_said(answer: Answer) -> None:
    """Some tries, then it is not available: nothing was started, and starting again is safe."""
    client = Counting({}, answer)
    with pytest.raises(StoreUnavailable):
        fetched(client, "aws-secret:pay/plain")
    assert len(client.asked) > 2


def test_an_app_opens_with_secrets_at_aws(at_aws: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file too: the account gets the value, and no representation of anything shows it."""
    for name, value in at_aws.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "payonce.toml"
    file.write_text(ACCOUNT + 'secret = "aws-secret:pay/json#secret"\nwebhook_secret = "aws-ssm:/pay/one"\n')
    settings = load({"store.data_dir": str(tmp_path / "data")}, {}, file)

    async def main() -> Any:
        async with open_app(settings, env={}) as app:
            return app.engine.accounts["mock"].credentials, repr(app.engine.accounts["mock"])

    credentials, shown = asyncio.run(main())
    assert (credentials.secret, VALUE in shown) == (VALUE, False)
