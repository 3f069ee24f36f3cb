"""Who gets into the dashboard, and who does not get in any more."""

from typing import Any, cast

import pytest

from payonce.dashboard.incoming import Came, own_path
from payonce.dashboard.signing_in import TRIES_BURST
from payonce.merchants.forwarded import FORWARDED

from .house import House


def _in(house: House, token: str) -> bool:
    """A browser with this cookie sees a page."""
    visitor = house.visitor()
    visitor.http.cookies.set("payonce_session", token, path="/dashboard")
    return visitor.get("/nothing-here").status_code == 404


def test_a_ticket_signs_in_once(house: House) -> None:
    """The first who opens the address is in, with a cookie that scripts cannot read; the second is told why not."""
    ticket = house.ticket("payments:read")
    first = house.visitor()
    answer = first.get(f"/sign-in?ticket={ticket}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/dashboard;" in cookie
    assert first.get("/nothing-here").status_code == 404

    again = house.visitor().get(f"/sign-in?ticket={ticket}")
    assert again.status_code == 403
    assert "payonce dashboard" in again.text
    assert "set-cookie" not in again.headers


def test_a_look_ahead_does_not_use_the_ticket_up(house: House) -> None:
    """HEAD and a browser's prefetch leave it to who really opens it."""
    ticket = house.ticket()
    visitor = house.visitor()
    visitor.http.head(f"/dashboard/sign-in?ticket={ticket}")
    assert visitor.get(f"/sign-in?ticket={ticket}", sec_purpose="prefetch").status_code == 403
    assert visitor.get(f"/sign-in?ticket={ticket}").status_code == 303


@pytest.mark.parametrize("ticket", ["x", "0" * 52, "%00", "é" * 52, "a" * 4000])
def test_what_is_no_ticket_lets_nobody_in(house: House, ticket: str) -> None:
    """Guesses and nonsense get the page, and no cookie."""
    answer = house.visitor().get(f"/sign-in?ticket={ticket}")
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_key_signs_in_with_its_scopes_and_ends_the_session_with_itself(house: House) -> None:
    """The cookie holds no key; a revoked key's session is over."""
    key, text = house.key("payments:read", name="viewer")
    visitor = house.visitor()
    answer = visitor.http.post("/dashboard/sign-in", data={"key": text, "next": "/providers"}, headers={"origin": house.url})
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/providers")
    assert text[-32:] not in answer.headers["set-cookie"]
    page = visitor.get("/nothing-here")
    assert page.status_code == 404
    assert "viewer" in page.text
    assert "/dashboard/settings" not in page.text
    house.run(house.app.keys.end(key.id, house.app.clock.now_us()))
    assert visitor.get("/nothing-here").status_code == 303


def test_a_key_that_opens_nothing_lets_nobody_in(house: House) -> None:
    """Wrong, of no scope for reading, and none at all: a page that says so, and no cookie; nothing of it is repeated."""
    _, refunds = house.key("refunds:write")
    for text in ("sk_test_" + "0" * 52, "nonsense-key", "", refunds):
        answer = house.visitor().http.post("/dashboard/sign-in", data={"key": text}, headers={"origin": house.url})
        assert answer.status_code == 403, text
        assert "set-cookie" not in answer.headers
        assert not text or text not in answer.text


def test_another_site_cannot_sign_somebody_in(house: House) -> None:
    """A form of a foreign page is refused before the key is looked at."""
    _, text = house.key("payments:read")
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        answer = house.visitor().http.post("/dashboard/sign-in", data={"key": text}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_signing_out_kills_the_cookie(house: House) -> None:
    """Whoever kept a copy of it is out too, and both acts are in the journal."""
    visitor = house.signed_in("payments:read")
    token = visitor.http.cookies["payonce_session"]
    assert _in(house, token)
    answer = visitor.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/sign-in")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert not _in(house, token)
    told = [entry.act.what for entry in house.run(house.app.journal.read())]
    assert told[-2:] == ["session.begun", "session.ended"]


def test_other_programs_cookies_do_not_matter(house: House) -> None:
    """A malformed one on the same host spoils nothing; two sessions at once are none: one of them is somebody else's."""
    visitor = house.signed_in("payments:read")
    token = visitor.http.cookies["payonce_session"]
    for others, status in (("a[]b=1; @; =; ", 404), (f"payonce_session={'0' * 52}; ", 303)):
        answer = house.visitor().get("/nothing-here", cookie=f"{others}payonce_session={token}")
        assert answer.status_code == status


def test_without_a_session_one_is_led_to_the_sign_in_and_back(house: House) -> None:
    """A page says where one wanted to go; a part of a page makes the page load itself again; a form is not done."""
    visitor = house.visitor()
    answer = visitor.get("/payments?status=FAILED&currency=INR")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/dashboard/sign-in?next=/payments%3Fstatus%3DFAILED%26currency%3DINR"
    part = visitor.get("/payments", hx_request="true")
    assert (part.status_code, part.headers["hx-refresh"]) == (401, "true")
    assert visitor.post("/payments/x/refund", csrf="0" * 64).status_code == 401


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x=1\r\nx",
        "",
        "/%2e%2e/evil",
        "/%2E%2e",
        "/a/.%2e/../evil",
        "/..",
        "/a/%2e",
        "/%2e%2e%5cevil",
        "/%2f%2fevil",
        "/%73ign-out?evil",
    ],
)
def test_nobody_is_led_elsewhere(house: House, wanted: str) -> None:
    """``next`` is a path of the dashboard or nothing: an address of another site ends at the overview."""
    _, text = house.key("payments:read")
    answer = house.visitor().http.post("/dashboard/sign-in", data={"key": text, "next": wanted})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/dashboard/")
    assert "evil" not in answer.headers["location"]
    assert own_path(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/payments?q=a/../b", "/payments/pay_1..2", "/providers/a%2Eb", "/payments?q=%2e%2e/"])
def test_dots_that_lead_nowhere_are_gone_on_at(wanted: str) -> None:
    """Within a name, or in the query."""
    assert own_path(wanted) == wanted


def test_keys_are_not_tried_for_ever(house: House) -> None:
    """More than a burst of wrong ones is told to wait; a right one opens all the same, as often as a key may."""
    first = house.visitor()
    tries = [first.http.post("/dashboard/sign-in", data={"key": "no"}).status_code for _ in range(4 * TRIES_BURST)]
    assert 429 in tries
    for _ in range(2):
        _, text = house.key("payments:read")
        assert house.visitor().http.post("/dashboard/sign-in", data={"key": text}).status_code == 303
    visitor = house.visitor()
    signed_in = [visitor.http.post("/dashboard/sign-in", data={"key": text}).status_code for _ in range(4 * TRIES_BURST)]
    assert (signed_in[0], signed_in[-1]) == (303, 429)


@pytest.mark.parametrize("name", sorted(FORWARDED))
def test_what_comes_through_a_proxy_is_not_local(name: bytes) -> None:
    """For the dashboard as for the door of the API, whichever of the headers a proxy sets."""
    headers = [(b"host", b"127.0.0.1:8080")]
    scope: dict[str, Any] = {"type": "http", "headers": headers, "client": ("127.0.0.1", 5), "scheme": "http"}
    assert Came(scope, cast("Any", None), "").local
    scope["headers"] = [*headers, (name, b"203.0.113.9")]
    assert not Came(scope, cast("Any", None), "").local
