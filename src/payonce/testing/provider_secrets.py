"""The part of the provider contract about what must not show (secrets) and what must not differ (the bytes of a request,
in every process)."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import pytest
from rich.pretty import pretty_repr

from payonce.adapter import ConfigError, HttpRequest

from .provider_cases import Subject
from .provider_webhooks import optional

# come with authenticate
LATER_HEADERS: Final = ("authorization", "cookie", "x-client-secret", "x-api-key", "x-client-id")
SECRET_CHARS_MIN: Final = 8  # of a made-up credential, so that it can be recognised
ODD: Final = "never_to_be_shown_4711"
# What another process prints for the intents that it reads: a digest of each request.
CHILD: Final = """
import hashlib, importlib, sys, msgspec
from payonce.adapter import Intent
adapter = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
for intent in msgspec.json.decode(sys.stdin.buffer.read(), type=list[Intent]):
    print(hashlib.sha256(msgspec.json.encode(adapter.build(intent))).hexdigest())
"""


class SecretContract:
    """See the module docstring."""

    def test_missing_credentials_are_named(self, subject: Subject) -> None:
        """ "Raises ConfigError naming what is missing"; an account works without the secrets of webhooks."""
        for name in subject.credentials:
            fewer = {k: v for k, v in subject.credentials.items() if k != name}
            if optional(name):
                subject.adapter.credentials_of(fewer)
                continue
            with pytest.raises(ConfigError, match=re.escape(name)):
                subject.adapter.credentials_of(fewer)

    def test_refused_credentials_are_not_shown(self, subject: Subject) -> None:
        """No error tells a secret: not that of a credential that is refused, nor that of using another's."""
        good, texts = dict(subject.credentials), []
        for name, set_to in good.items():
            for value in (ODD, set_to + ODD, " " + set_to, set_to + "\n"):
                try:
                    credentials = subject.adapter.credentials_of({**good, name: value})
                except ConfigError as error:
                    texts.append(_told(error))
                else:
                    texts += [repr(credentials), pretty_repr(credentials)]
        _, request = next(requests_in(subject))
        for wrong in (good, ODD, None):
            with pytest.raises(Exception) as raised:  # noqa: PT011 - which one does not matter, what it tells does
                subject.adapter.authenticate(request, wrong)
            texts.append(_told(raised.value))
        _none(f"a secret in {text[:200]!r}" for text in texts for secret in (*secrets_in(subject), ODD) if secret in text)

    def test_it_writes_nothing(
        self, subject: Subject, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is logged or printed, whatever is built, authenticated, read and heard."""
        credentials = credentials_in(subject)
        capsys.readouterr()
        with caplog.at_level(1):
            for _, request in requests_in(subject):
                subject.adapter.authenticate(request, credentials)
            for case in subject.cases:
                subject.learn(case)
        out, err = capsys.readouterr()
        written = [*filter(None, (out, err)), *caplog.messages]
        assert written == [], f"an adapter writes nothing: {written}"

    def test_other_processes_build_the_same_bytes(self, subject: Subject) -> None:
        """ "The same for the same intent, byte for byte": after a restart, in which texts hash differently, too."""
        adapter = subject.adapter
        home = sys.modules[type(adapter).__module__]
        name = next((n for n, each in vars(home).items() if each is adapter), "")
        if not name:
            pytest.skip(f"{home.__name__} has no name for this adapter, by which another process could find it")
        intents = [c.intent for c in subject.cases]
        ours = [_digest(adapter.build(each)) for each in intents]
        for seed in ("1", "4711"):
            env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-c", CHILD, home.__name__, name]
            done = subprocess.run(command, input=msgspec.json.encode(intents), capture_output=True, env=env, check=False)  # noqa: S603 - ours
            assert done.returncode == 0, done.stderr.decode()
            theirs = done.stdout.decode().split()
            pairs = zip(subject.cases, ours, theirs, strict=True)
            _none(f"{c.name}: another request with PYTHONHASHSEED={seed}" for c, a, b in pairs if a != b)


def credentials_in(subject: Subject) -> Any:
    """What the adapter makes of the made-up credentials."""
    return subject.adapter.credentials_of(subject.credentials)


def secrets_in(subject: Subject) -> list[str]:
    """The made-up credentials that nothing may show."""
    secrets = [value for value in subject.credentials.values() if len(value) >= SECRET_CHARS_MIN]
    assert secrets, "credentials.json holds nothing to look for"
    return secrets


def requests_in(subject: Subject) -> Iterator[tuple[str, HttpRequest]]:
    """Everything that is built, by the name of its case."""
    for case in subject.cases:
        yield case.name, subject.adapter.build(case.intent)
        yield from ((case.name, asked) for asked in subject.converse(case)[0])
    for listing in subject.listings:
        yield listing.name, subject.able("build_listing")(listing.listing)


def _told(error: BaseException) -> str:
    """Everything that a traceback shows of an error and of what it came from."""
    below = error.__cause__ or error.__context__
    return f"{type(error).__name__}: {error} {error.args!r}" + (f" <- {_told(below)}" if below else "")


def _digest(request: HttpRequest) -> str:
    return hashlib.sha256(msgspec.json.encode(request)).hexdigest()


def _none(problems: Iterable[str]) -> None:
    found = list(problems)
    assert not found, "\n".join(found)
