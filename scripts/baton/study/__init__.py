"""The study: what the config asks for, what is there of it, and the call of Snakemake that works on it.

Standard library, PyYAML, jsonschema and psutil only: a dry run imports this room, and every job's Snakemake.
"""
