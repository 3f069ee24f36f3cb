"""The page on which a customer approves or declines, over real HTTP."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import httpx2
import pytest

from payonce.sandbox import mock
from payonce.sandbox.outbox import on_this_machine
from payonce.sandbox.pages import page_url, serve_pages_at
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.testing.provider_live import FakeClock, over_socket

BACK = "https://shop.example/back?order=17&x=%22"
PAGE = "/sandbox/pay/mock/1"
Use = Callable[[httpx2.AsyncClient, Sandbox], Awaitable[Any]]


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def served(use: Use, **charge: Any) -> Any:
    """With one charge that waits for its customer."""

    async def main() -> Any:
        app = sandbox_app(":memory:", FakeClock(), {mock.NAME: mock.MockVendor()})
        try:
            async with over_socket(app) as url, httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
                serve_pages_at(app.ledger, url)
                body = {"amount": 1050, "currency": "INR", "reference": "ours", "source": "tok_action", **charge}
                headers = {"authorization": "Bearer x", "idempotency-key": "k"}
                asked = await client.post("/mock/charges", json=body, headers=headers)
                assert asked.json()["action"]["url"] == url + PAGE
                return await use(client, app)
        finally:
            app.close()

    return asyncio.run(main())


async def status(client: httpx2.AsyncClient) -> str:
    found = await client.get("/mock/charges?reference=ours", headers={"authorization": "Bearer x"})
    return str(found.json()["data"][0]["status"])


def test_the_page_shows_what_is_paid_and_asks() -> None:
    """Amount with its currency, our reference, a form with two buttons; no script, nothing inline, a strict policy."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> tuple[Any, Any]:
        page = await client.get(PAGE)
        style = await client.get(str(page.url.join(Elements(page.text).all("link")[0]["href"] or "")))
        return page, style

    page, style = served(use)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "10.50 INR" in page.text
    assert "ours" in page.text
    elements = Elements(page.text)
    (form,), buttons = elements.all("form"), elements.all("button")
    assert form == {"method": "post"}
    assert [(b["name"], b["value"]) for b in buttons] == [("decision", "approve"), ("decision", "decline")]
    assert elements.all("html") == [{"lang": "en"}]
    assert elements.all("meta")[1] == {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert elements.all("script") == elements.all("style") == []
    assert [tag for tag, attributes in elements.found if any(a == "style" or a.startswith("on") for a in attributes)] == []
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert style.content == files("payonce.sandbox").joinpath("style.css").read_bytes()


@pytest.mark.parametrize(("decision", "became"), [("approve", "succeeded"), ("decline", "failed")])
def test_a_decision_leads_back_to_the_shop(decision: str, became: str) -> None:
    """303 to the return address; a second click changes nothing and leads there too."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> Any:
        first = await client.post(PAGE, data={"decision": decision})
        other = "decline" if decision == "approve" else "approve"
        second = await client.post(PAGE, data={"decision": other})
        return first, second, await status(client), await client.get(PAGE)

    first, second, now, page = served(use, return_url=BACK)
    assert [(a.status_code, a.headers["location"]) for a in (first, second)] == [(303, BACK)] * 2
    assert now == became
    assert Elements(page.text).all("form") == []
    assert became in page.text
    assert Elements(page.text).all("a") == [{"href": BACK}]


@pytest.mark.parametrize(
    "back", ["", "javascript:alert(1)", "/relative", "https:///none", "https://a.example/\r\nx: y", "http://[::1"]
)
def test_without_an_address_to_go_back_to_the_page_says_what_became_of_it(back: str) -> None:
    """Only an absolute http(s) address is followed or shown; else the page itself is shown, by a GET."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> Any:
        decided = await client.post(PAGE, data={"decision": "approve"})
        return decided, await client.get(str(decided.url.join(decided.headers["location"])))

    decided, page = served(use, return_url=back)
    assert (decided.status_code, page.status_code, page.url.path) == (303, 200, PAGE)
    assert "succeeded" in page.text
    assert Elements(page.text).all("a") == []


@pytest.mark.parametrize(
    "path", ["/mock/2", "/mock/0", "/mock/x", "/mock/" + "9" * 30, "/mock/%C2%B2", "/nobody/1", "/sandbox/1"]
)
def test_an_unknown_payment_is_404(path: str) -> None:
    """For people, in HTML; deciding it is a 404 too and decides nothing."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> Any:
        answers = [
            await client.get("/sandbox/pay" + path),
            await client.post("/sandbox/pay" + path, data={"decision": "approve"}),
        ]
        return answers, await status(client)

    answers, now = served(use)
    assert [(a.status_code, "no such payment" in a.text) for a in answers] == [(404, True)] * 2
    assert now == "requires_action"


@pytest.mark.parametrize("form", [b"", b"decision=maybe", b"decision=approve&decision=decline", b"x" * 5000, b"\xff\xfe"])
def test_a_form_that_says_nothing_clear_decides_nothing(form: bytes) -> None:
    """400, and the customer can still decide."""

    async def use(client: httpx2.AsyncClient, _: Sandbox) -> Any:
        return await client.post(PAGE, content=form), await status(client)

    answer, now = served(use)
    assert (answer.status_code, now) == (400, "requires_action")


def test_a_page_of_an_expired_action_has_nothing_to_decide() -> None:
    """The time is over by the clock alone; a click that comes then changes nothing."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> Any:
        await app.clock.sleep(1800)
        await client.post(PAGE, data={"decision": "approve"})
        return await client.get(PAGE), len(app.ledger.movements())

    page, movements = served(use, return_url=BACK)
    assert (Elements(page.text).all("form"), movements) == ([], 0)
    assert "failed" in page.text


def test_what_a_merchant_wrote_is_shown_as_text() -> None:
    """Markup in a reference is no markup on the page; a currency that nobody knows is shown in minor units."""

    async def use(client: httpx2.AsyncClient, app: Sandbox) -> str:
        body = {"amount": 7, "currency": "XYZ", "reference": "<b>x</b>'\"&", "source": "tok_action"}
        await client.post("/mock/charges", json=body, headers={"authorization": "Bearer x", "idempotency-key": "2"})
        return (await client.get("/sandbox/pay/mock/2")).text

    text = served(use)
    assert "&lt;b&gt;x&lt;/b&gt;&#x27;&quot;&amp;" in text
    assert Elements(text).all("b") == []
    assert "7 XYZ" in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:80", "http://127.0.0.1:80"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("https://pay.example/", "https://pay.example"),
    ],
)
def test_addresses_begin_where_the_pages_are_served(url: str, shown: str) -> None:
    """A server on every address is reached at the loopback address; one with a name under its name."""
    app = sandbox_app(":memory:", FakeClock(), {})
    serve_pages_at(app.ledger, url)
    assert page_url(app.ledger, "mock", 7) == f"{shown}/sandbox/pay/mock/7"
    app.close()


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "http://shop.example", "ftp://127.0.0.1", "nonsense", "http://"])
def test_other_machines_are_not_this_one(url: str) -> None:
    """What is registered without being asked for stays on this machine."""
    assert on_this_machine(url) == ""


def test_both_schemes_have_enough_contrast() -> None:
    """Text on its background reaches WCAG AA (4.5 to 1), light and dark; buttons' borders 3 to 1."""
    style = files("payonce.sandbox").joinpath("style.css").read_text(encoding="utf-8")
    pairs = {m[1]: (m[2], m[3]) for m in re.finditer(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", style)}
    for scheme in (0, 1):
        color = {name: both[scheme] for name, both in pairs.items()}
        for text, ground in (("text", "card"), ("text", "page"), ("soft", "card"), ("act", "card"), ("on-act", "act")):
            assert contrast(color[text], color[ground]) >= 4.5, (scheme, text, ground)
        assert contrast(color["line"], color["card"]) >= 3


def contrast(one: str, two: str) -> float:
    """The ratio of WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
