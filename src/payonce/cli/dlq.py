"""``payonce dlq list|redrive``: the messages that no worker could handle, and what their payments are now."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from msgspec import Struct

from payonce.awsclient.opening import unusable
from payonce.bootstrap import SystemClock
from payonce.config import Settings
from payonce.core import ids as names
from payonce.core.errors import ConfigError, PayonceError
from payonce.core.redact import mask
from payonce.storage import aws_client
from payonce.wake.sqs import SEEN_MAX, DeadLetter, DeadLetters, Redriven, is_outbound

from . import NOT_FOUND, OK, UNAVAILABLE, USAGE
from .app import wait_for
from .options import HERE, STRICT, Exit, Json, Where
from .output import clean, counted, put, put_json, relative, say, stamp, table
from .pages import Pages
from .reading import Books, books

LIMIT_MAX: Final = 1_000
BODY_CHARS: Final = 60  # of what is shown of a message that is not ours
POISON: Final = "poison: not an id of ours"

app = App(
    name="dlq",
    help="SQS messages that no function could handle. Each is only a hint: what it is about is done without it.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


class State(Struct, frozen=True):
    """What a message's payment, webhook, delivery or notice is now; ``why`` nothing can be said about it, if so."""

    status: str = ""
    due_us: int | None = None
    why: str = ""


@app.command(name="list")
def list_messages(
    *, limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 100, where: Where = HERE, json: Json = False
) -> int:
    """List what is in the dead-letter queue (wake.dead_letter_url), the oldest first, and what each payment is now.

    Nothing is deleted or moved: messages are received, and shown again at once. SQS counts that as one more receive of each,
    and for a moment nobody else can receive them. Order and completeness are approximate, as SQS's are. What is no id of ours
    is shown as poison.

    Parameters
    ----------
    limit
        Messages, 1 to 1000.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise Exit(USAGE, f"payonce: --limit is 1 to {LIMIT_MAX}.")
    return wait_for(_list(where.settings(), limit, as_json=json))


@app.command
def redrive(
    *ids: str,
    everything: Annotated[bool, Parameter(name="--all")] = False,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = SEEN_MAX,
    drop_poison: bool = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Move messages back to the queue that they are for, so that they are looked at at once: those about payments and webhooks
    that were heard to the main queue (wake.queue_url), those about webhooks to merchants to theirs (wake.deliveries_url). It
    moves no money: each is only a hint, and one that comes twice does no harm.

    Each is sent first and deleted after. What is no id of ours (poison) would only come back: it stays. Exit code 3 when
    something named is not there, 6 when a queue did not take something, or is not set; that stays too.

    Parameters
    ----------
    ids
        Those about these payments, webhooks and deliveries, or with these message ids, as in `payonce dlq list`.
    everything
        Instead: all.
    limit
        Messages at most.
    drop_poison
        Delete poison, of all or of what is named by message id.
    """
    if bool(ids) == everything:
        raise Exit(USAGE, "payonce: name payments or messages, or --all. Nothing was changed.")
    if not 1 <= limit <= SEEN_MAX:
        raise Exit(USAGE, f"payonce: --limit is 1 to {SEEN_MAX}. Nothing was changed.")
    wanted = None if everything else {id.strip() for id in ids}
    return wait_for(_redrive(where.settings(), wanted, limit, drop_poison=drop_poison, as_json=json))


async def _list(settings: Settings, limit: int, *, as_json: bool) -> int:
    async with _dead_letters(settings) as dead:
        found = await dead.look(limit)
        about = await dead.standing()
    states, now = await _states(settings, found), SystemClock().now_us()
    if as_json:
        counts = {"visible": about.visible, "hidden": about.hidden, "delayed": about.delayed}
        put_json({"messages": [_view(each, states) for each in found], "approximately": counts})
        return OK
    head = ("ID", "FIRST SEEN", "AGE", "RECEIVED", "STATUS", "DUE", "NOTE", "MESSAGE")
    table(head, [_row(each, states, now) for each in found])
    total = about.visible + about.hidden
    if not found:
        say("The dead-letter queue is empty, as far as SQS shows." if not total else "SQS showed none this time. Look again.")
        return OK
    if total > len(found):
        say(f"{len(found)} of about {total}.")
    say("They are hints only: what is due is settled without them. `payonce dlq redrive --all` has workers look at once.")
    return OK


async def _redrive(settings: Settings, wanted: set[str] | None, limit: int, *, drop_poison: bool, as_json: bool) -> int:
    to_url, deliveries_url = _required(settings, "wake.queue_url"), settings.text("wake.deliveries_url")
    for key in ("wake.queue_url", "wake.deliveries_url"):
        if settings.text(key) and settings.text(key) == settings.text("wake.dead_letter_url"):
            raise ConfigError(f"wake.dead_letter_url and {key} name the same queue. Nothing was changed. Correct one of them.")
    async with _dead_letters(settings) as dead:
        done = await dead.redrive(to_url, deliveries_url=deliveries_url, only=wanted, limit=limit, drop_poison=drop_poison)
    seen = [*done.moved, *done.dropped, *done.poison, *done.failed]
    missing = sorted((wanted or set()) - {name for each in seen for name in (each.body, each.message_id)})
    if len(done.moved) >= limit:
        missing = []  # it may not have come to them
    if as_json:
        names = ("moved", "undeleted", "dropped", "poison", "failed")
        put_json({**{name: [_names(each) for each in getattr(done, name)] for name in names}, "missing": missing})
    else:
        _told(done, missing)
    return UNAVAILABLE if done.failed else NOT_FOUND if missing else OK


