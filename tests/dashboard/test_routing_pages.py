"""Routing: the rules in words, a dry run whose text stays, and what is wrong with it; without any script."""

import html
import re

from payonce.dashboard.typed import TAKEN_OUT

from .house import House
from .paid import HOSTILE, pay

CHANGED = '[[rules]]\nname = "all to stripe"\nuse = ["stripe_mock"]\n'


def text_of(page: str) -> str:
    """What a person reads: without marks, entities as what they stand for."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.split("</head>")[1])).split())


def typed(page: str) -> str:
    """What stands in the text area."""
    found = re.search(r'<textarea id="f-toml"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def test_the_rules_are_told_in_words_and_as_text(house: House) -> None:
    """Each rule with when and where to, each account, and the same rules as text to change."""
    page = house.signed_in("payments:read").get("/routing")
    assert page.status_code == 200, page.text
    said = text_of(page.text)
    for rule in house.app.settings.rules.rules:
        assert rule.name in said
    for account in house.app.settings.providers:
        assert f"/providers/{account.name}" in page.text
    assert "[routing.high_value]" in typed(page.text)
    assert "Would have changed" not in said


def test_a_dry_run_says_what_would_have_changed(house: House) -> None:
    """The count in a sentence, the groups with payments as examples, and the text as it was typed. Nothing is recorded."""
    made = [pay(house, f"dry-{n}", currency="INR", metadata=HOSTILE) for n in range(3)]
    visitor = house.signed_in("payments:read")
    before = house.run(house.app.journal.look()).head
    page = visitor.post("/routing", {"toml": CHANGED, "last": "100"})
    assert page.status_code == 200, page.text
    said = text_of(page.text)
    assert "Would have changed 3 of 3 payments" in said
    for p in made:
        assert f'href="/dashboard/payments/{p.id}"' in page.text
    assert "stripe_mock" in said
    assert typed(page.text).strip() == CHANGED.strip()
    assert '<option value="100" selected>' in page.text
    assert "<script>alert" not in page.text
    assert house.run(house.app.journal.look()).head == before


def test_what_is_wrong_with_the_text_is_said_beside_it(house: House) -> None:
    """Line and reason, the text kept, with its hostile parts as text; status 422."""
    bad = '[[rules]]\nuse = ["</textarea><script>alert(1)</script>"]\n'
    page = house.signed_in("payments:read").post("/routing", {"toml": bad, "last": "100"})
    assert page.status_code == 422
    assert "the text, line 2: [[rules]] rule 1: use names" in text_of(page.text)
    assert typed(page.text).strip() == bad.strip()
    assert "<script>alert" not in page.text
    assert "alert(1)" in page.text


def test_the_last_payments_are_a_choice(house: House) -> None:
    """A number that the form does not offer is not asked for."""
    pay(house, "one-more")
    page = house.signed_in("payments:read").post("/routing", {"toml": CHANGED, "last": "-5"})
    assert page.status_code == 200
    assert '<option value="1000" selected>' in page.text


def test_only_the_house_sees_it(house: House) -> None:
    """To another merchant's admin neither the page nor its form is there."""
    visitor = house.signed_in("admin", merchant="mer_other")
    assert visitor.get("/routing").status_code == 404
    assert visitor.post("/routing", {"toml": CHANGED, "last": "100"}).status_code == 404
    assert 'href="/dashboard/routing"' not in visitor.get("/payments").text


def test_a_card_number_does_not_come_back(house: House) -> None:
    """The API refuses the text; it comes back without the number, the rest and the choice beside it as they were."""
    card = "4242424242424242"
    page = house.signed_in("payments:read").post("/routing", {"toml": CHANGED + f"# of {card}\n", "last": "100"})
    assert page.status_code == 422
    assert card not in page.text
    assert typed(page.text) == CHANGED + "# of [redacted]\n"
    assert '<option value="100" selected>' in page.text
    assert TAKEN_OUT in text_of(page.text)
