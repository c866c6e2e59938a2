"""The served models: their versions, loading and swaps."""
