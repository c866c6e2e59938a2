"""What a model has to pass before it is pushed: each gate compares figures with limits and says what it found."""
