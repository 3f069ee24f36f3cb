"""One browser for a module, and the desk that its people work at."""

import os
from collections.abc import Iterator

import pytest

from .chromium import Browser, BrowserGone, installed
from .desk import Desk, open_desk


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = installed()
    if program is None:
        pytest.skip("no Chromium on this machine (set CHROMIUM to one)")
    try:
        browser = Browser(program, tmp_path_factory.mktemp("browser"))
    except BrowserGone as gone:
        if os.environ.get("CHROMIUM"):  # who names one wants these tests
            raise
        pytest.skip(f"{program} does not start; set CHROMIUM to one that does. {gone}")
    yield browser
    browser.end()


@pytest.fixture(scope="module")
def desk(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """After the browser: without one no server is started."""
    with open_desk(tmp_path_factory.mktemp("desk")) as desk:
        yield desk
