"""What a score can be beside a score; clients import this without TensorFlow."""

import numpy as np

# Of a candidate that is not in the catalogue: below every score, and JSON, which has no infinity, can write it.
NO_SCORE = float(np.finfo(np.float32).min)
