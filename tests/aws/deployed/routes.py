"""The configuration of these tests, for SQLite and for AWS: the sandbox's accounts, the mock first."""

import sys
from typing import Final

LOCAL_PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
ACCOUNTS: Final = ("mock", "razorpay_mock", "cashfree_mock", "stripe_mock", "payu_mock")
TOML: Final = (
    "version = 1\n"
    + "".join(f"[providers.{name}]\n" for name in ACCOUNTS)
    + '[[rules]]\nname = "tests"\nuse = ["mock"]\nfallback = "any"\n'
)
