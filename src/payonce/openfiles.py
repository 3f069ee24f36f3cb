"""How many files this process may have open at once, connections counted: a limit of Unix, which has a soft part that a process
may raise itself."""

import contextlib
from typing import Final

KEPT: Final = 128  # for the store, logs, and what else is not counted one by one
LEAST: Final = 16  # are granted whatever the limit is: with fewer nothing works


def may_open(wanted: int) -> int:
    """``wanted``, or fewer: what the limit leaves after KEPT. The soft limit is raised as far as that takes and it may be."""
    try:
        import resource
    except ImportError:  # Windows counts otherwise
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + KEPT
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return wanted if soft == resource.RLIM_INFINITY else max(LEAST, min(wanted, soft - KEPT))
