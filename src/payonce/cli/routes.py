"""``payonce routes``: the routing rules in plain words, and the route of a payment that is not made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from payonce.accounts import offers_of
from payonce.config import Settings
from payonce.core.errors import ConfigError, Refused
from payonce.core.idempotency import NewPayment, normalise
from payonce.core.money import display
from payonce.core.payment import Candidate
from payonce.core.routing import MERCHANT_ID, Asked, Route, Rule, Rules, conditions, route
from payonce.dryrun import TOML_BYTES_MAX, Tried, dry_run_body, over_last, tried, warnings_about
from payonce.effective import high_value_view, rule_view
from payonce.merchants import DEFAULT_MERCHANT
from payonce.ports import Scope
from payonce.providers import load_adapters
from payonce.shown.routing_bodies import LAST_MAX, DryRunBody

from . import OK, REFUSED, USAGE
from .app import exit_code, wait_for
from .config import put_rules
from .options import HERE, STRICT, Exit, Json, Where, closest
from .output import clean, put, put_json, say, table
from .pages import Pages
from .pay import metadata_of
from .reading import books

SIMULATE_S_MAX: Final = 60  # seconds; a command may take longer than a request

app = App(
    name="routes",
    help="The routing rules, and which account takes a payment and why.",
    help_formatter=Pages(),
    default_parameter=STRICT,
)


@app.command
def check(*, where: Where = HERE, json: Json = False) -> int:
    """The rules in plain words, and what in them is probably not meant.

    A file that is not accepted ends with 2, and the message names line and reason."""
    settings = where.settings()
    offers = offers_of(settings.providers, load_adapters())
    here = [p.name for p in settings.providers if p.mode == settings.mode]
    whose = {p.name: p.merchants for p in settings.providers}
    found = warnings_about(settings.rules, settings, offers)
    if json:
        put_json(
            {
                "rules": [rule_view(rule) for rule in settings.rules.rules],
                "origin": settings.rules_origin,
                "highValue": high_value_view(settings),
                "accounts": here,
                "merchants": {name: "*" if (ids := whose[name]) is None else ids for name in here},
                "warnings": found,
            }
        )
        return OK
    put_rules(settings)
    put(f"accounts ({settings.mode} mode): {', '.join(here) or 'none'}")
    for each in settings.providers:
        if each.name in here and each.merchants is not None:
            put(f"{each.name} takes payments of {each.whose} only")
    for warning in found:
        put(f"warning: {warning}")
    return OK


@app.command
def explain(
    *,
    amount: int,
    currency: str,
    method: str = "",
    client: str = "",
    merchant: str = DEFAULT_MERCHANT,
    provider: str = "",
    metadata: Annotated[list[str] | None, Parameter(name="--metadata")] = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """The route that a payment would have, and why.

    Nothing is accepted or sent. When no account can take it, the exit code is 5. Accounts of other merchants are shown here;
    to the merchant itself they do not exist.

    Parameters
    ----------
    amount
        Minor units, such as 1050 for 10.50 INR.
    currency
        ISO 4217 code.
    method
        The type of its payment method (paymentMethod.type), such as card.
    client
        Its label (clientId).
    merchant
        Whose payment it is.
    provider
        The account that the request names.
    metadata
        name=value; may be repeated. Values are taken as JSON where they are JSON.
    """
    settings = where.settings()
    if not MERCHANT_ID.fullmatch(merchant):
        raise Exit(
            USAGE, f"payonce: {clean(merchant)[:80]!r} is no merchant's id (mer_...). `payonce merchant list` shows them."
        )
    offers = offers_of((p for p in settings.providers if p.serves(merchant)), load_adapters())
    fields: dict[str, Any] = {"amount": amount, "currency": currency, "clientId": client, "provider": provider or None}
    fields |= {"paymentMethod": {"type": method}, "metadata": metadata_of(metadata or [])}
    request = _request(fields)
    asked = _asked(settings, request, merchant)
    chosen = _with_foreign(route(settings.rules, asked, offers), settings, merchant)
    passed = _passed_over(settings.rules, asked, chosen)
    if json:
        _put_json(chosen, passed)
    else:
        put(f"{display(request.amount_minor, request.currency)}: {_chosen_by(settings.rules, asked, chosen)}")
        table(("PLACE", "ACCOUNT", "WHY"), _rows(chosen))
        for rule, why in passed:
            put(f"not {rule.title}: {clean(why)}")
    if chosen.taken:
        return OK
    accounts = [p.name for p in settings.providers if p.mode == settings.mode and p.serves(merchant)]
    meant = closest(provider, accounts) if provider and provider not in accounts else ""
    say(f"It would be refused: no_route.{meant}")
    return REFUSED


@app.command
def simulate(
    file: Path,
    /,
    *,
    last: Annotated[int, Parameter(name=["--last", "-n"])] = 1000,
    merchant: str = DEFAULT_MERCHANT,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Try changed rules on payments that were made: which account would have been asked first.

    Not what would have become of a payment: that only its provider could tell. Nothing is stored or sent. Accounts are those of
    the configuration in force, blocked or not. It stops after a minute and says so. A file that is not accepted ends with 2,
    and the message names line and reason.

    Parameters
    ----------
    file
        A changed payonce.toml, or a file with [[rules]] and [routing.high_value] alone. Other parts are not looked at.
    last
        On so many of the newest payments, 1 to 10,000.
    merchant
        Whose payments.
    """
    settings = where.settings()
    if not 1 <= last <= LAST_MAX:
        raise Exit(USAGE, f"payonce: --last is 1 to {LAST_MAX}.")
    if not MERCHANT_ID.fullmatch(merchant):
        raise Exit(USAGE, f"payonce: {clean(merchant)[:80]!r} is no merchant's id (mer_...).")
    changed = tried(_text(file), settings, offers_of(settings.providers, load_adapters()), str(file))
    return wait_for(_simulate(settings, changed, Scope(merchant, settings.mode), last, as_json=json))


