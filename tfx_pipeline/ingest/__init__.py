"""From raw tables to point-in-time sequences and a catalogue, in one Beam pipeline. See `dataset.ingest`."""
