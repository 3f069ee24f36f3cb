"""Who wants to hear of payments, for functions that hold no signing key. The engine writes a notice with a payment's news where
somebody listens; that much every function that writes payments has to know, and none of them needs a secret for it."""

from payonce.bootstrap import App
from payonce.core.errors import PayonceError, Refused
from payonce.outbound.endpoints import Endpoints
from payonce.telemetry import get_logger

log = get_logger("aws.listening")


def endpoints(app: App) -> Endpoints:
    """The app's, or ones that cannot sign; the engine asks them from now on."""
    if app.endpoints is not None:
        return app.endpoints
    engine = app.engine
    if not isinstance(engine.listeners, Endpoints):
        engine.listeners = Endpoints(app.store.registry, app.clock, engine.entropy, app.journal, _no_key)
    return engine.listeners


async def heed(app: App) -> None:
    """Know who listens now. While that cannot be read all news are noted down, which costs a little and loses nothing."""
    try:
        await endpoints(app).refresh()
    except PayonceError as error:
        log.warning("who wants to hear of payments cannot be read: all news are noted down for now", error=str(error))


def _no_key() -> bytes:
    raise Refused("webhooks_unavailable", "This function holds no signing key.")
