"""The word that says whether a target was reached."""

from __future__ import annotations


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"
