from __future__ import annotations

import copy
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.report import charts
from trainer.evaluation.report.page import Report, render
from trainer.evaluation.report.verdict import verdict

METRICS = ("ndcg@10", "hit_rate@10", "recall@10", "mrr@10", "map@10", "coverage@10", "gini@10", "novelty@10")
HOSTILE = '<script>alert("x")</script> & 好书 \u202e'


def evaluation(verdicts: dict[str, str], *, served: str = "recommend") -> dict[str, Any]:
    """One of a format that `evaluation.schema.json` describes, with these verdicts on what is served."""
    stages = {"retrieval": 0.07, "recommend": 0.08, **dict.fromkeys(verdicts, 0.05)}
    figures = {name: dict.fromkeys(METRICS, value) for name, value in stages.items()}
    reach = {name: {key: [value - 0.01, value + 0.01] for key in METRICS} for name, value in stages.items()}
    return {
        "format": 3,
        "split": "test",
        "ranking_is_served": served == "recommend",
        "use_ranking": "auto",
        "slices_by": ["ndcg@10", "hit_rate@10", "recall@10"],
        "confidence": 0.95,
        "few_users": 30,
        "users": 1_200,
        "targets": 1_200,
        "list_length": 10,
        "candidates": {"rule": "occurring", "count": 900, "items": 1_000, "digest": "0f"},
        "stages": figures,
        "intervals": reach,
        "cold": {"users": 0, "small": True, "stages": copy.deepcopy(figures), "intervals": reach},
        "slices": [
            {"by": "history", "name": name, "users": users, "small": users < 30, "stages": figures, "intervals": some}
            for name, users, some in (
                ("at most 4 events", 1_180, reach),
                ("5 to 9 events", 20, {stage: dict.fromkeys(METRICS) for stage in stages}),
            )
        ],
        "comparisons": [
            {
                "metric": "ndcg@10",
                "model": model,
                "with": other,
                "difference": stages[model] - stages[other],
                "interval": [0.001, 0.06],
                "p_value": 0.01,
                "verdict": verdicts.get(other, "better"),
            }
            for model in ("retrieval", "recommend")
            for other in (*verdicts, *(["retrieval"] if model == "recommend" else []))
        ],
        "exposure": [
            {"from": low, "to": low, "items": 5, "events": 0.5, "shown": dict.fromkeys(stages, 0.5)} for low in (0, 1)
        ],
        "ratings": None,
    }


