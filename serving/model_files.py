"""Files in an exported model beside its graph. TensorFlow Serving reads only the warm-up requests."""

from pathlib import Path

METADATA = Path("assets.extra", "interest_towers.json")
WARM_UP_REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")
MAX_WARM_UP_RECORDS = 1000  # TensorFlow Serving refuses to load a model with more
