"""AWS's signature version 4 of a POST of JSON (docs.aws.amazon.com, IAM user guide, "Create a signed AWS API request", read
2026-11). The tests compare it with botocore's."""

import hashlib
import hmac
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

# service: prefix of X-Amz-Target, version of the JSON protocol (botocore's service models, 1.43)
PROTOCOLS: Final[dict[str, tuple[str, str]]] = {
    "dynamodb": ("DynamoDB_20120810", "1.0"),
    "sqs": ("AmazonSQS", "1.0"),
    "secretsmanager": ("secretsmanager", "1.1"),
    "ssm": ("AmazonSSM", "1.1"),
}


class Keys(NamedTuple):
    """Credentials. They show in no text."""

    id: str
    secret: str
    token: str | None

    def __repr__(self) -> str:
        return "Keys(...)"


class Address(NamedTuple):
    """Where a service is: scheme, host, port, path."""

    https: bool
    host: str
    port: int | None
    path: str

    @property
    def header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


class Ask(NamedTuple):
    """One request: its service and operation, and where that service is."""

    address: Address
    region: str
    service: str
    operation: str
    body: bytes


def signed(ask: Ask, keys: Keys, at: datetime) -> dict[str, str]:
    """The headers of a request: what it is, and AWS's signature version 4 over it."""
    target, version = PROTOCOLS[ask.service]
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-type": f"application/x-amz-json-{version}",
        "host": ask.address.header,
        "x-amz-date": stamp,
        **({"x-amz-security-token": keys.token} if keys.token else {}),
        "x-amz-target": f"{target}.{ask.operation}",
    }  # in the order of their names, as the signature wants them
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    path = quote(ask.address.path, safe="/~")
    request = f"POST\n{path}\n\n{lines}\n{names}\n{hashlib.sha256(ask.body).hexdigest()}"
    scope = f"{stamp[:8]}/{ask.region}/{ask.service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = _signing_key(keys.secret, stamp[:8], ask.region, ask.service)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={keys.id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers


@lru_cache(16)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
