"""The terminal: progress of steps, messages of failures, interrupts."""
