"""The shell around every page: headers, forms, rights, errors, files; whatever the pages are."""

import asyncio
import hashlib
import re
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import payonce.dashboard
from payonce.bootstrap import open_app
from payonce.config import load
from payonce.dashboard.pages import screens
from payonce.dashboard.visit import TABS
from payonce.serving import api_of

from .house import House
from .screens import DONE, NUMBER, SCREENS

STATIC = Path(payonce.dashboard.__file__).parent / "static"
KEPT = re.compile(r'(?:src|href)="(/dashboard/static/[^"]+)"')


def test_the_vendored_files_are_what_was_taken() -> None:
    """Each file of the table has its hash, and every foreign file is in it."""
    rows = re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|", (STATIC / "VENDORED.md").read_text(), re.MULTILINE)
    assert rows
    assert all(hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == wanted for name, wanted in rows)
    assert {path.name for path in STATIC.glob("*.min.js")} == {name for name, _ in rows}


def test_every_answer_has_the_policy(house: House) -> None:
    """Pages, the sign-in, redirects, problems, files and refused forms: none may run what is not ours."""
    visitor, stranger = house.signed_in(), house.visitor()
    page = visitor.get("/nothing-here")
    answers = [page, stranger.get("/sign-in"), stranger.get("/"), visitor.post("/sign-out", csrf="no"), visitor.get("/sign-in")]
    answers += [visitor.http.get(path) for path in KEPT.findall(page.text)]
    answers.append(visitor.http.request("PUT", "/dashboard/payments"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["request-id"]


def test_no_page_has_a_script_or_style_within(house: House) -> None:
    """What the policy would stop is not there: inline scripts, styles, event handlers."""
    visitor = house.signed_in()
    for path in ("/nothing-here", "/sign-in", *(tab.path for tab in TABS)):
        text = visitor.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|\shx-on|javascript:", text), path


def test_files_are_kept_for_ever_under_their_hash(house: House) -> None:
    """The address changes with the content; another one is no file."""
    visitor = house.visitor()
    paths = KEPT.findall(visitor.get("/sign-in").text)
    assert paths
    for path in paths:
        answer = visitor.http.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert hashlib.sha256(answer.content).hexdigest()[:16] in path
    for wrong in (
        "/static/style.css",
        "/static/../__init__.py",
        "/static/%2e%2e/signing_in.py",
        "/static/style.0000000000000000.css",
    ):
        assert visitor.get(wrong).status_code != 200


@pytest.mark.parametrize(
    ("csrf", "headers"),
    [
        ("", {}),
        ("0" * 64, {}),
        (None, {"origin": "https://evil.example"}),
        (None, {"origin": "null"}),
        (None, {"sec_fetch_site": "cross-site"}),
        (None, {"sec_fetch_site": "same-site"}),
    ],
)
def test_a_form_that_is_not_ours_does_nothing(house: House, csrf: str | None, headers: dict[str, str]) -> None:
    """Without the session's token, or from another site: refused, and one is still signed in."""
    visitor = house.signed_in("payments:read")
    answer = visitor.post("/sign-out", csrf=csrf, **headers)
    assert answer.status_code == 403
    assert "no money moved" in answer.text.lower()
    assert visitor.get("/nothing-here").status_code == 404


def test_anothers_token_is_no_token(house: House) -> None:
    """A form token is of one session."""
    one, other = house.signed_in(), house.signed_in()
    assert one.csrf() != other.csrf()
    assert one.post("/sign-out", csrf=other.csrf()).status_code == 403


def test_only_what_one_may_do_is_done(house: House) -> None:
    """Every screen that needs more than reading refuses a viewer, its form too, with a page that names the scope."""
    viewer = house.signed_in("payments:read")
    closed = [screen for screen in (*SCREENS, *screens()) if screen.needs != "payments:read"]
    for screen in closed:
        path = re.sub(r"\{[a-z_]+\}", "pay_none", screen.path)
        assert viewer.get(path).status_code == 403, path
        if screen.POST:
            answer = viewer.post(path, {"reason": "x", "key": "k"})
            assert answer.status_code == 403, path
            assert screen.needs in answer.text
    open_forms = [
        screen.path for screen in screens() if screen.POST and screen.needs == "payments:read" and "dry" not in screen.path
    ]
    assert open_forms in ([], ["/routing"]), "a form that changes something must need more than reading"


def test_the_menu_shows_what_one_may_see(house: House) -> None:
    """An admin of the house sees all of it; a viewer no settings; another merchant nothing of the house."""
    admin, viewer = house.signed_in().get("/x").text, house.signed_in("payments:read").get("/x").text
    other = house.signed_in("admin", merchant="mer_other").get("/x").text
    shown = {tab.name: [f'href="/dashboard{tab.path}"' in text for text in (admin, viewer, other)] for tab in TABS}
    assert all(each[0] for each in shown.values())
    assert not any(shown[tab.name][1] for tab in TABS if tab.needs == "admin")
    assert not any(shown[tab.name][2] for tab in TABS if tab.house)
    for tab in TABS:
        if tab.house:
            assert house.signed_in("admin", merchant="mer_other").get(tab.path).status_code == 404


def test_nobody_can_say_who_they_are(house: House) -> None:
    """The caller of a page is a key of the ASGI scope: no header and no query makes one, and strangers stay strangers."""
    house.key("payments:read")  # from now on everybody needs one
    names = ("payonce.caller", "payonce-caller", "x-payonce-caller")
    for name in names:
        answer = httpx2.get(f"{house.url}/payments", headers={name: "operator"}, trust_env=False)
        assert answer.status_code == 401
        assert house.visitor().http.get(f"/dashboard/payments?{name}=operator", headers={name: "operator"}).status_code == 303
    assert httpx2.get(f"{house.url}/payments?payonce.caller=x", trust_env=False).status_code == 401


def test_a_page_that_did_not_change_is_not_sent_again(house: House) -> None:
    """The ETag is of what is shown: asked again with it, 304 and no body."""
    visitor = house.signed_in()
    first = visitor.get("/tests/look")
    assert first.status_code == 200, first.text
    assert first.headers["cache-control"] == "private, no-cache"
    again = visitor.get("/tests/look", if_none_match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    assert visitor.get("/tests/look", if_none_match='"other"').status_code == 200


def test_a_part_of_a_page_has_no_frame(house: House) -> None:
    """A region that keeps itself up to date gets the content alone, and caches know the two apart."""
    part = house.signed_in().get("/tests/look", hx_request="true", hx_target="div#figures")
    assert part.status_code == 200
    assert "<html" not in part.text
    assert "200 0 figures&lt;b&gt;" in part.text
    assert "HX-Request" in part.headers["vary"]


def test_a_page_asks_as_whoever_looks(house: House) -> None:
    """Through the API's own door, under the page's Request-Id; a problem of the API is the page's, with its status."""
    visitor = house.signed_in("payments:read")
    page = visitor.get("/tests/inner", request_id="req-of-the-page")
    assert "404 req-of-the-page" in page.text
    missing = visitor.get("/tests/need/pay_none")
    assert missing.status_code == 404
    assert "No such payment" in missing.text or "not_found" in missing.text


def test_a_form_is_done_once_and_its_notice_is_shown_once(house: House) -> None:
    """303 to the next page, which says what was done, escaped; the one after it does not. A forged notice is not shown."""
    visitor = house.signed_in("payments:write")
    DONE.clear()
    answer = visitor.post("/tests/do", {"what": "refund"}, origin=house.url, sec_fetch_site="same-origin")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/tests/look")
    assert DONE == ["refund"]
    assert "It was &lt;done&gt;." in visitor.get("/tests/look").text
    assert "It was" not in visitor.get("/tests/look").text
    visitor.http.cookies.set("payonce_notice", "b2sKRm9yZ2Vk.0000", path="/dashboard")
    assert "Forged" not in visitor.get("/tests/look").text


def test_a_viewers_form_does_nothing(house: House) -> None:
    """Nor does one of another site with a valid session, or one without its token."""
    viewer, operator = house.signed_in("payments:read"), house.signed_in("payments:write")
    DONE.clear()
    refused = viewer.post("/tests/do")
    assert refused.status_code == 403
    assert "payments:write" in refused.text
    assert operator.post("/tests/do", csrf="").status_code == 403
    assert operator.post("/tests/do", origin="https://evil.example").status_code == 403
    assert operator.post("/tests/do", sec_fetch_site="cross-site").status_code == 403
    assert operator.http.post("/dashboard/tests/do", json={"csrf": operator.csrf()}).status_code == 415
    assert DONE == []


def test_what_is_the_houses_is_not_there_for_others(house: House) -> None:
    """As a path that does not exist."""
    assert house.signed_in("payments:read").get("/tests/house").status_code == 200
    assert house.signed_in("admin", merchant="mer_other").get("/tests/house").status_code == 404


def test_a_file_comes_as_a_file(house: House) -> None:
    """In parts, under its name, kept by nobody."""
    answer = house.signed_in("payments:read").get("/tests/file")
    assert (answer.text, answer.headers["content-disposition"]) == ("a,b\n1,2\n", 'attachment; filename="rows.csv"')
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_what_fails_is_a_page_that_tells(house: House) -> None:
    """No such page, a store that is away, a bug: what happened, what state the money is in, what to do, and the request id."""
    visitor = house.signed_in()
    for path, status in (("/nothing-here", 404), ("/tests/away", 503), ("/tests/bug", 500)):
        page = visitor.get(path)
        assert page.status_code == status
        assert page.headers["request-id"] in page.text
        assert "The money" in page.text
        assert "What to do" in page.text
        assert NUMBER not in page.text
        assert page.headers["cache-control"] == "no-store"


def test_a_crowd_does_not_shut_a_page_out_of_its_own_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one request at once, a page that is inside gets its answers; mounted below a prefix, too."""
    monkeypatch.setattr("payonce.dashboard.showing.screens", lambda: SCREENS)

    async def check() -> None:
        settings = load({"store.data_dir": str(tmp_path), "limits.requests_max": 1}, env={})
        async with open_app(settings, env={}, worker=False) as app:
            api = Starlette(routes=[Mount("/pay", api_of(app))])
            key, text = app.keys.new("mer_default", "test", ("payments:read",))
            await app.keys.add(key)
            transport = httpx2.ASGITransport(app=api)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                answer = await client.post("/pay/dashboard/sign-in", data={"key": text})
                assert (answer.status_code, answer.headers["location"]) == (303, "/pay/dashboard/")
                for _ in range(3):
                    page = await client.get("/pay/dashboard/tests/look")
                    assert (page.status_code, "200 0" in page.text) == (200, True)
                    assert 'href="/pay/dashboard/static/' in page.text

    asyncio.run(check())


def test_a_page_is_one_request_of_its_key(house: House) -> None:
    """However much it asks: a key that may make one a second sees a burst of two pages, and then one that says to wait."""
    key, text = house.app.keys.new("mer_default", "test", ("payments:read",), rate_per_s=1)
    house.run(house.app.keys.add(key))
    visitor = house.visitor()
    assert visitor.http.post("/dashboard/sign-in", data={"key": text}).status_code == 303
    pages = [visitor.get("/tests/look") for _ in range(4)]
    assert [page.status_code for page in pages[:2]] == [200, 200]
    assert pages[-1].status_code == 429
    assert int(pages[-1].headers["retry-after"]) >= 1


def test_light_and_dark_are_remembered(house: House) -> None:
    """A form, without scripts; back to where one was."""
    visitor = house.signed_in()
    answer = visitor.post("/theme", {"theme": "dark", "back": "/providers?window=24h"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/providers?window=24h")
    assert 'data-theme="dark"' in visitor.get("/nothing-here").text
    assert visitor.post("/theme", {"theme": "<b>", "back": "/"}).status_code == 422


def test_a_query_that_cannot_be_read_is_a_page_that_tells(house: House) -> None:
    """For who is signed in: a problem within the frame, not the sign-in."""
    answer = house.signed_in("payments:read").get("/payments?q=%ff")
    assert answer.status_code == 422
    assert "percent-encoded" in answer.text
    assert 'action="/dashboard/sign-out"' in answer.text
    assert 'action="/dashboard/sign-in"' not in answer.text
