"""A payment service as it is often written: a row, a queue, and a worker that tries again. It is here to be compared with.

It is a fair opponent: its keys are unique, an odd repeat is refused, it knows each vendor's steps, backs off, asks again
while a payment is in process, and looks at the row when a message is delivered twice. Without faults it makes no mistake
(``tests/simulation/test_naive.py``). With faults it does, for reasons that look harmless here:

- no answer is taken as "no": the next try, or the next provider, may charge a second time
- every request has a fresh idempotency key, so the provider cannot see that it is a repeat
- what was sent is on record nowhere: a new worker that gets the message of a dead one begins anew
- the row and the message are two writes: between them a payment can be accepted and forgotten
- a decline is believed for ever, and so is the amount in an answer
"""

from collections.abc import Mapping
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import Authorized, Captured, Created, Declined, Found, Intent, Processing, Succeeded
from payonce.core.errors import Refused
from payonce.core.idempotency import NewPayment
from payonce.core.outcome import AnyOutcome
from payonce.core.payment import StepKind
from payonce.dispatch import Account
from payonce.ports import Scope

TRIES: Final = 3  # at each provider
POLLS, POLL_S = 10, 3.0


class Row(Struct, kw_only=True):
    """One row of the table ``payments``; ``key`` is unique."""

    id: str
    key: str
    request: NewPayment
    status: str = "PENDING"


class Receipt(Struct, frozen=True):
    payment: Row
    replayed: bool


class Around(Protocol):
    """What a framework brings: a database, a queue that delivers again what a dead worker had, HTTP, and a clock."""

    async def insert(self, key: str, request: NewPayment) -> tuple[Row, bool]:
        """``INSERT ... ON CONFLICT (key) DO NOTHING``: the row, and whether it is new. Raises StoreUnavailable."""

    async def select(self, payment_id: str) -> Row: ...
    async def update(self, payment_id: str, status: str) -> None: ...
    async def publish(self, payment_id: str) -> None: ...
    async def request(self, account: Account, about: Intent) -> AnyOutcome: ...
    async def sleep(self, seconds: float) -> None: ...
    def route(self, request: NewPayment) -> list[Account]: ...
    def fresh(self) -> str:
        """As ``uuid4``."""


class _GatewayError(Exception):
    """A timeout, a 5xx, an answer that nobody understands."""


class _DeclinedError(Exception):
    """The provider said no."""


class NaivePayments:
    """The whole service. ``submit`` is the POST, ``settle`` is what the worker does with each message."""

    def __init__(self, around: Around, accounts: Mapping[str, Account]) -> None:
        self.around, self.accounts = around, accounts

    async def submit(self, scope: Scope, request: NewPayment, key: str, *, actor: str) -> Receipt:
        """Accept a payment once per key. Raises Refused and StoreUnavailable."""
        del scope, actor
        if not self.around.route(request):
            raise Refused("no_route", "No provider takes this payment.")
        row, new = await self.around.insert(key, request)
        if row.request != request:
            raise Refused("idempotency_key_reused", "The key was used for another payment.")
        if new:
            await self.around.publish(row.id)
        return Receipt(row, not new)

    async def settle(self, payment_id: str) -> None:
        """Each provider in turn, each some times."""
        row = await self.around.select(payment_id)
        if row.status != "PENDING":
            return  # delivered twice
        for account in self.around.route(row.request):
            for n in range(TRIES):
                try:
                    await self._charge(row, account)
                except _DeclinedError:
                    break
                except _GatewayError:
                    await self.around.sleep(2**n)
                else:
                    await self.around.update(row.id, "SUCCESS")
                    return
        await self.around.update(row.id, "FAILED")

    async def _charge(self, row: Row, account: Account) -> None:
        """One try. Raises _DeclinedError and _GatewayError."""
        order = Intent(
            kind="create",
            mode="test",
            amount_minor=row.request.amount_minor,
            currency=row.request.currency,
            reference=row.id.removeprefix("pay_") + self.around.fresh()[:8],
            payment_method=row.request.details.payment_method,
        )
        if account.terms.container:
            created = await self._request(account, order, "create")
            if not isinstance(created, Created):
                raise _GatewayError
            order = replace(order, container=created.container)
        said = await self._request(account, order, "fire")
        for _ in range(POLLS):
            if not isinstance(said, Processing):
                break
            await self.around.sleep(POLL_S)
            found = await self._request(account, order, "read")
            if isinstance(found, Found) and found.tries:
                said = found.tries[-1]
        if isinstance(said, Authorized):
            said = await self._request(account, replace(order, provider_ref=said.ref), "capture")
        if isinstance(said, Declined):
            raise _DeclinedError
        if not isinstance(said, Succeeded | Captured):
            raise _GatewayError

    async def _request(self, account: Account, order: Intent, kind: StepKind) -> AnyOutcome:
        return await self.around.request(account, replace(order, kind=kind, key=self.around.fresh()))
