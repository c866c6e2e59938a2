"""all-MiniLM-L6-v2 through sentence-transformers on PyTorch; `encoding_speed.py` starts it in its own environment.

Arguments: a JSON object with the model's directory, the maximum length in tokens, texts per batch, threads. Requests
and answers on the standard streams are JSON objects, one a line:

    {"texts": [...], "vectors": path}  ->  {"seconds": ...}     vectors: float32 [texts, width], as an .npy file
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from sentence_transformers import SentenceTransformer


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    model = SentenceTransformer(options["model"], device="cpu", local_files_only=True)
    model.max_seq_length = options["max_tokens"]
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        vectors = model.encode(
            request["texts"],
            batch_size=options["batch_size"],
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        seconds = time.perf_counter() - start
        np.save(request["vectors"], vectors)
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
