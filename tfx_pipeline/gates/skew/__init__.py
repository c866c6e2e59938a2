"""The skew gate: does the export answer as the batch path does?"""
