"""Every real adapter at its simulator in currencies without places, with two and with three, and in those that a vendor counts
its own way, with sums that no 32 bits hold: made, held, captured, given back in two parts, and compared with the ledger."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.adapter import Adapter, Authorized, Captured, Found, Intent, Refunded, Succeeded
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.providers.cashfree import ADAPTER as CASHFREE
from payonce.providers.payu import ADAPTER as PAYU
from payonce.providers.razorpay import ADAPTER as RAZORPAY
from payonce.providers.stripe import ADAPTER as STRIPE
from payonce.testing.provider_cases import Subject
from payonce.testing.provider_live_money import LiveMoney, given, refund_of
from payonce.testing.provider_spoiling import least_step
from payonce.testing.provider_wired import Wired, intent_of, key_of, told

FIXTURES = Path(__file__).parents[1] / "fixtures" / "providers"
ADAPTERS: tuple[Adapter, ...] = (STRIPE, RAZORPAY, CASHFREE, PAYU)
MONEY = ("INR", "USD", "JPY", "KRW", "KWD", "BHD", "OMR", "ISK", "UGX", "MGA", "HUF", "TWD", "VND")
NOT_TAKEN = {  # declared: an account is no candidate for them
    "stripe": {"IQD", "LYD", "CLF"},
    "razorpay": {"LYD", "CLF", "BGN"},
    "cashfree": {"KWD", "BHD", "OMR", "CLF"},
    "payu": {"USD", "JPY", "KWD", "ISK"},
}
SUMS = (2**31, AMOUNT_MINOR_MAX)
LOOKS = 8


def taken(adapter: Adapter) -> list[str]:
    known = adapter.CAPABILITIES.currencies
    assert known is not None, "an adapter of a real vendor names its currencies"
    return [c for c in MONEY if c in known]


CASES = [pytest.param(a, c, n, id=f"{a.name}-{c}-{n}") for a in ADAPTERS for c in taken(a) for n in SUMS]


async def looked(at: Wired, intent: Intent, wanted: type) -> Any:
    """What reads show, once it is what is waited for."""
    for _ in range(LOOKS):
        await at.clock.sleep(at.adapter.CAPABILITIES.terms.read_lag_s + 1)
        shown = told(await at.ask(replace(intent, kind="read", key="")))
        if isinstance(shown, wanted):
            return shown
    raise AssertionError(f"should be {wanted.__name__}, and is {shown}")


@pytest.mark.parametrize(("adapter", "currency", "asked"), CASES)
def test_a_sum_stays_itself_from_the_hold_to_the_last_refund(
    tmp_path: Path, adapter: Adapter, currency: str, asked: int
) -> None:
    """Each outcome and each movement in the ledger has the minor units that were asked for, and nothing is left over."""
    step = least_step(adapter, currency)
    whole = asked // step * step
    part = whole // 3 // step * step

    async def test(at: Wired) -> None:
        first = replace(intent_of(at, "tok_ok", 1, "fire"), manual=True, amount_minor=whole, currency=currency)
        held, intent = await at.settle(first)
        assert isinstance(held, Authorized), held
        assert (held.amount_minor, held.currency) == (whole, currency)
        asked_for = {"provider_ref": held.ref, "capture_minor": whole}
        said = await at.ask(replace(intent, kind="capture", key=key_of(intent, "capture"), **asked_for))
        assert not isinstance(said, Captured) or (said.amount_minor, said.currency) == (whole, currency)
        charge = await looked(at, intent, Succeeded)
        assert (charge.amount_minor, charge.currency, charge.refunded_minor) == (whole, currency, 0)
        for n, minor in enumerate((part, whole - part), 2):
            back = await given(at, refund_of(intent, charge.ref, n, minor))
            assert (back.amount_minor, back.currency) == (minor, currency)
        shown = await at.ask(replace(intent, kind="read", key="", provider_ref=charge.ref))
        assert isinstance(shown, Found), shown
        assert [(t.amount_minor, t.refunded_minor) for t in shown.tries if isinstance(t, Succeeded)] == [(whole, whole)]
        refunds = sorted(r.amount_minor for r in shown.refunds if isinstance(r, Refunded))
        assert refunds == sorted((part, whole - part))
        moved = [(m.kind, m.amount, m.currency) for m in at.movements(intent.reference)]
        assert sum(a for kind, a, _ in moved if kind in ("capture", "charge")) == whole
        assert sum(a for kind, a, _ in moved if kind == "refund") == whole
        assert {c for _, _, c in moved} == {currency}

    LiveMoney().at(Subject.load(adapter, FIXTURES / adapter.name), tmp_path, test)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: a.name)
def test_what_a_vendor_does_not_take_is_declared(adapter: Adapter) -> None:
    """Currencies that a vendor has no unit for, or says nothing about, are not among those that its accounts are asked for."""
    assert NOT_TAKEN[adapter.name].isdisjoint(adapter.CAPABILITIES.currencies or ())
    assert taken(adapter), "and some of the matrix are"


@pytest.mark.parametrize(
    ("adapter", "currency", "minor", "field", "written"),
    [
        (STRIPE, "ISK", 5, "amount=", "amount=500&"),
        (STRIPE, "UGX", 5, "amount=", "amount=500&"),
        (STRIPE, "JPY", 500, "amount=", "amount=500&"),
        (STRIPE, "KWD", 5_120, "amount=", "amount=5120&"),
        (STRIPE, "MGA", 500, "amount=", "amount=5&"),
        (RAZORPAY, "JPY", 500, '"amount":', '"amount":500,'),
        (RAZORPAY, "KWD", 5_120, '"amount":', '"amount":5120,'),
        (CASHFREE, "JPY", 500, '"order_amount":', '"order_amount":500,'),
        (CASHFREE, "ISK", 500, '"order_amount":', '"order_amount":500,'),
    ],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_the_vendors_own_examples_of_amounts(adapter: Adapter, currency: str, minor: int, field: str, written: str) -> None:
    """As the vendors write them: 5 krónur and 5 shillings are 500 at Stripe, 500 yen are 500, and 5.120 dinars are 5120
    (docs.stripe.com/currencies, copy of 2026; razorpay/markdown-docs 2026-04-09, payments/international-payments.md)."""
    intent = Intent(kind="create", mode="test", amount_minor=minor, currency=currency, reference="06ex4k2m9p7q8r5s3t010100")
    body = adapter.build(intent).body.decode()
    assert field in body
    assert written in body
