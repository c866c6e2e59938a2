"""The batch path: computes the expected answers of an export with the code of the evaluation, without the export."""

from __future__ import annotations

import numpy as np

from serving.export.exported_model import Answer
from tfx_pipeline.components.dataset_step import Step
from tfx_pipeline.gates.skew.judgement import ExpectedAnswer
from trainer.data.dataset import Dataset
from trainer.data.tables import UNKNOWN_ITEM
from trainer.evaluation.full_ranking import RankingTask, rank_with_model
from trainer.ranking.model import RankingModel


class BatchPath:
    """Ranks items for users of a split: transformed data goes into the trained models, without the SavedModel.

    Args:
      step: the gate's execution, with `towers` and, if there is one, `ranker` among its inputs.
      dataset: the transformed dataset with the split.
      split: its name.

    Attributes:
      unit: the difference in scores that equals a difference of 1 in logits.
    """

    def __init__(self, step: Step, dataset: Dataset, split: str) -> None:
        # An export ranks the whole catalogue, whatever `evaluation.candidates` is.
        all_items = step.config.evaluation.model_copy(update={"candidates": "all"})
        self._config = step.config.model_copy(update={"evaluation": all_items})
        self._items, self._sequences = dataset.items, dataset.splits[split]
        self._towers = step.load_towers(dataset)
        self._ranker = step.load_ranker(self._towers) if step.ranking_is_served() else None
        self._item_ids = np.concatenate([[""], dataset.items.item_id])  # by item index
        trained = self._towers.config
        # In training, cosines are divided by the temperature to make logits.
        self._retrieval_unit = trained.retrieval.temperature if trained.model.similarity == "cosine" else 1.0
        self.unit = self._retrieval_unit if self._ranker is None else 1.0

    def expected_answers(self, rows: np.ndarray, answers: list[Answer], exact_index: bool) -> list[ExpectedAnswer]:
        """The expected answers of the export to the requests of some users.

        Args:
          rows: int64 [users], the users' rows in the split.
          answers: the export's answers to the same users.
          exact_index: whether the export's index searches exactly. If not, no item is required: an approximate index
            may miss items, and the index gate judges how many.
        """
        k = self._config.serving.k
        scores = self._ranked(rows, k, self._ranker, candidates=self._item_indices(answers, k))
        lists = self._ranked(rows, k, self._ranker)
        required = self._required_items(rows, lists) if exact_index else {}
        return [ExpectedAnswer(scores[row], required.get(row, {}), len(lists[row])) for row in rows.tolist()]

    def _required_items(self, rows: np.ndarray, lists: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
        """The items of each list that the export should return too.

        Without a ranking model, all of them are required. A ranking model sees only the first items of retrieval, its
        candidates. If several items have nearly the same retrieval score as the last candidate, rounding decides which
        of them is a candidate, so none of them is required.
        """
        if self._ranker is None:
            return lists
        candidates = self._undisputed_candidates(rows)
        return {
            row: {item_id: score for item_id, score in scores.items() if item_id in candidates[row]}
            for row, scores in lists.items()
        }

    def _undisputed_candidates(self, rows: np.ndarray) -> dict[int, set[str]]:
        """Row -> ids of the ranking candidates whose scores exceed the last candidate's by more than the tolerance."""
        count, tolerance = self._config.ranking.candidates, self._config.gates.skew_tolerance
        candidates = {}
        for row, scores in self._ranked(rows, count).items():
            threshold = -np.inf
            if len(scores) == count:  # otherwise all items that may be recommended are candidates
                last = min(scores.values())
                threshold = last + tolerance * max(self._retrieval_unit, abs(last))
            candidates[row] = {item_id for item_id, score in scores.items() if score > threshold}
        return candidates

    def _item_indices(self, answers: list[Answer], k: int) -> np.ndarray:
        """Item indices of the answers, int32 [answers, k], padded by UNKNOWN_ITEM."""
        index_of = {item_id: index for index, item_id in enumerate(self._item_ids.tolist())}
        indices = np.full((len(answers), k), UNKNOWN_ITEM, np.int32)
        for row, answer in enumerate(answers):
            item_ids = answer.item_ids[:k]
            indices[row, : len(item_ids)] = [index_of.get(item_id, UNKNOWN_ITEM) for item_id in item_ids]
        return indices

    def _ranked(
        self, rows: np.ndarray, k: int, ranker: RankingModel | None = None, candidates: np.ndarray | None = None
    ) -> dict[int, dict[str, float]]:
        """Row -> item id -> score, best first; see `RankingTask` for `k` and `candidates`."""
        task = RankingTask(self._config, self._items, self._sequences, k=k, users=rows, candidates=candidates)
        lists: dict[int, dict[str, float]] = {}
        for batch in rank_with_model(task, self._towers, ranker):
            for row, items, scores in zip(batch.users, batch.items, batch.scores, strict=True):
                is_item = items != UNKNOWN_ITEM
                lists[int(row)] = dict(zip(self._item_ids[items[is_item]], scores[is_item].tolist(), strict=True))
        return lists
