"""The key from which endpoints' secrets are derived, in a file of the data folder: made once, readable for its owner only. Who
loses it has to give every endpoint a new secret, so a backup holds it."""

import base64
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from payonce.core.errors import Refused
from payonce.ports import Entropy

FILE_NAME: Final = "webhook-signing.key"
CHARS_MIN: Final = 32  # of a key that somebody chose

SigningKey = Callable[[], bytes]  # raises Refused ``webhooks_unavailable`` when it cannot be had


class KeyFile:
    """The key in a file, made at the first use. Any number of processes may be first at the same time: one of them makes it,
    and all get the same."""

    def __init__(self, path: Path, entropy: Entropy) -> None:
        self._path, self._entropy = path, entropy
        self._key = b""

    def __call__(self) -> bytes:
        """Raises Refused ``webhooks_unavailable``."""
        if not self._key:
            try:
                if not self._path.exists():
                    self._make()
                found = self._path.read_bytes().strip()
            except OSError as error:
                why = f"The key file {self._path.name} cannot be read or made: {error.strerror}."
                raise Refused("webhooks_unavailable", why) from error
            if len(found) < CHARS_MIN:
                raise Refused("webhooks_unavailable", f"The key file {self._path.name} holds no key. Restore it from a backup.")
            self._key = found
        return self._key

    def _make(self) -> None:
        """Written whole beside its place, then linked there: whoever is second finds the first one's."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f"{self._path.name}.{self._entropy.bits(64):016x}")
        handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(base64.b64encode(self._entropy.bits(256).to_bytes(32)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                self._path.hardlink_to(beside)
        finally:
            beside.unlink()
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
