"""The dashboard: pages over the public API, for people. It asks the API in this process, as whoever is signed in
(``asking.py``), renders on the server (``rendering.py``), and works without scripts; those only spare reloads.

A browser is a place where other sites' pages run too, so one signs in always (``signing_in.py``), also where programs of this
machine need no key. Every form carries a token of its session and must come from our own pages.
"""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from payonce.core.payment import Mode
from payonce.merchants.keys import Keyring
from payonce.merchants.sessions import Sessions
from payonce.ports import Clock, Entropy

from .answering import FOR_EVER, Sent, give
from .incoming import Came
from .rendering import Renderer, static_files
from .showing import Shell
from .signing_in import Porter, Ushers

__all__ = ["dashboard_app"]


def dashboard_app(
    *,
    porter: Porter,
    sessions: Sessions,
    keys: Keyring,
    clock: Clock,
    entropy: Entropy,
    mode: Mode,
    public_url: str = "",
) -> ASGIApp:
    """The ASGI application, for a route ``/dashboard/...`` inside the API's own: the innermost Starlette application around it
    (``scope["app"]``) is whom it asks."""
    files = static_files()
    renderer = Renderer(files)
    ushers = Ushers(sessions, keys, clock, renderer, mode)
    shell = Shell(porter, ushers, renderer, clock, entropy)
    return Dashboard(porter, ushers, shell, public_url)


class Dashboard:
    """Which of the parts answers: a file, the door of the dashboard, or a page."""

    def __init__(self, porter: Porter, ushers: Ushers, shell: Shell, public_url: str) -> None:
        self._porter, self._ushers, self._shell, self._public_url = porter, ushers, shell, public_url
        self._files = {file.address: file for file in shell.renderer.files.values()}

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        came = Came(scope, receive, self._public_url)
        file = self._files.get(came.path)
        try:
            if file is not None and came.method == "GET":
                with self._porter.lobby():
                    await give(Sent(200, file.body, file.media_type.encode(), (FOR_EVER,)), send)
            else:
                await self._shell.answer(came, send)
        except ClientDisconnect:
            return
