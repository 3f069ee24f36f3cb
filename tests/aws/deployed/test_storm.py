"""A small storm over the deployed stack; the large one is in tests/blackbox."""

from collections.abc import Iterator

import pytest

from tests.aws.stack import Stack
from tests.blackbox.shop import SLOW, lives

from .site import Site
from .storm import judge, run, settle

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployed")]

PAYMENTS = 40
KILLS = 2
POSTS_S = 5.0
SETTLE_S = 90.0


@pytest.fixture(scope="module")
def site(stack: Stack) -> Iterator[Site]:
    """The deployed stack."""
    here = Site(stack)
    yield here
    here.close()


def test_forty_payments_survive_kills_and_a_queue_that_was_emptied(site: Site) -> None:
    """A fifth posted twice, executions killed, messages doubled, delayed and once all deleted: everything settles, nothing is
    charged twice, and the vendors' books, the histories and the tables agree."""
    quick = [each for each in lives(2 * PAYMENTS, 7, POSTS_S) if each.token not in SLOW][:PAYMENTS]
    figures = run(site, quick, KILLS, POSTS_S, seed=7, weather=False)
    views, movements = settle(site, quick, SETTLE_S)
    judge(site, quick, views, movements, figures)
    assert figures.posts > PAYMENTS
    assert figures.killed["WorkerFunction"] >= 1
    assert figures.purged > 0
