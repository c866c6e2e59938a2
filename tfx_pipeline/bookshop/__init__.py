"""The built-in data: a bilingual bookshop, simulated and written as three tables.

`catalogue` and `readers` hold latent properties, `events` simulates, `texts` and `sentences` make texts, `tables`
writes, and `damage` breaks a few rows.
"""

from tfx_pipeline.bookshop.example_users import example_users
from tfx_pipeline.bookshop.tables import INTERACTION_COLUMNS, INTERACTIONS, ITEMS, USER_COLUMNS, USERS, write

__all__ = ["INTERACTIONS", "INTERACTION_COLUMNS", "ITEMS", "USERS", "USER_COLUMNS", "example_users", "write"]
