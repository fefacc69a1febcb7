"""The browser that the tests of the page share."""

import browser as support
import pytest


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium, or a skip that says what is missing."""
    if support.missing():
        pytest.skip(support.missing())
    started = support.Browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()