def _told(done: Redriven, missing: Sequence[str]) -> None:
    outbound = sum(is_outbound(each.body) for each in done.moved)
    put(f"{counted(len(done.moved) - outbound, 'message')} moved to the main queue.")
    if outbound:
        put(f"{counted(outbound, 'message')} moved to the queue of deliveries.")
    if done.dropped:
        put(f"{counted(len(done.dropped), 'poison message')} deleted.")
    if done.undeleted:
        say(f"{len(done.undeleted)} of the moved are in both queues now: harmless. Redrive again to take them out.")
    if done.failed:
        told = any(is_outbound(each.body) for each in done.failed)
        hint = " Those about webhooks to merchants need wake.deliveries_url." if told else ""
        say(f"Its queue did not take {counted(len(done.failed), 'message')}: left here. Try again.{hint}")
    if done.poison:
        say(f"{counted(len(done.poison), 'message')} left: poison, not an id of ours. --drop-poison deletes it.")
    if missing:
        names = ", ".join(clean(each)[:80] for each in missing)
        say(f"payonce: not in the dead-letter queue now: {names}. Nothing depends on it.")


@asynccontextmanager
async def _dead_letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    """The queue that the settings name. Raises ConfigError when they name none, or when AWS cannot be asked at all."""
    queue_url = _required(settings, "wake.dead_letter_url")
    clock = SystemClock()
    async with aws_client(clock) as aws:
        if error := unusable(await aws.call("sqs", "GetQueueAttributes", {"QueueUrl": queue_url})):
            raise error
        yield DeadLetters(aws, queue_url, clock)


def _required(settings: Settings, key: str) -> str:
    if url := settings.text(key):
        return url
    variable, output = {
        "wake.dead_letter_url": ("PAYONCE_DEAD_LETTER_URL", "DeadLetterUrl"),
        "wake.queue_url": ("PAYONCE_QUEUE_URL", "QueueUrl"),
    }[key]
    raise ConfigError(
        f"{key} is not set, so there is no queue to work on. Nothing was changed. Set {variable} to the queue's URL (output "
        f"{output} of the deployed stack), or {key.partition('.')[2]} under [wake] in payonce.toml."
    )


# --- what they are about ----------------------------------------------------------------------------------------------


async def _states(settings: Settings, letters: Sequence[DeadLetter]) -> dict[str, State]:
    """By the id in the message. A store that cannot be read is no reason to show nothing."""
    wanted = dict.fromkeys(each.body for each in letters if each.hint is not None)
    if not wanted:
        return {}
    try:
        async with books(settings) as book:
            return {id: await _state(book, id) for id in wanted}
    except (Exit, PayonceError) as error:
        why = f"the store cannot be read: {str(error).removeprefix('payonce: ').splitlines()[0]}"
        return {id: State(why=why) for id in wanted}


async def _state(book: Books, id: str) -> State:
    try:
        if (p := await book.store.get(id)) is not None:
            return State(p.status, await book.store.due_of(id))
        if (w := await book.store.inbox.get(id)) is not None:
            return State(w.state, w.due_us)
        if (d := await book.store.outbox.get(id)) is not None:
            return State(d.state, d.due_us)
        if id.startswith(names.NOTICE):
            seq = await book.store.outbox.noticed(f"pay_{id.removeprefix(names.NOTICE)}")
            return State("told" if seq is None else f"news from event {seq} on")
    except PayonceError as error:
        return State(why=f"cannot be read: {str(error).splitlines()[0]}")
    return State(why="not in this store")


def _view(letter: DeadLetter, states: dict[str, State]) -> dict[str, Any]:
    state = states.get(letter.body, State(why=POISON))
    return {
        **_names(letter),
        "about": letter.hint,
        "sentAt": stamp(letter.sent_us),
        "firstSeenAt": stamp(letter.first_us),
        "receiveCount": letter.received,
        "status": state.status or None,
        "dueAt": None if state.due_us is None else stamp(state.due_us),
        "why": state.why or None,
    }


def _names(letter: DeadLetter) -> dict[str, str]:
    return {"messageId": letter.message_id, "id": _id(letter)}


def _row(letter: DeadLetter, states: dict[str, State], now: int) -> tuple[str, ...]:
    state = states.get(letter.body, State(why=POISON))
    seen = (stamp(letter.first_us), relative(letter.first_us, now), str(letter.received))
    due = "" if state.due_us is None else relative(state.due_us, now)
    return (_id(letter), *seen, state.status, due, state.why, letter.message_id)


def _id(letter: DeadLetter) -> str:
    """The id, or the beginning of what stands there instead: anything may, so card numbers are masked."""
    return letter.body if letter.hint else mask(letter.body)[:BODY_CHARS]
