"""Secrets that lie at AWS: ``aws-secret:NAME`` and ``aws-secret:NAME#KEY`` (Secrets Manager), ``aws-ssm:NAME`` (a parameter of
Systems Manager, decrypted). They are fetched once, at the start: one call for each secret. No value is in any message."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from payonce.awsapi import Aws, Denied, Done, Service, insist
from payonce.core.errors import ConfigError
from payonce.ports import Clock

from .opening import NOTHING, unusable


class Ask(NamedTuple):
    """One call for one secret; ``right`` is what the caller must be allowed to."""

    service: Service
    operation: str
    params: dict[str, Any]
    right: str


# docs.aws.amazon.com, read 2026-11: Secrets Manager API reference, "GetSecretValue", and its user guide, "Identity-based
# policies" (the ARN of a secret ends in six random characters, so a policy names it with -??????); Systems Manager API
# reference, "GetParameter".
_MISSING: Final = ("ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound")
_REFUSED: Final = ("AccessDeniedException", "AccessDenied")
_KEY: Final = ("DecryptionFailure", "InvalidKeyId", "KMSAccessDeniedException")


async def fetch(aws: Aws, clock: Clock, references: Mapping[str, str]) -> dict[str, str]:
    """Reference -> value. ``references`` are reference -> who names it, for messages. Raises ConfigError for one that is not
    there, may not be read or has no such key, and StoreUnavailable when AWS does not answer; nothing was started then."""
    whole: dict[tuple[str, str], str] = {}
    found: dict[str, str] = {}
    for reference, where in references.items():
        kind, _, rest = reference.partition(":")
        name, _, key = rest.partition("#") if kind == "aws-secret" else (rest, "", "")
        if (kind, name) not in whole:
            whole[kind, name] = await _one(aws, clock, _ask(kind, name), f"{where}: {kind}:{name}")
        value = _part(whole[kind, name], key, f"{where}: {reference}") if key else whole[kind, name]
        if not value:
            raise ConfigError(f"{where}: {reference} is empty at AWS. Put the secret into it. {NOTHING}")
        found[reference] = value
    return found


def _ask(kind: str, name: str) -> Ask:
    if kind == "aws-ssm":
        params = {"Name": name, "WithDecryption": True}
        arn = f"arn:aws:ssm:REGION:ACCOUNT:parameter/{name.lstrip('/')}"
        return Ask("ssm", "GetParameter", params, f"ssm:GetParameter on {name if name.startswith('arn:') else arn}")
    arn = name if name.startswith("arn:") else f"arn:aws:secretsmanager:REGION:ACCOUNT:secret:{name}-??????"
    return Ask("secretsmanager", "GetSecretValue", {"SecretId": name}, f"secretsmanager:GetSecretValue on {arn}")


async def _one(aws: Aws, clock: Clock, ask: Ask, said: str) -> str:
    answer = await aws.call(ask.service, ask.operation, ask.params)
    if error := unusable(answer):
        raise ConfigError(f"{said}: {error}")
    if not isinstance(answer, Done | Denied):
        answer = await insist(aws, clock, ask.service, ask.operation, ask.params)
    if isinstance(answer, Done):
        return _text(answer.body, said)
    if answer.code in _MISSING:
        raise ConfigError(f"{said} does not exist in this account and region. Create it, or name another one. {NOTHING}")
    if answer.code in _KEY:
        raise ConfigError(f"{said} cannot be decrypted ({answer.code}): allow kms:Decrypt on its key. {NOTHING}")
    if answer.code in _REFUSED:
        raise ConfigError(f"{said} may not be read ({answer.code}): allow {ask.right} and kms:Decrypt on its key. {NOTHING}")
    raise ConfigError(f"{said} was not given ({answer.code}): it needs {ask.right}. {NOTHING}")


def _text(body: Mapping[str, Any], said: str) -> str:
    if "Parameter" in body:
        return str(body["Parameter"].get("Value", ""))
    if isinstance(text := body.get("SecretString"), str):
        return text
    try:
        return msgspec.convert(body.get("SecretBinary", ""), bytes).decode()  # base64 on the wire
    except (UnicodeDecodeError, msgspec.ValidationError):
        raise ConfigError(f"{said} is binary and no UTF-8 text: it cannot be a credential. {NOTHING}") from None


def _part(text: str, key: str, said: str) -> str:
    try:
        doc = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        doc = None
    value = doc.get(key) if isinstance(doc, dict) else None
    if not isinstance(value, str):
        why = "it is no JSON object" if not isinstance(doc, dict) else "there is no such key with a text"
        raise ConfigError(f"{said}: {why}. Correct the secret or the reference. {NOTHING}")
    return value
