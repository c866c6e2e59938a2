"""Offline evaluation: metrics, baselines and full-catalogue ranking."""
