"""BERT: its files, its weights as KerasNLP layers, and its inference pass."""
