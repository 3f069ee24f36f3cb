"""The folder of a torture: configuration, accounts, ports, and which processes there are."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path

from .options import TortureOptions
from .processes import PORTS, Nursery, Process, environment
from .quick_accounts import ALL, install

ACCOUNTS = {vendor: vendor if vendor == "mock" else f"{vendor}_mock" for vendor in ALL}  # by vendor
CALL_TIMEOUT_MS = 3000
WATCH_S = 22  # a late success comes ten after a request that was held for six on its way and for five by a frozen vendor
RULES = """
[[rules]]
name = "inr"
when = { currency = "INR" }
use = ["razorpay_mock"]

[[rules]]
name = "high-value"
when = { high_value = true }
use = ["cashfree_mock"]

[[rules]]
name = "anything-else"
use = ["mock"]
fallback = ["razorpay_mock", "cashfree_mock", "stripe_mock", "payu_mock"]
"""


class Scene:
    """Where everything is. ``dice`` chooses ports only: no decision of the torture rests on it."""

    def __init__(self, folder: Path, options: TortureOptions) -> None:
        self.folder, self.options = folder, options
        self.packages, self.data, self.toml = folder / "packages", folder / "data", folder / "payonce.toml"
        self.store = self.data / "payments.db"
        taken = free_ports()
        self.api_port, self.sandbox_port, self.proxy_port = next(taken), next(taken), next(taken)
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.sandbox_url = f"http://127.0.0.1:{self.sandbox_port}"

    def write(self) -> None:
        """The files that have to be there before anything starts."""
        install(self.packages)
        self.toml.write_text(configuration(self.proxy_port, self.options), encoding="utf-8")

    @property
    def webhooks(self) -> dict[str, list[str]]:
        """Where each vendor sends its webhooks: past the proxy, and lost whenever the API is dead."""
        return {vendor: [f"{self.url}/webhooks/{account}"] for vendor, account in ACCOUNTS.items()}

    @property
    def env(self) -> dict[str, str]:
        return environment(self.packages, {variable: value for _, _, variable, value in secrets()})

    @property
    def where(self) -> list[str]:
        """The options that name store and configuration."""
        return ["--data-dir", str(self.data), "--config", str(self.toml)]

    def cast(self, nursery: Nursery) -> list[Process]:
        """The processes that live through the torture: the sandbox, the API, the workers."""
        sandbox = ["sandbox", "--port", str(self.sandbox_port), "--ledger", str(self.folder / "ledger.db"), "--json"]
        api = ["serve", "--port", str(self.api_port), "--json", *self.where]
        worker = ["worker", "--json", *self.where]
        return [
            Process(nursery, "sandbox", "sandbox", [*sandbox, *self.where]),
            Process(nursery, "api", "api", api),
            *(Process(nursery, "worker", f"worker-{n + 1}", worker) for n in range(self.options.workers)),
        ]


def configuration(proxy_port: int, options: TortureOptions) -> str:
    """payonce.toml: the accounts behind the proxy, with short times, and the shipped rules."""
    blocks = ['version = 1\n\n[server]\nlog_level = "error"\nlog_format = "json"\n\n[worker]\npoll_ms = 100\n']
    for vendor, account in ACCOUNTS.items():
        keys = "".join(f'{key} = "env:{variable}"\n' for owner, key, variable, _ in secrets() if owner == vendor)
        blocks.append(
            f'[providers.{account}]\nadapter = "{ALL[vendor].name}"\nbase_url = "http://127.0.0.1:{proxy_port}/{vendor}"\n'
            f"timeout_ms = {CALL_TIMEOUT_MS}\nhorizon_s = {options.horizon_s}\n"
            f"settle_s = {options.look_s}\nwatch_s = {WATCH_S}\n{keys}"
        )
    return "\n".join(blocks) + RULES


def secrets() -> Iterator[tuple[str, str, str, str]]:
    """(vendor, name of the credential, environment variable, value) of everything that the accounts need."""
    for vendor, quick in ALL.items():
        for key, value in quick.adapter.SANDBOX_CREDENTIALS.items():
            yield vendor, key, f"PAYONCE_SECRET_TORTURE_{vendor}_{key}".upper(), value


def free_ports() -> Iterator[int]:
    """Ports of loopback that nobody listens on now. Raises RuntimeError when there is none."""
    dice, seen = random.Random(), set[int]()
    for _ in range(500):
        port = dice.randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in seen:
            seen.add(port)
            yield port
    raise RuntimeError(f"there is no free port from {PORTS[0]} to {PORTS[1]} on 127.0.0.1")
