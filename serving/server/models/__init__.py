"""The served models: finds their versions, loads them, and swaps old ones for new ones."""
