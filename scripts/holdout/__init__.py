"""The part of split_holdout that draws groups of images instead of images.

It is an input of its rule, since Snakemake does not see an edit to an imported module.
"""
