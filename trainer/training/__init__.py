"""Training loops, independent of the model: epochs, checkpoints, optimizers, precision, distribution."""
