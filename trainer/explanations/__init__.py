"""Explanations: which past event of a user explains a recommendation best."""
