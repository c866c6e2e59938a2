"""Speed of encoding all Musical Instruments reviews, side by side: texts/s.

- ours: `TextEncoder.encode_texts`, length-sorted batches, cleaning and tokenizer included, matrix products in the
  precision that `text.precision: auto` selects on this machine, and in float32;
- padded: the same encoder, every text padded to `text.max_tokens`, and to all positions of the encoder, as KerasNLP's
  preprocessor does by default;
- sentence-transformers on PyTorch, in its own environment, with the same model files (offline), on cleaned texts.

The texts are divided into pieces, and the variants take turns, so that noise of the machine affects all of them alike.
A ratio is that of the times per text; the lowest and highest ratio of a piece are printed beside it. Padded encoding
and float32 encode only a share of each piece, because they would take most of the time. Vectors are compared text by
text.

Command:  .venv/bin/python benchmarks/encoding_speed.py --data DIR
          to try it: --texts 300
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from own_environment import TORCH, python_with
from threads import use_threads
from worker import Worker

ROOT = Path(__file__).parents[1]
SENTENCES = "sentence-transformers"
COLUMNS = ("summary", "reviewText")  # as configs/amazon_reviews.yaml has them
OURS = "ours, length-sorted"


Encode = Callable[[list[str]], np.ndarray]


@dataclass
class Times:
    """Texts and seconds of each piece, and the lowest cosine between a vector and ours."""

    texts: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lowest_cosine: float = 1.0

    @property
    def rate(self) -> float:
        return sum(self.texts) / sum(self.seconds)

    @property
    def rates(self) -> list[float]:
        return [texts / seconds for texts, seconds in zip(self.texts, self.seconds, strict=True)]

    def add(self, texts: int, seconds: float) -> None:
        self.texts.append(texts)
        self.seconds.append(seconds)

    def measure(self, encode: Encode, texts: list[str]) -> np.ndarray:
        start = time.perf_counter()
        vectors = encode(texts)
        self.add(len(texts), time.perf_counter() - start)
        return vectors

    def compare(self, vectors: np.ndarray, reference: np.ndarray) -> None:
        self.lowest_cosine = min(self.lowest_cosine, float((vectors * reference).sum(axis=1).min()))


def reviews(path: Path) -> list[str]:
    """The text of each review, joined as ingestion joins columns."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    joined = ["\n".join(filter(None, ((row.get(column) or "").strip() for column in COLUMNS))) for row in rows]
    return [text for text in joined if text]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="as for `towers run`")
    parser.add_argument(
        "--environment",
        type=Path,
        help="PyTorch's, created if missing (default: temporary)",
    )
    parser.add_argument("--texts", type=int, help="number of reviews, chosen by the seed (default: all)")
    parser.add_argument("--pieces", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.1, help="of a piece, also encoded padded and in float32")
    parser.add_argument("--max-tokens", type=int, help="length at which texts are cut (default: the configuration's)")
    parser.add_argument("--batch-size", type=int, default=32, help="of sentence-transformers (default: its own)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    use_threads(arguments.threads)
    from trainer.config import loader as config_loader
    from trainer.graphs import AnyShapeFunction
    from trainer.text.bert import directory as bert_directory
    from trainer.text.cleaning import clean
    from trainer.text.pretrained import load_encoder
    from trainer.training.precision import product_type

    config = config_loader.load(ROOT / "configs" / "amazon_reviews.yaml")
    max_tokens = arguments.max_tokens or config.text.max_tokens
    texts = reviews(arguments.data / config.data.interactions.path)
    order = np.random.default_rng(arguments.seed).permutation(len(texts))[: arguments.texts]
    texts = [texts[i] for i in order]
    files = bert_directory.read(config.text.encoder)
    products = product_type(config.text.precision)
    encoder = load_encoder(config.text.encoder, max_tokens, products)
    plain = load_encoder(config.text.encoder, max_tokens)
    embed = AnyShapeFunction(encoder.embed_tokens)
    budget = config.text.tokens_per_batch

    def ours(texts: list[str]) -> np.ndarray:
        return encoder.encode_texts(texts, budget)

    def in_float32(texts: list[str]) -> np.ndarray:
        return plain.encode_texts(texts, budget)

    def padded_to(length: int) -> Encode:
        def encode(texts: list[str]) -> np.ndarray:
            sequences = encoder.tokenize(clean(texts).numpy().tolist())
            vectors = []
            for first in range(0, len(sequences), budget // length):
                short = encoder.pad(sequences[first : first + budget // length])
                vectors.append(embed(np.pad(short, [[0, 0], [0, length - short.shape[1]]])).numpy())
            return np.concatenate(vectors)

        return encode

    others = {f"ours, padded to {length}": padded_to(length) for length in sorted({max_tokens, files.max_positions})}
    others["ours, in float32"] = in_float32
    times = {name: Times() for name in (OURS, *others, SENTENCES)}
    tokens = 0
    with tempfile.TemporaryDirectory() as scratch:
        environment = (arguments.environment or Path(scratch, "environment")).absolute()
        python = python_with(environment, TORCH, "sentence-transformers")
        sizes = {"max_tokens": max_tokens, "batch_size": arguments.batch_size}
        with Worker(python, "torch_sentences.py", arguments.threads, model=str(files.directory), **sizes) as worker:
            print(f"PyTorch {worker.info['torch']}, {worker.info['threads']} threads", file=sys.stderr)
            vectors = Path(scratch, "vectors.npy")
            for warm in (ours, *others.values()):
                warm(texts[:32])
            worker.ask(texts=texts[:32], vectors=str(vectors))
            for piece in (texts[i :: arguments.pieces] for i in range(arguments.pieces)):
                reference = times[OURS].measure(ours, piece)
                share = piece[: max(1, round(len(piece) * arguments.share))]
                for name, encode in others.items():
                    times[name].compare(times[name].measure(encode, share), reference[: len(share)])
                cleaned = [text.decode("utf-8") for text in clean(piece).numpy()]
                tokens += sum(map(len, encoder.tokenize(cleaned)))
                answer = worker.ask(texts=cleaned, vectors=str(vectors))
                times[SENTENCES].add(len(piece), answer["seconds"])
                times[SENTENCES].compare(np.load(vectors), reference)
                rates = ", ".join(f"{name} {variant.rates[-1]:,.0f}" for name, variant in times.items())
                print(f"texts/s: {rates}", file=sys.stderr, flush=True)

    print(
        f"\n{len(texts):,} reviews, {tokens / len(texts):.0f} tokens each on average, cut at {max_tokens}; "
        f"products in {products.name}; {arguments.threads} threads"
    )
    print(f"{'':<24}{'texts/s':>10}{'ours/it':>10}{'of a piece':>16}{'lowest cosine':>16}")
    for name, variant in times.items():
        ratios = np.array(times[OURS].rates) / np.array(variant.rates)
        line = f"{name:<24}{variant.rate:>10,.0f}{times[OURS].rate / variant.rate:>9.2f}x"
        print(line + f"{f'{ratios.min():.2f} - {ratios.max():.2f}':>16}{variant.lowest_cosine:>16.5f}")


if __name__ == "__main__":
    main()
