"""Lines that a server process prints for the process that started it."""

READY = "serving "  # begins the line of a server that is ready
FAILURE = "failure: "  # begins the line of a worker that cannot start
