"""A run's directory, its outputs, its users and its report."""
