"""The two-tower retrieval model: training, validation, saving and loading."""
