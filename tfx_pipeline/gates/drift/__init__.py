"""The drift gate: have the features changed since the last blessed run?"""
