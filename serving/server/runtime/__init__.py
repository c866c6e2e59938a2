"""One loaded SavedModel: its session, its signatures, and how a request runs in it."""
