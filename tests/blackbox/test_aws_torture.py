"""The judging run over the deployed AWS stack: all accounts and tokens, a fifth posted twice, captures, voids, refunds,
customers and lost webhooks, while executions are killed, messages doubled, delayed and once all deleted, and AWS stands still.

And every test of the API, with all its parameters, over HTTP against the same stack.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tools.aws_package import build

from payonce.sandbox.faults import TOKENS
from tests.aws.deployed import test_same_api as same
from tests.aws.deployed.over_http import on_aws
from tests.aws.deployed.routes import LOCAL_PYTHON, TOML
from tests.aws.deployed.site import Site
from tests.aws.deployed.storm import judge, run, settle
from tests.aws.stack import Stack, deployed

from . import shop
from .shop import ACCOUNTS, lives

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("AWS_TORTURE_PAYMENTS" not in os.environ, reason="ten minutes of its own: make torture-aws runs it"),
]

# Longer by environment: the same with more payments and kills.
PAYMENTS = int(os.environ.get("AWS_TORTURE_PAYMENTS", "500"))
KILLS = int(os.environ.get("AWS_TORTURE_KILLS", str(max(8, PAYMENTS // 22))))
SEED = int(os.environ.get("AWS_TORTURE_SEED", "20261126"))
POSTS_S = PAYMENTS * 0.5  # the emulator takes about two payments a second with all that follows
SETTLE_S = 240 + PAYMENTS * 0.4
PATIENCE_S = 150.0  # an execution that is killed costs up to the sweeper's rest of two minutes


def toml() -> str:
    """The shipped rules, and horizons that outlast the kills."""
    times = "horizon_s = 200\nwatch_s = 40\nsettle_s = 300\n"
    return "version = 1\n" + "".join(f"[providers.{name}]\n{times}" for name in ACCOUNTS)


def packaged(folder: Path, config: str) -> Path:
    """The package of the functions with a configuration in it."""
    (folder / "payonce.toml").write_text(config, encoding="utf-8")
    return build(folder / "payonce.zip", local=True, python=LOCAL_PYTHON, config=folder / "payonce.toml")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The deployed stack, with the configuration of the tests of the API."""
    folder = tmp_path_factory.mktemp("same")
    with deployed(folder, package=packaged(folder, TOML)) as here:
        yield here


def test_every_payment_ends_right_on_aws_whatever_is_killed_or_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 payments: nothing is pending, no payment is charged more than once over all vendors, the books agree with every
    status, operation and history, `payonce verify` finds nothing, and each dead letter is a hint of a settled payment."""
    monkeypatch.setattr(shop, "PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(shop, "LOOK_S", 3.0)
    began, all_lives = time.monotonic(), lives(PAYMENTS, SEED, POSTS_S)
    with deployed(tmp_path, package=packaged(tmp_path, toml())) as here:
        site = Site(here)
        figures = run(site, all_lives, KILLS, POSTS_S, SEED, weather=True)
        views, movements = settle(site, all_lives, SETTLE_S)
        try:
            judge(site, all_lives, views, movements, figures)
        finally:
            figures.seconds = round(time.monotonic() - began, 1)
            print(msgspec.json.format(msgspec.json.encode(figures)).decode())
            site.close()
    assert {each.token for each in all_lives} >= set(TOKENS) or len(TOKENS) > PAYMENTS
    assert figures.posts >= PAYMENTS * 1.15
    assert sum(figures.killed.values()) >= KILLS // 2
    assert figures.purged > 0
    assert figures.cut > 0, "a kill came in the middle of a call"
    assert {*figures.statuses} >= {"SUCCESS", "FAILED", "CANCELED", "IN_DOUBT"}


def test_every_test_of_the_api_passes_deployed_with_all_its_parameters(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """Each refusal, repeat, list, operation and page that holds on SQLite holds on the deployed stack, word for word."""
    with on_aws(stack) as target:
        chosen = filter(same.through_the_gateway, same.cases(whole=True))
        assert same.require_the_same(target, chosen, monkeypatch, subtests) > 240
