"""The score of items that cannot be scored."""

import numpy as np

# The score of a candidate that is not in the catalogue: lower than all others, but finite, as JSON needs.
NO_SCORE = float(np.finfo(np.float32).min)
