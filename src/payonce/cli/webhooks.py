"""``payonce webhooks list|show|replay``: what providers sent, which payment each was about, and another look for it."""

from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from payonce.bootstrap import SystemClock
from payonce.config import Settings
from payonce.inbox import replay as replay_one
from payonce.mail import Inbox, Webhook, WebhookState
from payonce.shown.views import provider_body
from payonce.storage import Kept
from payonce.wake.sqs import SqsWake

from . import NOT_FOUND, OK, USAGE
from .app import wait_for
from .options import HERE, STRICT, Exit, Json, Where
from .output import clean, counted, put, put_json, relative, say, stamp, table
from .pages import Pages
from .reading import Books, books, changing

LIMIT_MAX: Final = 100
WITHOUT_PAYMENT: Final[tuple[WebhookState, ...]] = ("parked", "unmatched")

app = App(
    name="webhooks",
    help="What providers sent: which payment each is about, and those whose payment was not found.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


@app.command(name="list")
def list_webhooks(
    *,
    state: WebhookState | None = None,
    account: str | None = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 20,
    cursor: str | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """List webhooks, newest first. Tab-separated when it is not a terminal.

    Parameters
    ----------
    state
        new (not looked up yet), matched, parked (its payment was not found, it is looked up again) or unmatched (given up:
        replay it).
    account
        Provider account that it came for.
    limit
        Rows, 1 to 100.
    cursor
        Where the page before ended.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise Exit(USAGE, f"payonce: --limit is 1 to {LIMIT_MAX}.")
    return wait_for(_list(where.settings(), state, account, limit, cursor, as_json=json))


@app.command
def show(webhook: str, /, *, where: Where = HERE, json: Json = False) -> int:
    """Show one webhook: what it names, what became of it, its headers, and of its body what people may see.

    Parameters
    ----------
    webhook
        Its id, as in `payonce webhooks list`.
    """
    return wait_for(_show(where.settings(), webhook.strip(), as_json=json))


@app.command
def replay(webhook: str | None = None, /, *, parked: bool = False, where: Where = HERE, json: Json = False) -> int:
    """Look a webhook's payment up again, at once and then as often as for a new one; a worker does it. It moves no money:
    what is found is read at its provider.

    Parameters
    ----------
    webhook
        Its id, as in `payonce webhooks list`. One that is matched already only leads to another read.
    parked
        Instead: every one whose payment was not found, parked or unmatched.
    """
    if (webhook is None) != parked:
        raise Exit(USAGE, "payonce: name a webhook, or --parked for all whose payment was not found. Nothing was changed.")
    return wait_for(_replay(where.settings(), webhook and webhook.strip(), as_json=json))


async def _list(
    settings: Settings, state: WebhookState | None, account: str | None, limit: int, cursor: str | None, *, as_json: bool
) -> int:
    async with books(settings) as book:
        try:
            page = await book.store.inbox.list(limit, state=state, account=account, cursor=cursor)
        except ValueError:
            raise Exit(USAGE, "payonce: --cursor is not one that `payonce webhooks list` printed.") from None
        if as_json:
            put_json({"webhooks": [_view(w) for w in page.webhooks], "nextCursor": page.next})
            return OK
        now = book.clock.now_us()
        head = ("ID", "ACCOUNT", "KIND", "STATE", "PAYMENT", "DELIVERIES", "TRIES", "DUE", "RECEIVED", "AGE")
        table(head, [_row(w, now) for w in page.webhooks])
        if not page.webhooks:
            say("No webhook matches.")
        if page.next:
            say(f"More: --cursor {page.next}")
    return OK


async def _show(settings: Settings, id: str, *, as_json: bool) -> int:
    async with books(settings) as book:
        w = await book.store.inbox.get(id)
        if w is None:
            raise _unknown(id, settings)
        body, now = _body(book, w), book.clock.now_us()
    if as_json:
        names = {"references": w.references, "refs": w.refs, "headers": dict(w.headers)}
        put_json({**_view(w), **names, "bodyBytes": len(w.body), "body": body})
        return OK
    put(f"{w.id}  {clean(w.account)}  {clean(w.kind)}  {w.state}")
    often = "once" if w.deliveries == 1 else f"{w.deliveries} times"
    put(f"event {clean(w.event)}, delivered {often}, first {stamp(w.received_us)} ({relative(w.received_us, now)})")
    put(f"Payment     {', '.join(w.payment_ids) or f'not found, looked for {w.tries} times'}")
    if w.due_us is not None:
        put(f"Due         {relative(w.due_us, now)}")
    put(f"References  {clean(', '.join(w.references)) or 'none of ours'}")
    put(f"Their ids   {clean(', '.join(w.refs)) or 'none'}")
    for name, value in w.headers:
        put(f"{clean(name)}: {clean(value)}")
    put("")
    put(_printed(body) if body else f"Nothing of its {len(w.body)} bytes may be shown.")
    if w.state == "unmatched":
        say(f"Its payment was not found in three days. `payonce webhooks replay {w.id}` looks again.")
    return OK


async def _replay(settings: Settings, id: str | None, *, as_json: bool) -> int:
    async with changing(settings) as kept:
        now, inbox = SystemClock().now_us(), kept.store.inbox
        wanted = [id] if id is not None else [w for state in WITHOUT_PAYMENT for w in await _all(inbox, state)]
        done = [each for each in wanted if await replay_one(inbox, each, now)]
        told = await _hinted(settings, kept, done)
    if id is not None and not done:
        raise _unknown(id, settings)
    if as_json:
        put_json({"replayed": done})
        return OK
    put(f"{counted(len(done), 'webhook')} will be looked up again.")
    if done:
        say(f"{_when(settings, all_told=told == len(done))}; `payonce webhooks list` shows the end.")
    return OK


async def _hinted(settings: Settings, kept: Kept, ids: list[str]) -> int:
    """Tell the queue, where there is one; how many of them it is known to have. One that it has not is due all the same."""
    queue_url = settings.text("wake.queue_url")
    if kept.aws is None or not queue_url:
        return 0
    wake = SqsWake(kept.aws, queue_url, SystemClock())
    for id in ids:
        wake.send(id)
    return await wake.flush()


def _when(settings: Settings, *, all_told: bool) -> str:
    """Who does it, and how soon."""
    if not settings.on_dynamodb:
        return "A running `payonce serve` or `payonce worker` does it within a second"
    if all_told:
        return "The queue is told: a worker does it within seconds"
    return "The sweeper finds them within a minute, a running `payonce serve` or `payonce worker` on these tables sooner"


async def _all(inbox: Inbox, state: WebhookState) -> list[str]:
    """Ids of all webhooks in a state."""
    found, cursor = list[str](), None
    while True:
        page = await inbox.list(LIMIT_MAX, state=state, cursor=cursor)
        found += [w.id for w in page.webhooks]
        if (cursor := page.next) is None:
            return found


def _unknown(id: str, settings: Settings) -> Exit:
    return Exit(
        NOT_FOUND,
        f"payonce: there is no webhook {clean(id)[:80]!r} in {settings.kept_at}. Nothing was changed.\n"
        "`payonce webhooks list` shows them; matched ones are kept for 30 days.",
    )


def _view(w: Webhook) -> dict[str, Any]:
    return {
        "id": w.id,
        "account": w.account,
        "event": w.event,
        "kind": w.kind,
        "state": w.state,
        "payments": w.payment_ids,
        "deliveries": w.deliveries,
        "tries": w.tries,
        "receivedAt": stamp(w.received_us),
        "lastDeliveryAt": stamp(w.last_us),
        "dueAt": None if w.due_us is None else stamp(w.due_us),
    }


def _row(w: Webhook, now: int) -> tuple[str, ...]:
    due = "" if w.due_us is None else relative(w.due_us, now)
    payments = ",".join(w.payment_ids)
    counts = (str(w.deliveries), str(w.tries))
    return (w.id, w.account, w.kind, w.state, payments, *counts, due, stamp(w.received_us), relative(w.received_us, now))


def _body(book: Books, w: Webhook) -> Any:
    """What the adapter shows of it; without the adapter, nothing."""
    account = book.outside.accounts.get(w.account)
    return provider_body(account.adapter if account else None, w.body)


def _printed(body: Any) -> str:
    """For a person: JSON by line, and nothing that moves the cursor."""
    text = body if isinstance(body, str) else msgspec.json.format(msgspec.json.encode(body), indent=2).decode()
    return "\n".join(clean(line) for line in text.splitlines())
