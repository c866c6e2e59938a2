"""The built-in data: a bilingual bookshop, simulated and written as three tables."""

from tfx_pipeline.bookshop.tables import (
    INTERACTION_COLUMNS,
    INTERACTIONS,
    ITEMS,
    USER_COLUMNS,
    USERS,
    example_users,
    write,
)

__all__ = ["INTERACTIONS", "INTERACTION_COLUMNS", "ITEMS", "USERS", "USER_COLUMNS", "example_users", "write"]
