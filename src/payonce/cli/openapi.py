"""``payonce openapi``: the document that /openapi.json serves."""

from payonce.api.openapi import document

from . import OK
from .options import Json
from .output import put_json


def openapi(*, json: Json = False) -> int:  # noqa: ARG001  every command that prints data takes it
    """Print the OpenAPI 3.1 document of the API (JSON, with or without --json)."""
    put_json(document())
    return OK
