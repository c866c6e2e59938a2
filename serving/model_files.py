"""Files beside an exported graph. TensorFlow Serving reads the warm-up requests alone."""

from pathlib import Path

METADATA = Path("assets.extra", "interest_towers.json")
WARM_UP_REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")
MAX_WARM_UP_RECORDS = 1000  # TensorFlow Serving refuses to load a model with more
