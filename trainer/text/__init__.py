"""Text: cleaning, languages, the BERT encoder, its fine-tuning, and the store of its vectors."""
