"""What a run does with a model that does not pass its gates."""

from __future__ import annotations

import re

import pytest

from tests.e2e.shop import Shop

pytestmark = pytest.mark.slow


def versions(shop: Shop) -> list[str]:
    return sorted(path.name for path in shop.directory.serving("recommender").iterdir())


def test_a_model_below_a_limit_is_not_pushed_and_the_run_says_why(shop: Shop) -> None:
    before = versions(shop)
    done = shop.again("--set", 'gates.least={"ndcg@10": 0.9}')
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("towers:")]
    assert re.search(r"the model was not pushed: quality: ndcg@10 0\.\d+, wanted at least 0\.9\.", line)
    assert versions(shop) == before
    page = (shop.directory.report / "report.html").read_text(encoding="utf-8")
    assert "Not pushed: the quality gate refused the model." in page
    assert "wanted at least 0.9" in page
    done = shop.again()
    assert done.returncode == 0, done.stderr
    assert "was pushed" in (shop.directory.report / "report.html").read_text(encoding="utf-8")


def test_a_model_that_learnt_nothing_loses_against_the_last_blessed_one(shop: Shop) -> None:
    before = versions(shop)
    nothing = ("retrieval.epochs=1", "retrieval.learning_rate=1e-9", "ranking.enabled=false", "gates.baselines=[]")
    done = shop.again(*(argument for setting in nothing for argument in ("--set", setting)))
    assert done.returncode == 1, done.stderr
    line = done.stderr.splitlines()[-1]
    match = re.search(
        r"quality: NDCG@\d (0\.\d+), the last blessed model's (0\.\d+) \(all users\): worse than 98% of it", line
    )
    assert match, line
    assert float(match[1]) < float(match[2])
    assert versions(shop) == before
    page = (shop.directory.report / "report.html").read_text(encoding="utf-8")
    assert "Comparison with the last blessed model" in page
    assert shop.again().returncode == 0  # other tests look at the run as it was
