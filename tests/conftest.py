import os
from pathlib import Path

import pytest

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps together, on one worker, what shares something costly: a file's fixtures, and the whole run of `shop`."""
    for item in items:
        place = item.path.relative_to(TESTS)
        shares_the_run = place.parts[0] == "e2e" and "shop" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("shop" if shares_the_run else str(place)))
