"""Answers: how far annotators agree, what any model could reach against their labels, and what models may learn of them.

Needs
    results/data/answers.csv, classes.csv, images.csv, class_weights.json
Makes
    results/data/agreement.json, annotators.csv
    results/data/ceiling.json
    results/data/answers_learned.csv, answers_tested.csv where images have several answers
"""


rule measure_agreement:
    """Measure how far annotators agree, as a whole and each against the others."""
    input:
        answers="results/data/answers.csv",
        classes="results/data/classes.csv",
        parts=[STUDY.script(f"agreement/{name}.py") for name in ("reliability", "annotators")],
    output:
        agreement="results/data/agreement.json",
        annotators="results/data/annotators.csv",
    log:
        "logs/measure_agreement.log",
    benchmark:
        "benchmarks/measure_agreement.tsv"
    conda:
        "../envs/baton.yaml"
    resources:
        mem_mb=STUDY.memory_of_agreement,
    params:
        pseudonyms=STUDY.config["report"]["annotators"] == "pseudonyms",
    script:
        "../scripts/measure_agreement.py"


rule estimate_ceiling:
    """Estimate the best that any model could reach against these labels, on this test split."""
    input:
        answers="results/data/answers.csv",
        classes="results/data/classes.csv",
        images="results/data/images.csv",
        weights="results/data/class_weights.json",
        groups="results/data/groups.csv",
        parts=[
            STUDY.script(f"{name}.py")
            for name in (
                "annotations/classes",
                "ceiling/table",
                "ceiling/labelling",
                "ceiling/mixture",
                "ceiling/oracle",
                "ceiling/estimation",
                "ceiling/instead",
            )
        ],
    output:
        ceiling="results/data/ceiling.json",
    log:
        "logs/estimate_ceiling.log",
    benchmark:
        "benchmarks/estimate_ceiling.tsv"
    conda:
        "../envs/baton.yaml"
    resources:
        mem_mb=STUDY.memory_of_ceiling,
    params:
        data={key: STUDY.config["data"][key] for key in ("combine", "classes", "where", "annotator_column")},
        ordered=STUDY.ordered,
    script:
        "../scripts/estimate_ceiling.py"


if STUDY.has_answers:

    rule count_answers:
        """Count the answers to each image by class."""
        input:
            answers="results/data/answers.csv",
            images="results/data/images.csv",
            weights="results/data/class_weights.json",
        output:
            learned="results/data/answers_learned.csv",
            tested="results/data/answers_tested.csv",
        log:
            "logs/count_answers.log",
        benchmark:
            "benchmarks/count_answers.tsv"
        conda:
            "../envs/baton.yaml"
        resources:
            mem_mb=STUDY.memory_of_agreement,
        script:
            "../scripts/count_answers.py"
