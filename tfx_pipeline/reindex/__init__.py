"""Another catalogue for a trained model, without training."""
