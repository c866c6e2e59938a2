"""The type of a training batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Batch = dict[str, np.ndarray]  # feature -> [rows, ...], the same number of rows in each
CountExamples = Callable[[Batch], int]  # how many examples a batch has
