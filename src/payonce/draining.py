"""The switch that keeps new payments away from a provider account, as people use it: what they do is put on record first, then
done. The command line and the API go through here."""

from typing import Final

from .core.redact import mask
from .health import Health, State
from .merchants.journal import Journal

REASON_MAX: Final = 200  # characters
CLOSED: Final = State()


async def drain(
    health: Health,
    journal: Journal,
    account: str,
    reason: str,
    *,
    actor: str,
    mode: str = "",
    merchant_id: str = "",
    request_id: str = "",
) -> State:
    """Nothing new starts at the account, in any process on this store, until ``resume``; what it is then. Of a drained one
    only the reason changes. Raises StoreUnavailable: then it may be on record and not done; do it again."""
    said = mask(reason)
    named = {"merchant_id": merchant_id, "mode": mode, "request_id": request_id}
    await journal.write("account.drained", account, actor=actor, data={"reason": said}, **named)
    await health.drain(account, said, actor)
    return (await health.states()).get(account, CLOSED)


async def resume(
    health: Health,
    journal: Journal,
    account: str,
    *,
    actor: str,
    reason: str = "",
    close_breaker: bool = False,
    mode: str = "",
    merchant_id: str = "",
    request_id: str = "",
) -> tuple[State, State]:
    """End a drain, and with ``close_breaker`` an open breaker; what was and what is. Where there is nothing to end, nothing is
    done and nothing put on record. Raises StoreUnavailable as ``drain``."""
    was = (await health.states()).get(account, CLOSED)
    if was.drain or (close_breaker and was.breaker):
        data: dict[str, str | int | bool] = {"close_breaker": close_breaker}
        data |= {"reason": mask(reason)} if reason else {}
        named = {"merchant_id": merchant_id, "mode": mode, "request_id": request_id}
        await journal.write("account.resumed", account, actor=actor, data=data, **named)
        await health.resume(account, actor, close_breaker=close_breaker)
    return was, (await health.states()).get(account, CLOSED)
