"""What vendors and customers do: webhooks, the customer's page and the way back, captures, voids and refunds, against the
deployed stack. Each is compared with the sandbox's ledger."""

from collections.abc import Iterator
from urllib.parse import unquote

import httpx2
import pytest

from tests.aws.stack import Stack
from tests.blackbox.shop import PAGE

from .site import Json, Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployed")]

HOLDS = ("mock", "stripe_mock", "cashfree_mock")  # accounts that can void
SHOP = "https://shop.invalid/paid?order=7"


@pytest.fixture(scope="module")
def site(stack: Stack) -> Iterator[Site]:
    """The deployed stack."""
    here = Site(stack)
    yield here
    here.close()


def done(site: Site, asked: httpx2.Response) -> Json:
    """The operation that was asked for, as soon as it has ended."""
    assert asked.status_code == 202, asked.text

    def look() -> Json:
        operation: Json = site.http.get(site.url + asked.headers["location"]).json()
        return operation

    return site.within(lambda: None if (o := look())["status"] == "PENDING" else o, lambda: f"it has not ended: {look()}")


def hints(site: Site, id: str) -> set[str]:
    """Who said that the payment may have changed."""
    return {e["actor"] for e in site.history(id) if e["kind"] == "Hinted"}


@pytest.mark.parametrize("account", ["razorpay_mock", "stripe_mock", "cashfree_mock", "payu_mock"])
def test_a_webhook_settles_a_payment(site: Site, account: str) -> None:
    """The vendor's webhook, signed, through the HTTP API and the inbox: nobody else tells that the customer has acted, and the
    next look would come later. The ledger shows one charge."""
    id = site.accepted(f"hook-{account}", "tok_action", provider=account, amount=1230)
    waiting = site.becomes(id, "REQUIRES_ACTION")
    assert waiting["nextAction"]
    page = place(waiting)
    with site.at_rest():  # what is scheduled already does not come in between
        site.purge()
    answer = site.http.post(f"{site.sandbox_url}{page}", data={"decision": "approve"}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    site.becomes(id, "SUCCESS")
    assert hints(site, id) & {"webhook", f"webhook:{account}"}, site.history(id)
    assert site.kept(id) == [1230]


def place(view: Json) -> str:
    """The path of the page at the sandbox where the customer acts."""
    action = view["nextAction"]
    found = PAGE.search(unquote(" ".join([action["url"] or "", *action["fields"].values()])))
    assert found, action
    return str(found[0])


def test_a_forged_webhook_is_refused(site: Site) -> None:
    """Without the right signature it is a 401 and nothing happens; so it is at an account that is none: nobody learns which
    there are."""
    body = b'{"event": "payment.captured"}'
    for account in ("razorpay_mock", "nobody"):
        answer = site.http.post(f"{site.url}/webhooks/{account}", content=body, headers={"x-razorpay-signature": "0" * 64})
        assert answer.status_code == 401, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("decision", "status"), [("approve", "SUCCESS"), ("decline", "FAILED")])
def test_the_customer_acts_on_the_page_and_comes_back(site: Site, decision: str, status: str) -> None:
    """The payment says where to go; the page sends the customer back to the API, which goes on to the shop; the payment ends as
    the customer decided."""
    id = site.accepted(f"page-{decision}", "tok_action", returnUrl=SHOP, provider="mock")
    page = site.becomes(id, "REQUIRES_ACTION")
    left = site.http.post(f"{site.sandbox_url}{place(page)}", data={"decision": decision}, follow_redirects=False)
    assert left.status_code == 303, left.text
    back = httpx2.URL(left.headers["location"])
    assert back.host == httpx2.URL(site.stack.outputs["ApiUrl"]).host, "the public address of the API"
    home = site.http.get(f"{site.url}{back.path}", follow_redirects=False)
    assert (home.status_code, home.headers["location"]) == (303, f"{SHOP}&transactionId={id}")
    site.becomes(id, status)
    assert site.kept(id) == ([1050] if status == "SUCCESS" else [])


@pytest.mark.parametrize("account", HOLDS)
def test_a_hold_is_taken_and_given_back_in_parts(site: Site, account: str) -> None:
    """Authorize, capture, two refunds; the same keys again ask for nothing; the books say the same."""
    id = site.accepted(f"hold-{account}", captureMethod="manual", provider=account, amount=2000)
    site.becomes(id, "AUTHORIZED")
    assert done(site, site.ask(id, "capture", f"take-{account}"))["status"] == "SUCCEEDED"
    back = [site.ask(id, "refunds", f"back-{account}-{n}", amount) for n, amount in enumerate((700, 300))]
    assert [done(site, each)["status"] for each in back] == ["SUCCEEDED"] * 2
    assert site.ask(id, "refunds", f"back-{account}-0", 700).headers["idempotent-replayed"] == "true"
    assert site.ask(id, "refunds", f"back-{account}-2", 1001).json()["code"] == "amount_exceeds_available"
    view = site.get(id)
    assert (view["status"], view["captured"], view["refunded"]) == ("SUCCESS", 2000, 1000)
    assert sorted(site.moved(id)) == [("authorize", 2000), ("capture", 2000), ("refund", 300), ("refund", 700)]


@pytest.mark.parametrize("account", HOLDS)
def test_a_hold_is_given_up(site: Site, account: str) -> None:
    """A void leaves nothing held and nothing taken."""
    id = site.accepted(f"void-{account}", captureMethod="manual", provider=account)
    site.becomes(id, "AUTHORIZED")
    assert site.ask(id, "void", f"give-up-{account}").status_code == 202
    site.becomes(id, "CANCELED")
    assert site.moved(id) == [("authorize", 1050), ("void", 1050)]


def test_what_is_unclear_is_proven_before_it_is_tried_elsewhere(site: Site) -> None:
    """An answer that was lost after the charge, and a decline that another account makes good: one charge each by the books."""
    lost = site.accepted("lost-1", "tok_lost_response")
    other = site.accepted("other-1", "tok_decline_then_ok")
    assert site.becomes(other, "SUCCESS")["attempts"] == 2
    site.becomes(lost, "SUCCESS", sweep=True)
    assert [site.kept(id) for id in (lost, other)] == [[1050], [1050]]
