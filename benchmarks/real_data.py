"""Whole runs, raw files to pushed model, on public data sets: retrieval beside popularity, with times.

The data is not part of this project; each configuration's head says how it is laid out below --data.

Command:  .venv/bin/python benchmarks/real_data.py --data DIR [--sets amazon_reviews douban_books movielens_1m]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
METRICS = ("recall@10", "ndcg@10")
STAGES = ("popularity", "retrieval", "recommend")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="as for `towers run`")
    parser.add_argument("--sets", nargs="+", default=["amazon_reviews", "douban_books"], help="names in configs/")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAMLs")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as out:
            start = time.monotonic()
            done = subprocess.run(
                [
                    *(str(ROOT / "towers"), "run", "--config", f"configs/{name}.yaml"),
                    *("--data", str(arguments.data.absolute()), "--out", f"{out}/run"),
                    *(argument for override in arguments.set for argument in ("--set", override)),
                ],
                cwd=ROOT,
                check=False,
                stdout=subprocess.DEVNULL,
            )
            if done.returncode:
                sys.exit(f"{name}: the run failed, see above")
            evaluation = json.loads(Path(out, "run", "report", "evaluation.json").read_text(encoding="utf-8"))
            rows.append((name, time.monotonic() - start, evaluation))
    print(f"\n{'':<20}{'stage':<12}" + "".join(f"{metric:>12}" for metric in METRICS) + f"{'cold':>12}{'seconds':>10}")
    for name, seconds, evaluation in rows:
        for stage in STAGES:
            if stage in evaluation:
                figures = [evaluation[stage][metric] for metric in METRICS] + [evaluation["cold"][stage]["recall@10"]]
                last = f"{seconds:>10.0f}" if stage == STAGES[0] else ""
                print(f"{name:<20}{stage:<12}" + "".join(f"{figure:>12.4f}" for figure in figures) + last)
    print("cold: recall@10 over targets with at most 5 train events")


if __name__ == "__main__":
    main()
