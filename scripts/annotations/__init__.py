"""The parts of sort_into_classes that read a CSV of annotations: its rows, the names of images in it, and the answers.

They are inputs of its rule, since Snakemake does not see an edit to an imported module.
"""
