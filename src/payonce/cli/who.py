"""Who types: the actor of what a command does, for the record."""

import os
import platform
import pwd

from payonce.core.actors import actor, operator


def operator_here() -> str:
    """``operator:NAME@HOST``: the name of the operating system's user. Environment variables do not count: everybody may set
    those."""
    return operator(user(), platform.node())


def cli_here() -> str:
    """``cli@HOST``: a command that asks what a merchant's program asks, too."""
    return actor("cli", platform.node())


def user() -> str:
    """The name of the user that this process runs as; its number where it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
