"""One loaded SavedModel: its session, its signatures, and how it runs a request."""
