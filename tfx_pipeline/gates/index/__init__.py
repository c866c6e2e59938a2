"""The index gate: does the index reach its recall and latency?"""
