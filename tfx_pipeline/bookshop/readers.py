"""Latent properties of the bookshop's readers, as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfx_pipeline.bookshop.texts import CATEGORIES, TOPICS

AGE_BANDS = ("under 18", "18-24", "25-34", "35-49", "50-64", "65+")
READS = ("en", "zh", "both")  # `language` of a reader
# Region, its offset from UTC in hours (no summer time: one clock a region keeps the file plain), share by READS.
REGIONS = (
    ("Beijing", 8, (0.02, 0.35, 0.2)),
    ("Shanghai", 8, (0.03, 0.35, 0.25)),
    ("Singapore", 8, (0.1, 0.1, 0.3)),
    ("London", 0, (0.4, 0.05, 0.1)),
    ("New York", -5, (0.3, 0.1, 0.1)),
    ("Vancouver", -8, (0.15, 0.05, 0.05)),
)
UTC_OFFSETS = np.array([offset for _, offset, _ in REGIONS])  # hours, by region


@dataclass(frozen=True)
class Readers:
    """Latent properties of the readers, all [users] unless noted otherwise."""

    reads: np.ndarray  # int8, index into READS
    age_band: np.ndarray  # int8
    region: np.ndarray  # int8
    chronotype: np.ndarray  # float32, favourite hour of the local day
    start: np.ndarray  # float32, share of the two years
    end: np.ndarray  # float32
    category: np.ndarray  # int8, favourite category
    topics: np.ndarray  # int8 [users, 4], lasting interests, strongest first
    offsets: np.ndarray  # int64 [users + 1], number of events before each reader's first

    def __len__(self) -> int:
        return len(self.reads)


def make_readers(users: int, events: int, random: np.random.Generator) -> Readers:
    reads = random.choice(len(READS), size=users, p=(0.4, 0.45, 0.15))
    shares = np.array([share for _, _, share in REGIONS])
    region = np.empty(users, np.int8)
    for group in range(len(READS)):
        members = np.flatnonzero(reads == group)
        region[members] = random.choice(len(REGIONS), size=len(members), p=shares[:, group])
    start = 0.75 * random.random(users) ** 1.5
    # Each reader has one event; the others are distributed by activity, which is skewed.
    activity = np.exp(0.75 * random.standard_normal(users))
    quota = np.cumsum(activity / activity.sum() * (events - users))
    quota[-1] = events - users
    offsets = np.concatenate([[0], np.floor(quota).astype(np.int64) + np.arange(1, users + 1)])
    return Readers(
        reads=reads.astype(np.int8),
        age_band=random.choice(len(AGE_BANDS), size=users, p=(0.06, 0.17, 0.27, 0.27, 0.15, 0.08)).astype(np.int8),
        region=region,
        chronotype=random.choice([8.0, 13.0, 21.0], size=users, p=(0.25, 0.2, 0.55)).astype(np.float32),
        start=start.astype(np.float32),
        end=(start + (1 - start) * random.uniform(0.8, 1.0, users)).astype(np.float32),
        category=random.integers(len(CATEGORIES), size=users).astype(np.int8),
        topics=random.integers(len(TOPICS), size=(users, 4)).astype(np.int8),
        offsets=offsets,
    )
