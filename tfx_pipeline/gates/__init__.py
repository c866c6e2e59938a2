"""The gates that a model has to pass before it is pushed. Each compares figures with limits and writes a verdict."""
