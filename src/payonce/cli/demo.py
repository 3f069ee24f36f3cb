"""``payonce demo``: the tour."""

from . import INTERRUPTED, USAGE
from .options import Exit, Where, start_logging
from .output import say
from .running import stay

SECONDS_MAX = 600.0


def demo(*, exit: bool = False, seconds: float = 8.0, port: int | None = None, where: Where | None = None) -> int:
    """Start a server with simulated providers, post varied payments to it, let a provider fail and come back, and compare
    the end with the providers' ledgers: every status and every sum must agree, and no payment may be charged twice (exit
    code 1 otherwise). Accounts and rules of your own payonce.toml take part, if all its accounts are in the sandbox.

    The data folder is a temporary one unless --data-dir names it. The server stays up until Ctrl-C.

    Parameters
    ----------
    exit
        End when everything is settled instead of staying up.
    seconds
        Over how long the payments arrive, 1 to 600.
    port
        Port to bind (default 8080, or a free one when that is taken).
    """
    if not 1 <= seconds <= SECONDS_MAX:
        raise Exit(USAGE, f"payonce: --seconds is 1 to {SECONDS_MAX:.0f}.")
    where = where or Where()
    settings = where.settings({"server.port": port})
    if settings.mode == "live":
        raise Exit(USAGE, "payonce: the demo runs in test mode only. Nothing was started. Unset PAYONCE_MODE.")
    print("payonce demo: starting ...", flush=True)  # before the libraries are loaded, so that something is seen at once
    from payonce.demo import Wish, data_folder, elsewhere, run

    if name := elsewhere(settings):
        reason = (
            f"the demo pays in the sandbox only, and account {name} of {settings.file or 'the configuration'} leads elsewhere"
        )
        raise Exit(USAGE, f"payonce: {reason}. Nothing was started. Run it in another folder, or with another --config.")
    start_logging(settings, least="error")
    keep = where.data_dir is not None
    with data_folder(settings, fresh=not keep) as settled:
        code = stay(run(settled, Wish(seconds=seconds, exit=exit, keep=keep)), settled.text("server.loop"))
        kept = settled.data_dir.resolve()
    if not exit or code == INTERRUPTED:
        say(f"stopped; the data stays in {kept}" if keep else "stopped; the demo's data folder was removed")
    return code
