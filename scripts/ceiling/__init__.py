"""The parts of estimate_ceiling: the best that any model could reach against labels that are made of a few answers.

They are inputs of its rule, since Snakemake does not see an edit to an imported module.
"""
