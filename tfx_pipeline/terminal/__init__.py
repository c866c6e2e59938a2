"""What the person at the terminal sees: progress, failures, interrupts."""
