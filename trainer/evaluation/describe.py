"""An evaluation as text for a terminal."""

from __future__ import annotations

from typing import Any

from trainer.evaluation.document import MODELS, main_metric


def line(evaluation: dict[str, Any]) -> str:
    """The main metric of the run's models and of the best baseline in one line."""
    metric = main_metric(evaluation)
    values = {name: stage[metric] for name, stage in evaluation["stages"].items()}
    best = max((name for name in values if name not in MODELS), key=lambda name: values[name])
    models = ", ".join(f"{name} {values[name]:.4f}" for name in MODELS if name in values)
    return f"{metric.upper()} {models}; best baseline {best} {values[best]:.4f}"


def table(evaluation: dict[str, Any]) -> str:
    """The main metrics of each stage, over all held-out users and over cold targets; at most 100 columns wide."""
    lines = []
    k, largest = main_metric(evaluation).split("@")[1], evaluation["slices_by"][-1]
    for title, part in (("all", evaluation), ("cold items", evaluation["cold"])):
        stages = part["stages"]
        columns = list(dict.fromkeys([f"hit_rate@{k}", f"recall@{k}", f"ndcg@{k}", f"mrr@{k}", largest]))
        few = ", few" if part["users"] < evaluation["few_users"] else ""
        heading = f"{evaluation['split']}, {title} ({part['users']:,} users{few})"
        lines.append(f"{heading:<36}" + "".join(f"{name:>12}" for name in columns))
        labels = {} if evaluation["ranking_is_served"] else {"recommend": "recommend (not served)"}
        lines += [
            f"  {labels.get(stage, stage):<34}" + "".join(f"{stages[stage][name]:>12.4f}" for name in columns)
            for stage in _order(stages)
        ]
    return "\n".join(lines)


def _order(stages: dict[str, Any]) -> list[str]:
    """Baselines first, then the run's own models."""
    return [name for name in stages if name not in MODELS] + [name for name in MODELS if name in stages]
