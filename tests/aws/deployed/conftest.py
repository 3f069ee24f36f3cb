"""One stack for all of these tests: it takes some seconds to deploy. Its first choice is the mock account."""

from collections.abc import Iterator

import pytest
from tools.aws_package import build

from tests.aws.stack import Stack, deployed

from .routes import LOCAL_PYTHON, TOML


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real template, deployed."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "payonce.toml").write_text(TOML, encoding="utf-8")
    package = build(folder / "payonce.zip", local=True, python=LOCAL_PYTHON, config=folder / "payonce.toml")
    with deployed(folder, package=package) as here:
        yield here
