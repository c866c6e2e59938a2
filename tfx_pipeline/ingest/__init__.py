"""Ingestion: raw tables to point-in-time sequences and a catalogue, in one Beam pipeline.

`dataset.ingest` reads all tables and `catalogue.ingest_items` the items table alone; `job` holds what they share.
Formats of files are in `readers`, conversions of cells in `cells`.
"""
