"""AWS as this machine is set up for it: the client, and what to do when it cannot be used. The client is loaded only here."""

from importlib.util import find_spec
from typing import Final

from payonce.awsapi import Answer, Aws, Denied, Lost
from payonce.core.errors import ConfigError
from payonce.ports import Clock

NOTHING: Final = "Nothing was started."
# What the client says when nothing can be sent: its own words, and names of botocore's errors (botocore.exceptions, 1.43).
_OURS: Final = {
    "NoRegionError": "no AWS region is named: set AWS_REGION, or region in ~/.aws/config",
    "InvalidRegionError": "AWS_REGION is no name of a region, such as eu-west-1: correct it",
    "InvalidEndpointError": "AWS_ENDPOINT_URL is no http or https address: correct or unset it",
    "NoCredentialsError": "there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "run where a role gives them",
    "PartialCredentialsError": "the AWS credentials are incomplete: a key id without its secret, or the other way round",
    "CredentialRetrievalError": "the AWS credentials could not be had from where the profile says",
    "ProfileNotFound": "AWS_PROFILE names a profile that is not in ~/.aws/config",
    "TokenRetrievalError": "the login of the AWS profile is over: run `aws sso login`",
    "UnauthorizedSSOTokenError": "the login of the AWS profile is over: run `aws sso login`",
    "SSOTokenLoadError": "the login of the AWS profile is missing: run `aws sso login`",
}
_BY_BOTOCORE: Final = ("NoRegionError", "NoCredentialsError")  # what is not in the environment is looked for by botocore
_EXTRA: Final = "; profiles, logins and roles need a library that is not installed: pip install 'payonce[aws]'"
_ENDPOINTS: Final = "AWS_USE_"  # how the client's refusal of these variables begins
# What AWS itself says about who asks (docs.aws.amazon.com, DynamoDB API reference, "Common Errors", read 2026-11).
_CLOCK: Final = "AWS does not accept the signature: the secret of these credentials is wrong, or this machine's clock"
_THEIRS: Final = {
    "UnrecognizedClientException": "AWS does not know these credentials: correct them, or the region",
    "InvalidClientTokenId": "AWS does not know these credentials: correct them, or the region",
    "InvalidSignatureException": _CLOCK,
    "SignatureDoesNotMatch": _CLOCK,
    "RequestExpired": _CLOCK,
    "RequestInTheFuture": _CLOCK,
    "RequestTimeTooSkewed": _CLOCK,
    "ExpiredTokenException": "the AWS credentials have expired: log in again",
    "ExpiredToken": "the AWS credentials have expired: log in again",
    "MissingAuthenticationTokenException": "AWS wants credentials: set AWS_PROFILE, or run where a role gives them",
}


def open_aws(clock: Clock) -> Aws:
    """A client, to be closed. Region, endpoint and credentials come from where AWS tools look for them; whether they are there
    shows at the first call, see ``unusable``."""
    from .client import AwsClient

    return AwsClient(clock)


def unusable(answer: Answer) -> ConfigError | None:
    """What is wrong with region, credentials or clock, when that is why a call was not done; else None."""
    match answer:
        case Lost(reason=reason) if reason in _OURS:
            missing = reason in _BY_BOTOCORE and find_spec("botocore") is None
            says = _OURS[reason] + (_EXTRA if missing else "")
        case Lost(reason=reason) if reason.startswith(_ENDPOINTS):
            says = reason
        case Denied(code=code) if code in _THEIRS:
            says = _THEIRS[code]
        case _:
            return None
    return ConfigError(f"AWS cannot be asked: {says}. {NOTHING}")
