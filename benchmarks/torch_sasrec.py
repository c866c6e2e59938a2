"""A plain SASRec in PyTorch (Kang & McAuley, 2018), trained with cross-entropy over the whole catalogue.

`training_speed.py` starts it in its own environment and sends requests on its standard streams, JSON objects, one a
line. Arguments: a JSON object with the sizes, the directory of the data and the number of threads.

    {"train": epoch, "steps": n}  ->  {"seconds": ..., "events": ..., "loss": ...}    n null: all steps of the epoch
    {"validate": true}            ->  {"ndcg@10": ..., "seconds": ...}

The data: `epoch-<n>.npz` with `item_<i>` (int32 [B, P], 0 = padding) and `target_<i>` (0 = not a target) of step i;
`validation.npz` with the requests of `training_speed.py`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """A pre-LN block: causal self-attention, then the position-wise network."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.inner_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query_key_value, self.output = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.inner = nn.Sequential(nn.Linear(dim, inner), nn.ReLU(), nn.Linear(inner, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, positions, dim = x.shape
        projected = self.query_key_value(self.attention_norm(x)).view(batch, positions, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        # No dropout of attention weights: PyTorch has no fused kernel for it and would be slower.
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.output(attended.transpose(1, 2).reshape(batch, positions, dim)))
        return x + self.dropout(self.inner(self.inner_norm(x)))


class SASRec(nn.Module):
    """Item embeddings, learned positions and blocks. The same item embeddings score the next item."""

    def __init__(self, items: int, dim: int, layers: int, heads: int, inner: int, length: int, dropout: float) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, dim, padding_idx=0)
        self.position = nn.Embedding(length, dim)
        nn.init.normal_(self.item.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, inner, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.scale = math.sqrt(dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        x = self.item(items) * self.scale + self.position.weight[: items.shape[1]]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def loss(self, items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of `targets[:, p]`, predicted from `items[:, :p]`. The first event has no history."""
        mask = targets[:, 1:] > 0
        states = self(items[:, :-1])[mask]  # [T, dim]
        return functional.cross_entropy(states @ self.item.weight.T, targets[:, 1:][mask])


class Trainer:
    def __init__(self, options: dict) -> None:
        torch.set_num_threads(options["threads"])
        torch.manual_seed(options["seed"])
        self.directory = Path(options["directory"])
        sizes = {name: options[name] for name in ("items", "dim", "layers", "heads", "inner", "length", "dropout")}
        self.model = SASRec(**sizes)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options["learning_rate"], fused=True)
        self.epoch, self.batches = 0, iter(())

    def train(self, epoch: int, steps: int | None) -> dict[str, float]:
        """Trains for `steps` further steps on the epoch's batches, again from the first after the last; None: all."""
        data = np.load(self.directory / f"epoch-{epoch}.npz")
        loaded = [
            tuple(torch.from_numpy(data[f"{name}_{i}"].astype(np.int64)) for name in ("item", "target"))
            for i in range(len(data.files) // 2)
        ]
        if steps is not None:
            loaded = [loaded[(self.epoch + i) % len(loaded)] for i in range(steps)]
            self.epoch += steps
        self.model.train()
        start, events, total = time.perf_counter(), 0, 0.0
        for items, targets in loaded:
            self.optimizer.zero_grad()
            loss = self.model.loss(items, targets)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
            events += int((targets[:, 1:] > 0).sum())
        return {"seconds": time.perf_counter() - start, "events": events, "loss": total / len(loaded)}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """NDCG@10 over all items that occur, without the user's own."""
        start = time.perf_counter()
        data = np.load(self.directory / "validation.npz")
        items, length, target = data["item"].astype(np.int64), data["length"], data["target"]
        occurs, own, own_offsets = data["occurs"], data["own"], data["own_offsets"]
        self.model.eval()
        gains = np.zeros(len(target))
        for first in range(0, len(target), 256):
            rows = np.arange(first, min(first + 256, len(target)))
            states = self.model(torch.from_numpy(items[rows]))
            last = states[torch.arange(len(rows)), torch.from_numpy(np.maximum(length[rows], 1) - 1).long()]
            scores = (last @ self.model.item.weight.T).numpy()
            scores[:, ~occurs] = -np.inf
            for i, row in enumerate(rows):
                scores[i, own[own_offsets[row] : own_offsets[row + 1]]] = -np.inf
            rank = (scores > scores[np.arange(len(rows)), target[rows]][:, np.newaxis]).sum(axis=1) + 1
            gains[rows] = np.where(rank <= 10, 1 / np.log2(1 + rank), 0)
        return {"ndcg@10": float(gains.mean()), "seconds": time.perf_counter() - start}


def main() -> None:
    trainer = Trainer(json.loads(sys.argv[1]))
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = trainer.validate() if "validate" in request else trainer.train(request["train"], request["steps"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
