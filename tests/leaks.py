"""What is planted and looked for by test_secrets_everywhere.py: values that must not come out, a vendor that repeats
them in all its answers, and the search for them in whatever came out."""

import base64
import json
import re
from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
TEXTS = (
    "message",
    "description",
    "msg",
    "error_description",
    "error_Message",
    "field9",
    "detail",
    "details",
    "note",
    "reason_text",
)


class Plants(NamedTuple):
    """Each value once, by what it is."""

    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def echo(self, *of: str) -> str:
        """What a careless vendor writes into its texts: all of them, or those whose names begin so."""
        chosen = {name: value for name, value in self.values.items() if not of or name.startswith(of)}
        return " ".join(f"{name}={value}" if "secret" in name else value for name, value in chosen.items())


def word(dice: Random, chars: int) -> str:
    return "".join(dice.choice(LETTERS) for _ in range(chars))


def card(dice: Random) -> str:
    """A Luhn-valid number of 16 digits in an issuer's range."""
    digits = dice.choice(("4", "51", "2221", "6011", "35"))
    digits += "".join(dice.choice("0123456789") for _ in range(15 - len(digits)))
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def planted(seed: int) -> Plants:
    dice = Random(seed)
    fours = card(dice)
    return Plants(
        {
            "card": card(dice),
            "card with spaces": " ".join(fours[i : i + 4] for i in range(0, 16, 4)),
            "card at the vendor": card(dice),
            "card in a webhook": card(dice),
            "mock secret": word(dice, 24),
            "mock webhook_secret": f"whsec_{word(dice, 24)}",
            "stripe api_key": f"sk_test_{word(dice, 30)}",
            "razorpay key_secret": word(dice, 24),
            "payu salt": word(dice, 32),
            "cashfree client_secret": f"cfsk_ma_test_{word(dice, 32)}",
            "bearer of the vendor": f"Bearer {word(dice, 40)}",
            "customer token": f"pm_{word(dice, 24)}",
            "customer email": f"{word(dice, 9).lower()}@shop.example",
        }
    )


class Careless:
    """A vendor that repeats what it should not: in every text and in new fields of each JSON answer of the app behind it.
    ``secret`` is what that app takes as its own."""

    def __init__(self, app: ASGIApp, plants: Plants, secret: str) -> None:
        self._app, self._plants, self._secret = app, plants, secret
        self.answers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [(n, v) for n, v in scope["headers"] if n != b"authorization"]
        scope = {**scope, "headers": [*headers, (b"authorization", f"Bearer {self._secret}".encode())]}
        held: list[Message] = []

        async def spoil(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.append(message)
                return
            body = self._spoilt(message.get("body", b""))
            kept = [(n, v) for n, v in held[0]["headers"] if n != b"content-length"]
            more = (b"x-debug", quote(self._plants.echo()).encode())
            await send({**held[0], "headers": [*kept, more, (b"content-length", b"%d" % len(body))]})
            await send({**message, "body": body})

        await self._app(scope, receive, spoil)

    def _spoilt(self, body: bytes) -> bytes:
        try:
            document = json.loads(body)
        except ValueError:
            return body
        self.answers += 1
        return json.dumps(careless(document, self._plants.echo())).encode()


def careless(document: Any, echo: str) -> Any:
    """The same document with ``echo`` in each free text, and in new fields of each object."""
    if isinstance(document, list):
        return [careless(each, echo) for each in document]
    if not isinstance(document, dict):
        return document
    said = {name: echo if name in TEXTS and isinstance(v, str) else careless(v, echo) for name, v in document.items()}
    return {**said, "echo": echo, "card": {"number": echo}, "client_secret_9": echo}


def found(value: str, text: str) -> bool:
    """A planted value stands in a text, as it is or as programs write it."""
    bare = value.removeprefix("Bearer ")
    forms = {bare, quote(bare), quote(bare, safe=""), json.dumps(bare)[1:-1], repr(bare)[1:-1]}
    forms |= {base64.b64encode(f"{pad}{bare}".encode()).decode()[4:-4] for pad in ("", "a", "ab")}
    if digits := re.sub(r"\D", "", bare) if not re.search("[a-zA-Z]", bare) else "":
        return digits in re.sub(r"(?<=\d)[\s\-./_+]+(?=\d)", "", text) or any(form in text for form in forms)
    return any(form in text for form in forms)


def leaks(plants: Plants, outputs: Mapping[str, str], may: Mapping[str, Mapping[str, str]]) -> list[str]:
    """``value: output`` of each that stands where it must not. ``may``: value -> outputs that may hold it, with the reason."""
    return [
        f"{name}: {output}"
        for output, text in outputs.items()
        for name, value in plants.values.items()
        if output not in may.get(name, {}) and found(value, text)
    ]
