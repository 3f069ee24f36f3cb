"""Keys of one's own, the configuration that holds, and the journal: nothing in them is a secret."""

from typing import Any, Final

import msgspec

from payonce.config import warnings_of
from payonce.core.events import digest
from payonce.core.redact import mask, masked
from payonce.effective import account_view, setting_rows
from payonce.merchants.journal import ACT_V, KIND, Act
from payonce.merchants.keys import ApiKey
from payonce.ports import Record
from payonce.shown.settings_bodies import (
    ConfigurationBody,
    ConfiguredBody,
    JournalEntry,
    JournalPage,
    KeyBody,
    KeyPage,
    SettingBody,
)
from payonce.shown.views import stamp

from .house import House, require_house, there
from .inbox import no_cursor
from .incoming import Query, Request
from .payments import NO_STORE
from .problems import Answer

SETTINGS_LIMIT, SETTINGS_LIMIT_MAX = 50, 100
SEQ_MAX: Final = 999_999_999

_encode: Any = msgspec.json.Encoder().encode


class SettingsDoor:
    """The handlers."""

    def __init__(self, house: House | None) -> None:
        self._given = house

    @property
    def _house(self) -> House:
        return there(self._given)

    async def keys(self, request: Request) -> Answer:
        """Of the caller's merchant and mode, newest first. All keys are read (5,000 at most), as the door does every 2 s."""
        query = Query(request, ("cursor", "limit"))
        cursor, limit = query.text("cursor"), query.number("limit", 1, SETTINGS_LIMIT_MAX, SETTINGS_LIMIT)
        query.check()
        caller, now = request.caller, self._house.clock.now_us()
        scope = caller.scope
        every = sorted(await self._house.keys.all(), key=lambda key: key.id, reverse=True)
        own = [k for k in every if (k.merchant_id, k.mode) == (scope.merchant_id, scope.mode) and (not cursor or k.id < cursor)]
        asks = caller.key.id if caller.key else ""
        data = [_key_body(key, now, current=key.id == asks) for key in own[:limit]]
        return Answer(200, _encode(KeyPage(data, data[-1].id if len(own) > limit else None)), headers=NO_STORE)

    async def configuration(self, request: Request) -> Answer:
        require_house(request)
        Query(request).check()
        settings = self._house.settings
        body = ConfigurationBody(
            file=settings.file,
            kept_at=settings.kept_at,
            settings=msgspec.convert(setting_rows(settings), list[SettingBody]),
            providers=msgspec.convert([account_view(p) for p in settings.providers], list[ConfiguredBody]),
            warnings=warnings_of(settings),
        )
        return Answer(200, _encode(body), headers=NO_STORE)

    async def journal(self, request: Request) -> Answer:
        """Newest first. All records are read for each page, as the registry has no ranges (10,000 are some 5 MB), and those of
        the page are decoded. Whether the chain holds is not looked at here: `payonce verify` does."""
        require_house(request)
        query = Query(request, ("cursor", "limit"))
        before, limit = query.text("cursor"), query.number("limit", 1, SETTINGS_LIMIT_MAX, SETTINGS_LIMIT)
        query.check()
        if before is not None and not (before.isascii() and before.isdecimal() and 1 < int(before[:12]) <= SEQ_MAX):
            raise no_cursor()
        records = await self._house.registry.all(KIND)
        end = (
            len(records)
            if before is None
            else next((n for n, r in enumerate(records) if _seq(r, n) >= int(before)), len(records))
        )
        page = [_entry(record, n) for n, record in enumerate(records[max(0, end - limit) : end], max(0, end - limit))][::-1]
        more = str(page[-1].seq) if page and end > limit else None
        return Answer(200, _encode(JournalPage(page, more)), headers=NO_STORE)


def _key_body(key: ApiKey, now_us: int, *, current: bool) -> KeyBody:
    """Without salt and hash."""
    return KeyBody(
        id=key.id,
        name=mask(key.name) or None,
        scopes=list(key.scopes),
        mode=key.mode,
        state=key.state(now_us),
        rate_per_s=key.rate_per_s or None,
        created_at=stamp(key.created_us),
        expires_at=stamp(key.expires_us) if key.expires_us else None,
        ends_at=stamp(key.ends_us) if key.ends_us else None,
        successor=key.successor or None,
        current=current,
    )


def _seq(record: Record, n: int) -> int:
    """The number that its name says; the names are in order."""
    return int(record.name) if record.name.isdecimal() else n + 1


def _entry(record: Record, n: int) -> JournalEntry:
    """``n``: how many records are before it."""
    seq, hashed = _seq(record, n), digest(record.value)
    try:
        act = msgspec.json.decode(record.value, type=Act)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        act = None
    if act is None or act.v > ACT_V:
        nothing: dict[str, Any] = dict.fromkeys(("at", "merchant_id", "mode", "request_id"))
        return JournalEntry(seq=seq, actor="", what="", subject="", data={}, hash=hashed, readable=False, **nothing)
    return JournalEntry(
        seq=seq,
        at=stamp(act.at_us),
        actor=act.actor,
        what=act.what,
        subject=mask(act.subject),
        merchant_id=act.merchant_id or None,
        mode=act.mode or None,
        request_id=act.request_id or None,
        data=masked(dict(act.data)),
        hash=hashed,
        readable=True,
    )
