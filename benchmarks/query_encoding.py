"""Cost of encoding one query, as served and in variants that were tried: milliseconds of the encoder alone, from token
ids to a vector, one text at a time.

- as served: `trainer.text.bert.inference`, float32, no padding;
- padded to 64 tokens, like graphs of one static shape;
- KerasNLP's own layers, without padding;
- bfloat16 products: faster only with AVX-512 BF16 or AMX. Not served, because an exported graph may run on any machine;
- compiled by XLA, each length separately, float32 and bfloat16: not served, because the first text of each length waits
  for the compiler, as long as the last column shows.

The variants take turns, text by text.

Command:  .venv/bin/python benchmarks/query_encoding.py
          to try it: --rounds 5 --words 3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from serving_requests import WORDS
from threads import use_threads

SERVED, PADDED = "as served", "padded to 64 tokens"
_WARM_UP = 3  # calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--words", type=int, nargs="+", default=[3, 8, 16])
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    import tensorflow as tf

    from trainer.text.pretrained import load_encoder
    from trainer.training.precision import product_type

    served = load_encoder(arguments.encoder, 128)
    half = load_encoder(arguments.encoder, 128, tf.bfloat16)
    ids = tf.TensorSpec([None, None], tf.int32)

    def unfused(token_ids: tf.Tensor) -> tf.Tensor:
        inputs = served.bert_inputs(token_ids)
        return served.pool(served.backbone(inputs)["sequence_output"], inputs["padding_mask"])

    def traced(function: Callable) -> Callable:
        return tf.function(function, input_signature=[ids], autograph=False)

    def compiled(function: Callable) -> Callable:
        return tf.function(function, jit_compile=True, autograph=False)

    embed = traced(served.embed_tokens)
    variants: dict[str, Callable[[np.ndarray], tf.Tensor]] = {
        SERVED: embed,
        PADDED: lambda tokens: embed(np.pad(tokens, [[0, 0], [0, 64 - tokens.shape[1]]])),
        "KerasNLP's layers": traced(unfused),
        "bfloat16": traced(half.embed_tokens),
        "XLA": compiled(served.embed_tokens),
        "XLA, bfloat16": compiled(half.embed_tokens),
    }
    gains = "has" if product_type("auto") == tf.bfloat16 else "has no"
    print(f"{arguments.encoder}, {arguments.threads} threads; this processor {gains} instructions for bfloat16\n")
    print(f"{'one query of':<22}{'tokens':>7}{'p50 ms':>8}{'p95':>7}{'padded / it':>13}{'cosine':>9}{'first call':>12}")
    random = np.random.default_rng(1)
    for words in arguments.words:
        texts = [" ".join(random.choice(WORDS, words)) for _ in range(arguments.rounds)]
        sequences = [served.pad([sequence]) for sequence in served.tokenize(texts)]
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        first, cosine = {}, dict.fromkeys(variants, 1.0)
        for number, tokens in enumerate([sequences[0]] * _WARM_UP + sequences):
            vectors = {}
            for name, encode in variants.items():
                start = time.perf_counter()
                vectors[name] = encode(tokens).numpy()[0]
                elapsed = time.perf_counter() - start
                first.setdefault(name, elapsed)
                if number >= _WARM_UP:
                    seconds[name].append(elapsed)
                cosine[name] = min(cosine[name], float(vectors[name] @ vectors[SERVED]))
        padded = np.median(seconds[PADDED])
        for name, times in seconds.items():
            p50, p95 = 1e3 * np.percentile(times, [50, 95])
            head = f"{words} words, {name}"
            print(
                f"{head:<29}" if len(head) > 22 else f"{head:<22}{sequences[0].shape[1]:>7}",
                f"{p50:>7.2f}{p95:>7.1f}{padded / np.median(times):>12.2f}x{cosine[name]:>9.5f}{first[name]:>10.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
