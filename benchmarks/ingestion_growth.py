"""Rows per second and peak memory of ingestion as the data grows.

Each size runs in its own process, on the built-in bookshop (with its texts), with Beam's local runner. The process
first ingests a small dataset, so that imports and start-up count towards neither time nor memory. Both wall time and
CPU time are measured: on a machine that others use too, only CPU time is steady.

Command:  .venv/bin/python benchmarks/ingestion_growth.py [--sizes 100000 1000000]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EVENTS_PER_USER = 20
START_UP_EVENTS = 2_000
GIB = 1 << 30


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(data: str, small_data: str) -> dict[str, float]:
    """Ingests in this process. Returns rows, seconds (wall and CPU) and peak bytes beyond start-up."""
    from tfx_pipeline.ingest import dataset
    from trainer.config import loader as config_loader

    config = config_loader.load(Path(__file__).parent.parent / "configs" / "demo.yaml")

    def ingest(root: str) -> int:
        with tempfile.TemporaryDirectory() as out:
            paths = dataset.OutputPaths(*(str(Path(out, name)) for name in ("sequences", "items", "quarantine")))
            report = dataset.ingest(config, root, paths)
        return report.tables["interactions"].rows

    ingest(small_data)
    start_up, wall, cpu = peak_bytes(), time.perf_counter(), time.process_time()
    rows = ingest(data)
    return {
        "rows": rows,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "bytes": peak_bytes() - start_up,
        "start_up": start_up,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000], metavar="EVENTS")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return

    from tfx_pipeline import bookshop

    def write(directory: Path, events: int) -> Path:
        users = max(1, events // EVENTS_PER_USER)
        bookshop.write(directory, users=users, items=max(100, users // 10), events=events, seed=arguments.seed)
        return directory

    print(
        f"{'rows':>12} {'rows/s':>10} {'rows/CPU s':>12} {'peak beyond start-up':>22} {'a million rows':>16} "
        f"{'CPU/row':>9}"
    )
    smallest = None
    with tempfile.TemporaryDirectory() as scratch:
        small = write(Path(scratch, "small"), START_UP_EVENTS)
        for size in arguments.sizes:
            data = write(Path(scratch, str(size)), size)
            command = [sys.executable, __file__, "--measure", str(data), str(small)]
            # stderr is TensorFlow's and Beam's start-up noise; it is shown if the run fails.
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                sys.exit(run.stderr)
            result = json.loads(run.stdout.splitlines()[-1])
            per_row = result["cpu"] / result["rows"]
            smallest = smallest or per_row
            print(
                f"{result['rows']:>12,} {result['rows'] / result['wall']:>10,.0f} {1 / per_row:>12,.0f} "
                f"{result['bytes'] / GIB:>18.2f} GiB {result['bytes'] / GIB / result['rows'] * 1e6:>12.2f} GiB "
                f"{per_row / smallest:>8.2f}x"
            )


if __name__ == "__main__":
    main()
