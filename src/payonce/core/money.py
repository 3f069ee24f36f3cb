"""Money is an integer count of minor units with an ISO 4217 currency. No float comes near it (R10)."""

import re
from typing import Final

AMOUNT_MINOR_MAX: Final = 999_999_999_999  # stated limit: below 2**53, so that every JSON reader keeps it exact

# ISO 4217 minor-unit exponents (list of 2026-01-01, funds and metals without a minor unit left out), checked
# against the iso4217 package in the tests. Providers that differ carry an override table of their own.
_BY_EXPONENT: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW "
        "CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
        "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK "
        "MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
        "SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG "
        "YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
EXPONENTS: Final = {code: exponent for exponent, codes in _BY_EXPONENT.items() for code in codes.split()}


def is_currency(code: str) -> bool:
    """True for an upper-case ISO 4217 code that has a minor unit."""
    return code in EXPONENTS


def to_decimal(amount_minor: int, currency: str, exponent: int | None = None) -> str:
    """``1050, "INR"`` -> ``"10.50"``: exact, by digits. ``exponent`` overrides ISO where a provider differs."""
    places = EXPONENTS[currency] if exponent is None else exponent
    sign, digits = ("-" if amount_minor < 0 else ""), str(abs(amount_minor)).rjust(places + 1, "0")
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def from_decimal(text: str, currency: str, exponent: int | None = None) -> int:
    """``"10.5", "INR"`` -> ``1050``. Raises ValueError when the text is no plain decimal or has too many places."""
    places = EXPONENTS[currency] if exponent is None else exponent
    match = re.fullmatch(r"(-?)(\d{1,15})(?:\.(\d{1,6}))?", text, re.ASCII)
    if match is None:
        raise ValueError("not a plain decimal number")
    sign, whole, fraction = match.group(1), match.group(2), (match.group(3) or "").rstrip("0")
    if len(fraction) > places:
        raise ValueError(f"{currency} has {places} decimal places")
    return int(sign + whole + fraction.ljust(places, "0"))


def display(amount_minor: int, currency: str) -> str:
    """For people: ``"10.50 INR"``."""
    return f"{to_decimal(amount_minor, currency)} {currency}"
