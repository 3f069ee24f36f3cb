"""Keys, the configuration that holds and the journal, as callers see them: never a secret, no salt and no hash."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from payonce.core.payment import Mode

_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-24T09:30:00.123456Z"])]
_Cursor = Annotated[str | None, Meta(description="Pass it as `cursor` for the next page; null = no more.")]
KEY_ID: Final = "^key_[0-9a-hjkmnp-tv-z]{20}$"
EXAMPLE_KEY_ID: Final = "key_01kav0r2c05d8k3t9w1m"


class KeyBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """An API key on record. Its text was shown once, when it was made; nobody can read it again."""

    id: Annotated[str, Meta(description="Its id, as the record names it.", pattern=KEY_ID, examples=[EXAMPLE_KEY_ID])]
    name: Annotated[str | None, Meta(description="For people.", examples=["checkout"])]
    scopes: Annotated[list[str], Meta(description="What it may do.", examples=[["payments:write"]])]
    mode: Annotated[Mode, Meta(description="Of which payments.", examples=["test"])]
    state: Annotated[
        Literal["live", "ending", "expired", "revoked"],
        Meta(description="`ending`: it is replaced, and good for a while. Only `live` and `ending` open.", examples=["live"]),
    ]
    rate_per_s: Annotated[
        int | None, Meta(description="Requests a second it may make; null: as the settings say.", examples=[None])
    ]
    created_at: Annotated[_Time, Meta(description="When it was made.")]
    expires_at: Annotated[_Time | None, Meta(description="When it expires; null: never.")]
    ends_at: Annotated[_Time | None, Meta(description="From when on it opens nothing, revoked or replaced; null: not.")]
    successor: Annotated[str | None, Meta(description="The key that replaces it.", examples=[None])]
    current: Annotated[bool, Meta(description="It is the one that asks here.", examples=[False])]


class KeyPage(Struct, frozen=True, rename="camel"):
    """One page of a merchant's keys of a mode, newest first."""

    data: Annotated[list[KeyBody], Meta(description="The keys.")]
    next_cursor: _Cursor


class SettingBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """One setting."""

    key: Annotated[str, Meta(description="Its place in payonce.toml.", examples=["server.port"])]
    value: Annotated[
        str | int, Meta(description="What holds. References to secrets are shown, secrets are not.", examples=[8080])
    ]
    origin: Annotated[str, Meta(description="Where it comes from.", examples=["environment PAYONCE_PORT"])]
    env: Annotated[str, Meta(description="The environment variable that sets it.", examples=["PAYONCE_PORT"])]
    says: Annotated[str, Meta(description="What it means.", examples=["port to bind; 0 takes a free one"])]


class ConfiguredBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """A provider account as configured."""

    name: Annotated[str, Meta(description="Its name.", examples=["razorpay_mock"])]
    adapter: Annotated[str, Meta(description="The code that speaks to the provider.", examples=["razorpay"])]
    mode: Annotated[Mode, Meta(description="Test or live.", examples=["test"])]
    base_url: Annotated[str, Meta(description="Where it is.", examples=["https://api.razorpay.com"])]
    credentials: Annotated[
        dict[str, str],
        Meta(description="References to its secrets, never the secrets.", examples=[{"key_secret": "env:RZP_SECRET (set)"}]),
    ]
    terms: Annotated[
        dict[str, Any], Meta(description="Times that differ from the adapter's own.", examples=[{"timeout_ms": 7000}])
    ]
    merchants: Annotated[
        list[str] | Literal["*"], Meta(description="Whose payments it takes; `*`: everybody's.", examples=["*"])
    ]
    calls_max: Annotated[int | None, Meta(description="Calls at once of one process; null: no limit.", examples=[None])]
    origin: Annotated[str, Meta(description="Where it stands.", examples=["payonce.toml, line 7"])]


class ConfigurationBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """The configuration that holds in the process that answers, as `payonce config show` has it."""

    file: Annotated[str, Meta(description="The configuration file, or `no file`.", examples=["payonce.toml"])]
    kept_at: Annotated[str, Meta(description="Where payments are kept.", examples=["payonce-data/payments.db"])]
    settings: Annotated[list[SettingBody], Meta(description="Every setting with its value and origin.")]
    providers: Annotated[list[ConfiguredBody], Meta(description="The provider accounts.")]
    warnings: Annotated[list[str], Meta(description="What is allowed and probably not meant.", examples=[[]])]


class JournalEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """What somebody did to merchants, keys, endpoints, webhooks, switches or holds. It was put on record before it was done."""

    seq: Annotated[int, Meta(description="Its number; there is none missing between.", ge=1, examples=[42])]
    at: Annotated[_Time | None, Meta(description="When; null: the entry cannot be read here.")]
    actor: Annotated[str, Meta(description="Who, and from where.", examples=["key_01kav0r2c05d8k3t9w1m@203.0.113.7"])]
    what: Annotated[str, Meta(description="What was done.", examples=["key.created"])]
    subject: Annotated[str, Meta(description="To what: an id.", examples=[EXAMPLE_KEY_ID])]
    merchant_id: Annotated[str | None, Meta(description="Whose it is.", examples=["mer_default"])]
    mode: Annotated[str | None, Meta(description="Test or live.", examples=["test"])]
    request_id: Annotated[str | None, Meta(description="The request that did it.", examples=["req_5f0c2d9e81b7a3460d1e"])]
    data: Annotated[
        dict[str, str | int | bool],
        Meta(description="What was set, without secrets; the `reason` too.", examples=[{"reason": "The laptop was lost."}]),
    ]
    hash: Annotated[
        str, Meta(description="Of the entry's bytes; the next entry names it.", pattern="^[0-9a-f]{64}$", examples=["5f" * 32])
    ]
    readable: Annotated[
        bool,
        Meta(
            description="False: damaged, or written by a newer payonce. `payonce verify` looks at the whole chain.",
            examples=[True],
        ),
    ]


class JournalPage(Struct, frozen=True, rename="camel"):
    """One page of the journal, newest first."""

    data: Annotated[list[JournalEntry], Meta(description="The entries.")]
    next_cursor: _Cursor