async def _simulate(settings: Settings, changed: Tried, scope: Scope, last: int, *, as_json: bool) -> int:
    async with books(settings) as book:
        found = await over_last(
            book.store, scope, book.outside, changed.rules, last=last, clock=book.clock, run_s=SIMULATE_S_MAX
        )
    body = dry_run_body(found, changed)
    if as_json:
        put_json(msgspec.to_builtins(body))
        return OK
    _put_found(body)
    return OK


def _put_found(body: DryRunBody) -> None:
    put(f"would have changed {body.changed:,} of {body.of:,} payments: another account would have been asked first")
    if body.groups:
        head = ("PAYMENTS", "FROM", "TO", "RULE BEFORE", "RULE AFTER", "SUCH AS")
        rows = [
            (str(g.count), g.came_from or "none", g.to or "none", g.from_rule or "none", g.to_rule or "none", g.examples[0])
            for g in body.groups
        ]
        table(head, rows)
    told = (
        (body.reordered, "keep the first account, with another rule or order behind it"),
        (body.unroutable, "would have been refused: no account could have taken them"),
        (body.named, "name an account themselves: no rule is asked"),
        (body.cannot_tell, "cannot be told: their customer data was erased"),
    )
    for many, says in told:
        if many:
            put(f"{many:,} {says}")
    for warning in body.warnings:
        put(f"warning: {clean(warning)}")
    if body.groups_left_out:
        say(f"{body.groups_left_out} smaller groups are not shown.")
    if body.truncated:
        say(f"Time ran out: only {body.of:,} were looked at.")


def _text(file: Path) -> str:
    """Raises ConfigError."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(TOML_BYTES_MAX + 1)
        return raw.decode("utf-8", "strict" if len(raw) <= TOML_BYTES_MAX else "replace")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}. Nothing was changed.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text. Save it as UTF-8. Nothing was changed.") from error


def _put_json(chosen: Route, passed: list[tuple[Rule, str]]) -> None:
    skipped = [_why(c) for c in chosen.candidates if not c.taken]
    over = [{"rule": rule.name, "why": why} for rule, why in passed]
    put_json({"rule": chosen.rule, "candidates": [_why(c) for c in chosen.taken], "skipped": skipped, "passedOver": over})


def _with_foreign(chosen: Route, settings: Settings, merchant: str) -> Route:
    """For the operator: the accounts that the merchant does not see."""
    why = f"does not serve {merchant}, to which there is no such account"
    foreign = {p.name: Candidate(account=p.name, why=why, taken=False) for p in settings.providers if not p.serves(merchant)}
    own = [c for c in chosen.candidates if c.account not in foreign]
    return Route(rule=chosen.rule, candidates=(*own, *foreign.values()))


def _request(fields: dict[str, Any]) -> NewPayment:
    """No payment is made, so a refusal says nothing of its money and its key."""
    try:
        return normalise(fields)
    except Refused as refused:
        raise Exit(exit_code(refused), f"payonce: {clean(refused.detail)} ({refused.code})") from None


def _asked(settings: Settings, request: NewPayment, merchant: str) -> Asked:
    return Asked(
        mode=settings.mode,
        currency=request.currency,
        amount_minor=request.amount_minor,
        merchant_id=merchant,
        client_id=request.client_id,
        method=request.details.payment_method_type,
        metadata=request.details.metadata,
        provider=request.provider,
    )


def _chosen_by(rules: Rules, asked: Asked, chosen: Route) -> str:
    if asked.provider:
        return f"the request names {clean(asked.provider)}, so no rule is asked"
    if chosen.rule:
        return next(rule.title for rule in rules.rules if rule.name == chosen.rule)
    return "no rule matches" if rules.rules else "there are no rules"


def _rows(chosen: Route) -> Iterator[tuple[str, str, str]]:
    for place, each in enumerate(chosen.taken, 1):
        yield str(place), each.account, each.why
    for each in chosen.candidates:
        if not each.taken:
            yield "skipped", each.account, each.why


def _why(candidate: Candidate) -> dict[str, str]:
    return {"account": candidate.account, "why": candidate.why}


def _passed_over(rules: Rules, asked: Asked, chosen: Route) -> list[tuple[Rule, str]]:
    """The rules before the one that chose, each with what did not match."""
    over: list[tuple[Rule, str]] = []
    for rule in () if asked.provider else rules.rules:
        if rule.name == chosen.rule:
            break
        over.append((rule, ", ".join(each.why for each in conditions(rule, asked, rules) if not each.holds)))
    return over
