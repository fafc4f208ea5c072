"""Data: from the user's images and labels to packed arrays, a split and class weights.

Needs
    data.images, data.annotations of the config (results/demo/ for the demo)
    results/data/agreement.json, ceiling.json, to be known before anything trains
Makes
    results/data/classes.csv, left_out.csv, notes.csv, answers.csv, classes/CLASS/ (links, to look at)
    results/data/inspected.csv, thumbnails.npy, colours.npy, grey.json
    results/data/copies.csv, copies.json, groups.csv
    results/data/split.csv
    results/data/images.csv, corrupt.csv, look_at.csv, dataset/SPLIT/CLASS/ (links, to look at)
    results/data/class_weights.json
    results/data/packed/IMAGES/SPLIT.npy, SPLIT.csv: the only thing that training reads
"""

import re

if STUDY.config["data"]["source"] == "demo":

    rule draw_demo:
        """Write the demo's images (handwritten digits) and annotations."""
        output:
            images=directory("results/demo/images"),
            annotations="results/demo/annotations.csv",
        log:
            "logs/draw_demo.log",
        benchmark:
            "benchmarks/draw_demo.tsv"
        conda:
            "../envs/baton.yaml"
        script:
            "../scripts/draw_demo.py"


rule sort_into_classes:
    """Give every image its class, and link it into results/data/classes/CLASS/."""
    input:
        annotations=STUDY.config["data"]["annotations"] or [],
        images=STUDY.config["data"]["images"] if STUDY.images_are_made else [],
        parts=[
            STUDY.script(f"annotations/{name}.py")
            for name in ("tables", "names", "answers", "classes", "belonging", "folders")
        ],
    output:
        classes="results/data/classes.csv",
        left_out="results/data/left_out.csv",
        notes="results/data/notes.csv",
        answers="results/data/answers.csv",
        folder=directory("results/data/classes"),
    log:
        "logs/sort_into_classes.log",
    benchmark:
        "benchmarks/sort_into_classes.tsv"
    conda:
        "../envs/baton.yaml"
    params:
        data=STUDY.config["data"],
        images_seen=STUDY.images_seen,
        before="results/data/split.csv",
    script:
        "../scripts/sort_into_classes.py"


rule inspect_images:
    """Decode every image once: what is wrong with it, what it is, and a thumbnail."""
    input:
        classes="results/data/classes.csv",
        images=ancient(STUDY.config["data"]["images"]),
        parts=[
            STUDY.script(f"baton/data/{name}.py") for name in ("damage", "grey", "inspected", "thumbnails")
        ],
    output:
        inspected="results/data/inspected.csv",
        thumbnails="results/data/thumbnails.npy",
        colours="results/data/colours.npy",
        grey="results/data/grey.json",
    log:
        "logs/inspect_images.log",
    benchmark:
        "benchmarks/inspect_images.tsv"
    conda:
        "../envs/baton.yaml"
    threads: workflow.cores or 1
    resources:
        mem_mb=STUDY.memory_of_decoding,
    params:
        megapixels=STUDY.config["images"]["megapixels"],
    script:
        "../scripts/inspect_images.py"


rule find_copies:
    """Find images that are copies of one another, and which are to stay in one split."""
    input:
        classes="results/data/classes.csv",
        inspected="results/data/inspected.csv",
        thumbnails="results/data/thumbnails.npy",
        colours="results/data/colours.npy",
        parts=[STUDY.script(f"copies/{name}.py") for name in ("candidates", "registration", "chains")],
    output:
        copies="results/data/copies.csv",
        groups="results/data/groups.csv",
        facts="results/data/copies.json",
    log:
        "logs/find_copies.log",
    benchmark:
        "benchmarks/find_copies.tsv"
    conda:
        "../envs/baton.yaml"
    threads: workflow.cores or 1
    resources:
        mem_mb=STUDY.memory_of_copies,
    params:
        keep_together=STUDY.config["holdout"]["keep_together"],
        warned=STUDY.config["images"]["warned"],
    script:
        "../scripts/find_copies.py"


