"""A new study: its first config, from a look at the images and the table.

Needs
    a folder of images, and a table of annotations if there is one, named on the command line
Makes
    config.yaml in the study's folder: no rule's output, since Snakemake would delete it before it runs again
"""


rule new_study:
    """Write a study's config.yaml: --directory my-study --config images=FOLDER annotations=CSV."""
    log:
        "logs/new_study.log",
    localrule: True
    conda:
        "../envs/baton.yaml"
    params:
        # By functions: in a text Snakemake would fill in what has braces.
        images=lambda wildcards: STUDY.named["images"],
        annotations=lambda wildcards: STUDY.named["annotations"],
        called_in=lambda wildcards: workflow.rundir,
        program=lambda wildcards: CALL.program,
    script:
        "../scripts/new_study.py"
