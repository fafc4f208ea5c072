"""The parts of plan that need no measurement: what follows from what was measured, and how it is told.

They are inputs of its rule, since Snakemake does not see an edit to an imported module.
"""
