"""Region, endpoints and credentials, from where AWS tools look for them. The environment is read here; everything else
(profile, login, process, container, instance) is botocore's chain, imported only when it is needed: not on Lambda."""

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from payonce.awsapi import Service

from .signing import Address, Keys

# beginning of a region: where its hosts are (botocore's partitions, 1.43); all others: amazonaws.com
SUFFIXES: Final[dict[str, str]] = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
}
_REGION: Final = re.compile(r"[a-z]{2,5}(?:-[a-z0-9]{1,12}){1,4}")
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


class Missing(Struct, frozen=True):
    """Nothing can be sent. ``word`` says why, mostly with a name of botocore's, which ``opening`` explains."""

    word: str


class Ready(Struct, frozen=True):
    """All that a request to one service needs."""

    address: Address
    region: str
    keys: Keys


class _Unusable(Exception):
    """Its text is the word of Missing."""


class Surroundings:
    """Region, endpoints and credentials, from where AWS tools look for them. Used by many threads; may block. botocore, where
    it is asked, looks at this process's environment, whatever ``environ`` is."""

    def __init__(self, environ: Mapping[str, str], endpoint_url: str | None) -> None:
        self._environ, self._endpoint_url = environ, endpoint_url
        self._lock = threading.Lock()
        self._session: Any = None
        self._chain: Any = None  # botocore's credentials: they refresh themselves
        self._given: Keys | None = None  # what the chain gave last
        self._places: dict[Service, tuple[Address, str]] = {}

    def ready(self, service: Service) -> Ready | Missing:
        """As it is now: credentials may change at any time, what else there is stays as it was found."""
        try:
            if service not in self._places:
                self._places[service] = self._address(service), self._region()
            return Ready(*self._places[service], self._keys())
        except _Unusable as error:
            return Missing(str(error))
        except ValueError:  # of a URL
            return Missing("InvalidEndpointError")

    def forget(self, keys: Keys) -> None:
        """Credentials were refused as expired: read them anew, should they not have been by somebody else meanwhile."""
        with self._lock:
            if self._given == keys:
                self._session = self._chain = None

    def _keys(self) -> Keys:
        key, secret = self._environ.get("AWS_ACCESS_KEY_ID"), self._environ.get("AWS_SECRET_ACCESS_KEY")
        if key and secret:
            return Keys(key, secret, self._environ.get("AWS_SESSION_TOKEN"))
        with self._lock:
            if self._chain is None:
                self._chain = self._of_botocore(lambda session: session.get_credentials())
            chain = self._chain
        if chain is None:
            raise _Unusable("NoCredentialsError")
        now = _named(chain.get_frozen_credentials)
        self._given = Keys(now.access_key, now.secret_key, now.token)
        return self._given

    def _region(self) -> str:
        named = self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
        if not named:
            with self._lock:
                named = self._of_botocore(lambda session: session.get_config_variable("region"))
        if not named:
            raise _Unusable("NoRegionError")
        if not _REGION.fullmatch(named):
            raise _Unusable("InvalidRegionError")
        return str(named)

    def _address(self, service: Service) -> Address:
        url = self._endpoint_url or self._configured(service)
        if url is None:
            if any(self._on(f"AWS_USE_{kind}_ENDPOINT") for kind in ("FIPS", "DUALSTACK")):
                raise _Unusable(
                    "AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT are not known here: set AWS_ENDPOINT_URL_..."
                )
            region = self._region()
            suffix = next((s for begins, s in SUFFIXES.items() if region.startswith(begins)), "amazonaws.com")
            url = f"https://{service}.{region}.{suffix}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _Unusable("InvalidEndpointError")
        return Address(parts.scheme == "https", parts.hostname, parts.port, parts.path or "/")

    def _configured(self, service: Service) -> str | None:
        """Environment before file, service before all (docs.aws.amazon.com, SDKs and tools reference guide,
        "Service-specific endpoints", read 2026-11). The file is looked at only where there is one: never on Lambda."""
        if self._on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            return None
        name = "secrets_manager" if service == "secretsmanager" else service
        found = self._environ.get(f"AWS_ENDPOINT_URL_{name.upper()}") or self._environ.get("AWS_ENDPOINT_URL")
        if found or not Path(self._environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser().exists():
            return found or None
        with self._lock:
            profile = self._of_botocore(lambda session: session.get_scoped_config()) or {}
            sections = self._of_botocore(lambda session: session.full_config.get("services")) or {}
        own = sections.get(profile.get("services"), {}).get(name, {})
        return own.get("endpoint_url") or profile.get("endpoint_url")

    def _on(self, name: str) -> bool:
        return self._environ.get(name, "").lower() in _TRUE

    def _of_botocore(self, ask: Callable[[Any], Any]) -> Any:
        """Holding the lock. None where botocore is not installed. Raises _Unusable."""
        try:
            import botocore.session
        except ImportError:
            return None
        if self._session is None:
            self._session = botocore.session.get_session()
        return _named(lambda: ask(self._session))


def _named(ask: Callable[[], Any]) -> Any:
    """Errors of botocore by their names only: texts may tell what no log should. Raises _Unusable."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - a chain of many libraries, each with errors of its own
        raise _Unusable(type(error).__name__) from None
