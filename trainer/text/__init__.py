"""Text: cleaning, keys, the BERT encoder, and the store of what it has encoded."""
