"""The quality gate: limits, baselines and the last blessed model."""
