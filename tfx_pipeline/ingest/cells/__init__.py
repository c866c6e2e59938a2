"""Cells of any table format converted to values of records: ids, texts, numbers, lists and times, a module each."""
