"""Which calls are refused because the server has too many."""