rule split_holdout:
    """Draw the images held out for validation and test, or take the given splits."""
    input:
        classes="results/data/classes.csv",
        inspected="results/data/inspected.csv",
        groups="results/data/groups.csv",
        parts=[STUDY.script("holdout/groups.py")],
    output:
        split="results/data/split.csv",
    log:
        "logs/split_holdout.log",
    benchmark:
        "benchmarks/split_holdout.tsv"
    conda:
        "../envs/baton.yaml"
    params:
        holdout=STUDY.config["holdout"],
        given=STUDY.splits_are_given,
        warned=STUDY.config["images"]["warned"],
        before="results/data/images.csv",
    script:
        "../scripts/split_holdout.py"


rule filter_corrupt:
    """Set the damaged images aside, and link the others into dataset/SPLIT/CLASS/."""
    input:
        split="results/data/split.csv",
        inspected="results/data/inspected.csv",
        grey="results/data/grey.json",
        copies="results/data/copies.csv",
        images=ancient(STUDY.config["data"]["images"]),
        parts=[STUDY.script(f"baton/data/{name}.py") for name in ("inspected", "copies")],
    output:
        images="results/data/images.csv",
        corrupt="results/data/corrupt.csv",
        look_at="results/data/look_at.csv",
        folder=directory("results/data/dataset"),
    log:
        "logs/filter_corrupt.log",
    benchmark:
        "benchmarks/filter_corrupt.tsv"
    conda:
        "../envs/baton.yaml"
    params:
        holdout=STUDY.config["holdout"],
        warned=STUDY.config["images"]["warned"],
    script:
        "../scripts/filter_corrupt.py"


rule weigh_classes:
    """Number the classes, and weigh each by how rare it is in training."""
    input:
        images="results/data/images.csv",
        grey="results/data/grey.json",
    output:
        weights="results/data/class_weights.json",
    log:
        "logs/weigh_classes.log",
    benchmark:
        "benchmarks/weigh_classes.tsv"
    conda:
        "../envs/baton.yaml"
    params:
        classes=list(STUDY.config["data"]["classes"] or []),
    script:
        "../scripts/weigh_classes.py"


rule pack_images:
    """Decode and resize every image once, into arrays that training maps into memory.

    A folder for each size and, where models get synthetic images, for each share of them.
    """
    input:
        manifest="results/data/images.csv",
        weights="results/data/class_weights.json",
        # So that what can be known of the labels is known before anything trains.
        agreement=ancient("results/data/agreement.json"),
        ceiling=ancient("results/data/ceiling.json"),
        images=ancient(STUDY.config["data"]["images"]),
    output:
        train="results/data/packed/{images}/train.npy",
        validation="results/data/packed/{images}/validation.npy",
        test="results/data/packed/{images}/test.npy",
        train_manifest="results/data/packed/{images}/train.csv",
        validation_manifest="results/data/packed/{images}/validation.csv",
        test_manifest="results/data/packed/{images}/test.csv",
    log:
        "logs/pack_images/{images}.log",
    benchmark:
        "benchmarks/pack_images/{images}.tsv"
    wildcard_constraints:
        images="|".join(map(re.escape, STUDY.packed)),
    conda:
        "../envs/baton.yaml"
    threads: workflow.cores or 1
    resources:
        mem_mb=STUDY.memory_of_packing,
    params:
        size=lambda wildcards: STUDY.packed[wildcards.images].size,
        synthetic_fraction=lambda wildcards: STUDY.packed[wildcards.images].synthetic_fraction,
        augmentation=lambda wildcards: STUDY.augmentation_of(wildcards.images),
        seed=STUDY.config["holdout"]["seed"],
    script:
        "../scripts/pack_images.py"


rule pack:
    """The packed images, all that training needs of the data."""
    input:
        [f"results/data/packed/{images}/train.npy" for images in STUDY.packed],
