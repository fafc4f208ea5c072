"""The plan as text for a terminal, its advice and its warnings."""

import pandas as pd

from baton.errors import some
from baton.formatting import duration, file_size

MOST_ROWS = 30  # printed


def describe(plan, most_trials):
    """Return the plan as text for a terminal; most_trials: models that are tried out."""
    images, disk = plan["images"], plan["disk"]
    rows = plan["runs"]
    if len(rows) > MOST_ROWS:
        rows = sorted(rows, key=lambda row: -row["training_seconds"])[:MOST_ROWS]
    table = pd.DataFrame(
        {
            "training run": row["name"],
            "parameters": f"{row['parameters']:,}",
            "memory": file_size(row["memory_bytes"]),
            "state": file_size(row["state_bytes"]),
            "per epoch": duration(row["epoch_seconds"]),
            "epochs left": row["epochs_left"],
            "in total": duration(row["training_seconds"]),
            "source": row["source"],
        }
        for row in rows
    )
    more = len(plan["runs"]) - len(rows)
    counts = sorted({run["threads"] for run in plan["runs"]})
    threads = f"{' or '.join(map(str, counts))} {'thread' if counts == [1] else 'threads'} each"
    together = f", {plan['at_a_time']} at a time" if plan["at_a_time"] else ""  # 0: all are trained
    session = plan["session_minutes"]
    sessions = f", which is {plan['sessions']} of {session:g} minutes" if session else ""
    synthetic = f" and up to {images['synthetic']:,} synthetic ones" if images["synthetic"] else ""
    lines = [
        f"{images['train']:,} images{synthetic} for training, {images['validation']:,} for validation, {images['test']:,} for test; "
        f"{plan['classes']} classes; {', '.join(map(str, plan['sizes']))} px",
        f"Models: {plan['models']}; training runs: {len(plan['runs'])}, {threads}{together}",
        "",
        table.to_string(index=False),
        *([f"... and {more} shorter ones: all are in results/plan.json"] if more else []),
        "",
        f"Training:   {duration(plan['training_seconds'])}",
        f"Evaluation: {duration(plan['evaluation_seconds'])}",
        f"Both, on this machine: {duration(plan['wall_seconds'])}{sessions}. Preparing the images and writing the "
        "report are not included.",
        f"Disk: {file_size(disk['packed'])} of packed images, {file_size(disk['states'])} of states, "
        f"{file_size(disk['models'])} of models; {file_size(disk['free'])} are free.",
        f"Packing the images takes up to {file_size(plan['packing_memory_bytes'])} of memory, for photos of up to 24 megapixels.",
    ]
    if any(run["source"] == "interpolated" for run in plan["runs"]):
        lines.append(f"{most_trials} kinds of models were tried; those marked interpolated lie between them.")
    lines += advise_formats(plan["runs"])
    return "\n".join(lines)


def advise_formats(rows):
    """Return a sentence for each precision in which models are faster, with the line to write into the config."""
    faster = {}
    for row in rows:
        if row["faster"]:
            faster.setdefault((row["faster"]["precision"], row["faster"]["in_force"]), []).append(row)
    tried = [row for row in rows if row["source"] != "interpolated"]
    sentences = []
    for (precision, in_force), models in faster.items():
        times = sorted(row["faster"]["times"] for row in models)
        place = "training" if len(models) == len(tried) else "the entry of each of these models"
        sentences.append(
            f"Faster in another number format: {some(row['name'] for row in models)}, whose steps are {times[0]:.2f} to "
            f"{times[-1]:.2f} times as fast in {precision} as in {in_force}. To train in it, write `precision: {precision}` "
            f"under {place}; what has begun in {in_force} is another training run, and is kept."
        )
    return sentences


def warn_of(plan, memory):
    """Return a sentence for each thing that will not fit; memory: what this machine has for jobs, in bytes."""
    warnings = []
    large = [row for row in plan["runs"] if row["memory_bytes"] > memory]
    if large:
        warnings.append(
            f"{some(row['name'] for row in large)}: training takes up to "
            f"{file_size(max(row['memory_bytes'] for row in large))} of memory, and this machine has {file_size(memory)} for "
            "it. It runs alone, and may be killed: give a smaller batch_size or images.size."
        )
    if plan["packing_memory_bytes"] > memory:
        warnings.append(
            f"packing the images takes up to {file_size(plan['packing_memory_bytes'])} of memory, and this machine has "
            f"{file_size(memory)}: take smaller images (images.size) or no synthetic ones."
        )
    disk = plan["disk"]
    if disk["packed"] + disk["states"] + disk["models"] > disk["free"] + disk["there"]:
        warnings.append(
            "the disk is too small: free some space, or move the study to another one. A state can be deleted "
            "once its model is trained."
        )
    session = plan["session_minutes"]
    short = [row["name"] for row in plan["runs"] if session and row["shortest_seconds"] > 60 * session]
    if short:
        warnings.append(
            f"session_minutes: {session:g} minutes are too short for one step and its saves of {some(short)}."
        )
    return warnings
