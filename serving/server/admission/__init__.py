"""Which calls get a thread, and which are refused because the server has too many."""
