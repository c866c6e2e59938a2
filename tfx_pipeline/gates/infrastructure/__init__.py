"""The infrastructure gate: does the export load and answer in the server?"""
