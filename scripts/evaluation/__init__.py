"""The parts of evaluate beside the measuring: what is said of a model to whom it is handed on.

They are inputs of its rule, since Snakemake does not see an edit to an imported module.
"""
