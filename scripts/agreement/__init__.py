"""The parts of measure_agreement: how far annotators agree, and how each of them compares with the others.

They are inputs of its rule, since Snakemake does not see an edit to an imported module.
"""
