"""How much each kind of input adds to retrieval: ids only, + item text, + user's own text, + context, + all the rest.

Each line is a model trained from scratch with one more kind of input. It is evaluated on the test split in full ranking
and compared with the line before, seed by seed. A difference that is not larger than its standard deviation over seeds
does not count as a gain. The datasets are those of retrieval_quality.py and the built-in bookshop (`demo`), which is
written to WORK if it is not there. Ranking is off.

Command:  .venv/bin/python benchmarks/ablation.py --sets demo --work DIR --out quality.json
          .venv/bin/python benchmarks/ablation.py --data DIR --work DIR --out quality.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from experiment import Result, Results, mean_and_spread, train_and_test
from prepared import ROOT, prepared

from tfx_pipeline import bookshop
from trainer.config import Config, ModelConfig
from trainer.data.dataset import Dataset
from trainer.towers.inputs import item_inputs, user_inputs

SETS = ("amazon_reviews", "douban_books", "movielens_1m", "online_retail", "demo")
METRICS = {"ndcg@10": "NDCG@10", "hit_rate@10": "HR@10"}
# Line -> the switches that it turns on; the last line turns on all others.
LINES: dict[str, tuple[str, ...]] = {
    "ids only": ("use_item_id", "use_item_neighbours"),
    "+ item text": ("use_item_text",),
    "+ user's own text": ("use_event_text", "use_query"),
    "+ context": ("use_context",),
    "+ all the rest": (),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="as for `towers run`; `demo` needs none")
    parser.add_argument("--work", required=True, type=Path, help="directory of prepared datasets, WORK/SET")
    parser.add_argument("--out", required=True, type=Path, help="JSON file of finished results")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, metavar="SET", help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAMLs")
    arguments = parser.parse_args()
    if arguments.data is None and arguments.sets != ["demo"]:
        parser.error("--data is needed for all sets but demo")
    results = Results(arguments.out)
    for name in arguments.sets:
        data = arguments.data
        if name == "demo":
            data = arguments.work / "demo_data"
            if not data.exists():
                bookshop.write(data)
        sets = [*arguments.set, "ranking.enabled=false"]
        config, dataset = prepared(ROOT / "configs" / f"{name}.yaml", data, arguments.work / name, sets)
        lines, omitted = lines_of(config, dataset)
        line_results: dict[str, list[Result]] = {title: [] for title in lines}
        for seed in arguments.seeds:
            for title, model in lines.items():
                changed = config.model_copy(update={"seed": seed, "model": model})
                line_results[title].append(results.get(changed, "retrieval", train_and_test, changed, dataset))
        print(f"\n{table(name, arguments.seeds, line_results, omitted)}", flush=True)


def lines_of(config: Config, dataset: Dataset) -> tuple[dict[str, ModelConfig], list[str]]:
    """The model settings of each line, and the lines that are left out because this data has no such input.

    A switch that the configuration turns off stays off.
    """
    switches = [name for name in ModelConfig.model_fields if name.startswith("use_")]
    named = {switch for line in LINES.values() for switch in line}
    lines: dict[str, ModelConfig] = {}
    omitted: list[str] = []
    on: set[str] = set()
    before: Any = None
    for title, turned_on in LINES.items():
        on |= set(turned_on) or set(switches) - named
        model = config.model.model_copy(
            update={switch: switch in on and getattr(config.model, switch) for switch in switches}
        )
        clock = config.data.interactions.time_format != "order"
        inputs = (
            item_inputs(model, dataset.items, dataset.texts),
            user_inputs(model, dataset.train, dataset.texts, clock),
        )
        if inputs == before:
            omitted.append(title)
        else:
            lines[title] = model
        before = inputs
    return lines, omitted


def table(name: str, seeds: list[int], line_results: dict[str, list[Result]], omitted: list[str]) -> str:
    """The table of one dataset; at most 100 columns wide."""
    lines = [f"{name}, test, seeds {', '.join(map(str, seeds))}"]
    lines.append(f"{'':<20}" + "".join(f"{heading:>9}{'gain on the line before':>31}" for heading in METRICS.values()))
    popularity = next(iter(line_results.values()))[0]["popularity"]
    lines.append(f"{'popularity':<20}" + "".join(f"{popularity[metric]:>9.4f}{'':>31}" for metric in METRICS))
    before: list[Result] = []
    for title, results in line_results.items():
        cells = ""
        for metric in METRICS:
            mean, _ = mean_and_spread([result[metric] for result in results])
            cells += f"{mean:>9.4f}{gain(results, before, metric) if before else '':>31}"
        lines.append(f"{title:<20}{cells}")
        before = results
    lines += [f"{title:<20}    left out: the data has no such columns" for title in omitted]
    return "\n".join(lines)


def gain(results: list[Result], before: list[Result], metric: str) -> str:
    """Mean and standard deviation of the differences of each seed, and whether they are a gain."""
    differences = [result[metric] - earlier[metric] for result, earlier in zip(results, before, strict=True)]
    mean, spread = mean_and_spread(differences)
    if len(differences) < 2:
        return f"{mean:+.4f} (one seed)"
    verdict = "no gain" if abs(mean) <= spread else "gain" if mean > 0 else "loss"
    return f"{mean:+.4f} ±{spread:.4f} {verdict}"


if __name__ == "__main__":
    main()
