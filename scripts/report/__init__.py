"""The parts of write_report: what is collected, drawn and shown, and the page.

They are inputs of its rule, since Snakemake does not see an edit to an imported module.
"""
