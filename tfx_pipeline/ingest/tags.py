"""Names of the outputs that transforms have beside their main one, and the kinds of blocks that share a shuffle."""

ITEM_COUNTS = "item_counts"
QUARANTINE = "quarantine"
TALLY = "tally"

INTERACTIONS_BLOCK = 0
USERS_BLOCK = 1
ITEMS_BLOCK = 2
ITEM_COUNTS_BLOCK = 3
QUARANTINE_BLOCK = 4
NO_BLOCK = b""  # makes a shard exist that no row falls into
