"""The parts of find_copies: which pairs may be copies, whether they are, and what is kept together.

They are inputs of its rule, since Snakemake does not see an edit to an imported module.
"""
