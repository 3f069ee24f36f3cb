"""Files as releases before some migration made them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import apsw

from payonce.stores.sqlite import schema

# What takes each migration back.
UNDO: Final[Mapping[int, str]] = {
    2: "DROP TABLE registry",
    3: "DROP TABLE inbox",
    4: "DROP TABLE feed; DROP TABLE notices; DROP TABLE deliveries; ALTER TABLE events DROP COLUMN news",
    5: "DROP TABLE tallies; DROP TABLE counting; DROP TABLE labels; DROP TABLE declines",
}


def set_back(path: Path, version: int) -> None:
    """Take a closed file back to the schema ``version``: what later migrations brought is gone."""
    connection = apsw.Connection(str(path))
    for number in range(len(schema.migrations()), version, -1):
        connection.execute(UNDO[number])
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()
