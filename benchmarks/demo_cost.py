"""Seconds and peak memory of `towers demo`, and of a second run with nothing changed.

The environment is set up before the clock starts. Memory is the resident memory of the process and its children,
sampled every 0.2 s. Pages that they share count more than once, so the figure is an upper bound.

Command:  .venv/bin/python benchmarks/demo_cost.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
GIB = 1 << 30


def measure(command: list[str]) -> tuple[float, float, int]:
    """Runs a command to its end and shows its output. Returns wall seconds, CPU seconds, peak bytes."""
    start, peak, cpu = time.monotonic(), 0, 0.0
    process = psutil.Popen(command, cwd=ROOT)
    while process.poll() is None:
        resident, used = 0, 0.0
        for part in [process, *process.children(recursive=True)]:
            try:
                resident += part.memory_info().rss
                used += sum(part.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        peak, cpu = max(peak, resident), max(cpu, used)
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - start, cpu, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        demo = [str(ROOT / "towers"), "demo", "--out", out]
        again = [
            *(str(ROOT / "towers"), "run", "--config", "configs/demo.yaml"),
            *("--data", f"{out}/data", "--out", f"{out}/run"),
        ]
        rows = [(name, *measure(command)) for name, command in (("demo", demo), ("second run", again))]
    print(f"\n{'':<12}{'wall':>10}{'CPU':>10}{'peak memory':>14}")
    for name, wall, cpu, peak in rows:
        print(f"{name:<12}{wall:>8.0f} s{cpu:>8.0f} s{peak / GIB:>10.2f} GiB")


if __name__ == "__main__":
    main()