FULL = Report(
    name=HOSTILE,
    evaluation={
        **evaluation({"popularity": "better", "item-kNN": "not told apart"}),
        "ratings": {
            "ratings": 90,
            "users": 60,
            "liked_rating": 4.0,
            "values": {"rmse": 0.9, "auc": None},
            "intervals": {"rmse": [0.8, 1.0]},
            "of_one_for_all": {"rmse": 1.0, "log_loss": 0.6},
            "reliability": [{"probability": 0.2, "share": 0.3, "ratings": 45}] * 2,
        },
    },
    examples=[
        {
            "user_id": HOSTILE,
            "events": 12,
            "history": [
                {"item_id": "a", "title": HOSTILE, "text": HOSTILE, "query": HOSTILE, "rating": 4.5, "day": "d"}
            ],
            "took": [{"item_id": "b", "title": HOSTILE}],
            "recommended": [
                {"item_id": "b", "title": HOSTILE, "hit": True, "because": 0},
                {"item_id": "c", "title": "c", "hit": False, "because": None},
            ],
        }
    ],
    training={"retrieval": [{"epoch": i, "loss": 9.0 / i, "ndcg@10": 0.01 * i} for i in (1, 2, 3)]},
    data={
        "tables": {"items": {"files": 1, "rows": 3, "used": 2, "broken": {HOSTILE: 1}, "notes": {}}},
        "events": {"all": 3},
        "users": 1,
        "items": 2,
        "items_occurring": 2,
    },
    index={
        "kind": "scann",
        "reason": "why",
        "queries": 10,
        "k": 100,
        "measured": [{"kind": "scann", "recall": 0.99, "p50_ms": 0.1, "p99_ms": 0.2}],
    },
    gates=[
        {
            "gate": "quality",
            "passed": False,
            "checks": [
                {"what": "a", "passed": True, "reason": "as before"},
                {"what": HOSTILE, "passed": False, "reason": HOSTILE},
            ],
            "note": HOSTILE,
            "measured": {
                "k": 10,
                "compared": [
                    {
                        "name": HOSTILE,
                        "users": 9,
                        "candidate": 0.1,
                        "last": 0.2,
                        "tolerance": 0.02,
                        "p_value": 0.01,
                        "verdict": "worse",
                    }
                ],
            },
        },
        {"gate": "drift", "passed": True, "checks": [], "note": "", "measured": {"divergence": {HOSTILE: 0.1}}},
        {
            "gate": "infra",
            "passed": True,
            "checks": [],
            "note": "",
            "measured": {"latency": {"rank": {"requests": 5, "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0}}},
        },
    ],
    rating_slices=[
        {
            "by": by,
            "name": "n",
            "ratings": 40,
            "users": 35,
            "auc": None,
            "log_loss": 0.5,
            "calibration": 1.0,
            "liked": 0.7,
            "said": 0.7,
        }
        for by in ("", HOSTILE)
    ],
    configuration=HOSTILE,
    versions={"tensorflow": "2.16.2"},
    command=HOSTILE,
    created="2026-01-01",
)
BARE = Report(name="shop", evaluation={**evaluation({"popularity": "better"}), "slices": [], "exposure": []})


class Tags(HTMLParser):
    """Fails where tags do not close in the order in which they were opened."""

    VOID = ("meta", "link", "br", "circle", "line", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("report", [FULL, BARE], ids=["full", "bare"])
def test_the_page_is_well_formed_and_loads_nothing(report: Report) -> None:
    page = render(report)
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert not tags.open
    for tag, attributes in tags.seen:
        link = attributes.get("href") or attributes.get("src") or ""
        assert link.startswith(("#", "data:")) or not link, (tag, link)
    assert "url(" not in page
    assert "@import" not in page
    ids = [attributes["id"] for _, attributes in tags.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for tag, attributes in tags.seen if tag == "a"}
    assert targets <= {f"#{name}" for name in ids}
    assert [tag for tag, _ in tags.seen].count("h1") == 1


def test_the_verdict_begins_with_a_refusing_gate() -> None:
    banner = render(FULL).split('aria-label="verdict"')[1].split("</section>")[0]
    assert '<section aria-label="verdict" class="verdict bad">' in render(FULL)
    assert "<strong>Not pushed: the quality gate refused the model.</strong>" in banner
    assert "is not significantly different from item-kNN" in banner
    passed = replace(FULL, gates=FULL.gates[1:])
    assert "passed every gate" in render(passed)
    assert "Not pushed" not in render(passed)


def test_texts_of_users_are_escaped() -> None:
    page = render(FULL)
    assert page.count("<script>") == 1, "the page's own"
    assert "&lt;script&gt;" in page
    assert "好书" in page


def test_plots_are_well_formed_and_described() -> None:
    plots = re.findall(r"<svg.*?</svg>", render(FULL), re.DOTALL)
    assert len(plots) >= 5
    for plot in plots:
        root = ElementTree.fromstring(plot)
        assert root.find("title") is not None
        assert root.findtext("desc")


@pytest.mark.parametrize(
    ("verdicts", "tone", "sentence"),
    [
        (
            {"popularity": "better", "item-kNN": "better"},
            "good",
            "Recommend is significantly better than every baseline",
        ),
        (
            {"popularity": "better", "item-kNN": "not told apart"},
            "unclear",
            "is not significantly different from item-kNN",
        ),
        ({"popularity": "worse", "item-kNN": "not told apart"}, "bad", "is significantly worse than popularity"),
    ],
)
def test_the_verdict_is_about_what_is_served(verdicts: dict[str, str], tone: str, sentence: str) -> None:
    result = verdict(evaluation(verdicts), [])
    assert result.tone == tone
    assert sentence in result.sentence
    assert "0.0800" in result.details[0]
    assert "Retrieval" in verdict(evaluation(verdicts, served="retrieval"), []).sentence


def test_the_verdict_names_slices_in_which_a_baseline_is_ahead() -> None:
    result = evaluation({"popularity": "better"})
    assert not any("ahead" in detail for detail in verdict(result, []).details)
    part = copy.deepcopy(result["slices"][0])
    part["intervals"]["popularity"]["ndcg@10"] = [0.2, 0.3]
    result["slices"][0] = part
    assert "history at most 4 events (popularity)" in verdict(result, []).details[-1]
    part["by"] = "popularity of the item"
    assert not any("ahead" in detail for detail in verdict(result, []).details)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.booleans())
def test_ticks_cover_and_are_few(low: float, reach: float, integers: bool) -> None:
    ticks = charts._ticks(low, low + reach, integers=integers)
    assert len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    if not integers:
        invisible = 1e-6 * (abs(low) + reach) + 1e-9  # a plot is a few hundred pixels wide
        assert ticks[0] <= low + invisible
        assert ticks[-1] >= low + reach - invisible


def test_nothing_to_draw() -> None:
    assert charts.lines("empty", {}, "x", "y", from_zero=True) == ""
    assert "<svg" in charts.dots("zero", {"a": [charts.Dot("a", 0.0, None, "model")]})
