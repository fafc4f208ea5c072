"""A paragraph or two for a paper's methods section, written from what was run."""

from baton.errors import some
from baton.study.labels import are_splits_given, describe_class, list_ranges
from report.show import number

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TIMES = {1: "once", 2: "twice"}
KEPT_BY = {
    "val_accuracy": "the highest accuracy",
    "val_loss": "the lowest cross-entropy",
    "loss": "the lowest training cross-entropy",
}
INITIALIZERS = {"he_normal": "He’s normal distribution", "glorot_uniform": "Glorot’s uniform distribution"}
FORMATS = {
    "float32": "single precision",
    "mixed_bfloat16": "mixed precision (bfloat16)",
    "mixed_float16": "mixed precision (float16)",
}
TARGETS = {"label": "", "answers": " against the shares of the answers to each image"}
COMBINED = {
    "median": "the median of its answers, rounded to a whole number",
    "mean": "the mean of its answers, rounded to a whole number",
    "majority": "the most frequent class of its answers; images with a tie were left out",
    "majority_of_labels": "the most frequent of its answers; images with a tie were left out",
}


def describe_methods(config, data, done, compared, commit):
    """Return paragraphs of plain text: data, networks and training, evaluation; done: the finished runs, at least one.

    config: as it was run; data: see report.collect.collect_data; compared: see baton.results.comparison.compare; commit:
    of Baton, None where it is not known.
    """
    return [
        describe_data(config, data, {run["training"]["settings"]["synthetic_fraction"] for run in done}),
        describe_training(done),
        describe_evaluation(data, done, compared, commit),
    ]


# --- How numbers and names are said


def word(count):
    return NUMBER_WORDS[count] if count < len(NUMBER_WORDS) else number(count)


def plural(count, one, more=None):
    return f"{word(count)} {one if count == 1 else more or one + 's'}"


def either(values):
    """Return distinct values as "3", "3 or 4", "3, 4 or 6", "64 to 512" of more; numbers in their order."""
    values = list(dict.fromkeys(values))
    if all(isinstance(value, int | float) for value in values):
        values.sort()
        if len(values) > 4:
            return f"{values[0]:g} to {values[-1]:g}"
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def span(counts):
    """Return "50", or "143 to 1,040" where counts differ."""
    low, high = min(counts), max(counts)
    return number(low) if low == high else f"{number(low)} to {number(high)}"


# --- The paragraphs


def describe_data(config, data, fractions):
    asked, sums, classes = config["data"], data["sums"], data["classes"]
    sentences = [
        f"We used {number(sums['train'] + sums['validation'] + sums['test'])} images of {plural(len(classes), 'class', 'classes')} "
        f"({some((row['class'] for row in classes), 10)})."
    ]
    if asked["source"] in ("annotations", "demo"):
        rows = " and ".join(f"{column} is {value}" for column, value in asked["where"].items())
        columns = (
            asked["label_column"] if isinstance(asked["label_column"], list) else [asked["label_column"]]
        )
        named = " and ".join(f"“{name}”" for name in columns)
        taken = f"from the {'column' if len(columns) == 1 else 'columns'} {named} of a table of annotations{f', in rows where {rows}' if rows else ''}"
        combined = COMBINED.get(asked["combine"], "")
        if list_ranges(asked["classes"]):
            combined = combined.removesuffix(", rounded to a whole number")
        sentences.append(
            f"Labels were taken {taken}{f'; the label of an image is {combined}' if combined else ''}."
        )
    else:
        sentences.append("Labels were the names of the folders that the images lay in.")
    if isinstance(asked["classes"], dict):
        merged = "; ".join(f"{name} from {describe_class(old)}" for name, old in asked["classes"].items())
        sentences.append(f"Labels were merged into classes ({merged}).")
    if what := list_left_out(data["left_out"]):
        sentences.append(f"Left out were {what}.")
    if damaged := len(data["corrupt"]):
        sentences.append(
            f"{plural(damaged, 'file').capitalize()} could not be decoded completely and {'was' if damaged == 1 else 'were'} "
            "not used."
        )
    counts = {split: span([row[split] for row in classes]) for split in ("train", "validation", "test")}
    if are_splits_given(asked):
        drawn = (
            ""
            if "validation" not in data["drawn"]
            else f", the latter drawn at random from those for training (seed {config['holdout']['seed']})"
        )
        sentences.append(
            f"The images came split into training ({number(sums['train'])}; {counts['train']} per class), test "
            f"({number(sums['test'])}; {counts['test']}) and validation ({number(sums['validation'])}; {counts['validation']}){drawn}."
        )
    else:
        sentences.append(
            f"For validation {counts['validation']} and for test {counts['test']} images per class were drawn at random (seed "
            f"{config['holdout']['seed']}) and held out; the other {number(sums['train'])} ({counts['train']} per class) were used "
            "for training."
        )
    if sums["synthetic"]:
        most = "" if len(fractions) == 1 else ", in the models that get the most of them,"
        sentences.append(
            f"To the training images {number(sums['synthetic'])} synthetic ones were added{most} each an augmented copy of one."
        )
    groups = data["groups"]["test"]
    if groups["groups"] < groups["images"]:
        sentences.append(
            f"Images that belong together were kept in one split; the {number(groups['images'])} test images are in "
            f"{number(groups['groups'])} groups."
        )
    if seen := len(data["copies"]["test_seen"]):
        sentences.append(
            f"{number(seen)} of the test images have a copy among the images for training or validation."
        )
    return " ".join(sentences)


def describe_ceiling(ceiling):
    """Return what is said of the best possible accuracy, a list of a sentence or none."""
    if ceiling["kind"] == "ceiling":
        biases = " with a bias for each annotator" if ceiling["annotators"] else ""
        return [
            "The best accuracy that any model could reach was estimated from the answers: a mixture of quantised normal and other "
            f"distributions{biases} was fitted by maximum likelihood (Kiefer and Wolfowitz 1956), its bias corrected by the "
            "parametric bootstrap, and a model that knows each image’s distribution was tested on simulated test splits."
        ]
    if ceiling["kind"] == "bracket":
        return [
            "The best accuracy that any model could reach lies between that of predicting one answer from the others "
            "(leave-one-out) and that of taking an image’s answers for its distribution (plug-in)."
        ]
    if ceiling["kind"] == "benchmark":
        return [
            "As a benchmark, the labels of the one annotator were predicted from the answers of the others."
        ]
    return []


def list_left_out(rows):
    """Return what is told of it in a paper: not what was said before, was used, or is no image."""
    told = [
        row
        for row in rows
        if row["unit"] != "files"
        and "data.where" not in row["reason"]
        and not row["reason"].startswith("combined into")
    ]
    return "; ".join(
        f"{number(row['count'])} {row['unit'] if row['count'] != 1 else row['unit'].removesuffix('s')} "
        f"({row['reason'].replace('a label that data.classes does not name', 'of other classes')})"
        for row in told
    )


def describe_training(done):
    settings = [run["training"]["settings"] for run in done]
    models = list(dict.fromkeys(run["model"] for run in done))

    def of(key):
        return either(one[key] for one in settings)

    layers = f"{of('layers')} convolutional layer{'' if of('layers') == '1' else 's'}"
    doubled = "" if of("layers") == "1" else " in the first, doubling with every layer"
    sentences = [
        f"We trained {plural(len(models), 'convolutional neural network')} on images resized to squares of {of('size')} pixels: "
        f"{layers} ({of('kernels')} square kernels of {of('kernel_size')} pixels{doubled}), each "
        f"followed by 2 × 2 max pooling and ReLU, a dense layer of {of('dense')} units with ReLU, and softmax "
        f"({span([run['training']['parameters'] for run in done])} parameters)."
    ]
    starts = {
        INITIALIZERS.get(
            one["initializer"], f"a normal distribution with mean 0 and standard deviation {one['stddev']:g}"
        )
        for one in settings
    }
    sentences.append(f"Initial weights were drawn from {either(sorted(starts))}.")
    learned = {one.get("targets", "label") for one in settings}
    loss = "The loss was cross-entropy"
    if len(learned) == 1:
        loss += TARGETS[learned.pop()]
    else:
        loss += f", in some models{' and in others'.join(sorted(TARGETS[one] or ' against the label' for one in learned))},"
    weights = {one["class_weights"] for one in settings}
    if weights == {"balanced"}:
        loss += " with class weights inverse to the classes’ frequencies"
    elif "balanced" in weights:
        loss += ", in some models with class weights inverse to the classes’ frequencies"
    if any(one["l2"] for one in settings):
        loss += f", plus an L2 penalty of {of('l2')} on the weights of every layer"
    sentences.append(
        f"{loss}, minimised by Adam (learning rate {of('learning_rate')}, batches of {of('batch_size')}) for "
        f"{of('epochs')} epochs{describe_patience(settings)}."
    )
    if any(one["dropout"] for one in settings):
        sentences.append(f"Dropout of the dense layer was {of('dropout')}.")
    sentences.append(describe_augmentation([run["training"]["augmentation"] for run in done]))
    kept = {
        KEPT_BY[one["monitor"]] + ("" if one["monitor"] == "loss" else " on the validation images")
        for one in settings
    }
    sentences.append(f"Of each training run the epoch with {either(sorted(kept))} was kept.")
    formats = either(FORMATS[run["training"]["precision"]] for run in done)
    sentences.append(f"{describe_seeds(done, models)}, in {formats}.")
    return " ".join(sentences)


def describe_seeds(done, models):
    """Return how often the models were trained, and with which seeds."""
    runs = {model: sum(run["model"] == model for run in done) for model in models}
    seeds = sorted({run["seed"] for run in done})
    named = f"(seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})"
    low, high = min(runs.values()), max(runs.values())
    if low < high:
        return f"The models were trained {TIMES.get(low, f'{word(low)} times')} to {word(high)} times {named}"
    return f"{'Each' if len(models) > 1 else 'The'} model was trained {TIMES.get(low, f'{word(low)} times')} {named}"


def describe_patience(settings):
    patience = [one["patience"] for one in settings if one["patience"] is not None]
    if not patience:
        return ""
    who = "" if len(patience) == len(settings) else " of some models"
    return f"; training{who} ended after {either(patience)} epochs without improvement"


def describe_augmentation(augmentations):
    augmentation = augmentations[0]  # of a study, one
    flips = {
        "horizontal": "flipped horizontally",
        "vertical": "flipped vertically",
        "horizontal_and_vertical": "flipped horizontally and, separately, vertically",
    }
    done = [f"{flips[augmentation['flip']]} (with probability 0.5)"] if augmentation["flip"] else []
    if augmentation["rotation"]:
        done.append(f"rotated by up to {360 * augmentation['rotation']:g} degrees either way")
    done += [
        f"{what} by up to {100 * augmentation[key]:g} %"
        for key, what in (
            ("zoom", "zoomed"),
            ("brightness", "made brighter or darker"),
            ("contrast", "changed in contrast"),
        )
        if augmentation[key]
    ]
    if not done:
        return "Images were not augmented."
    listed = done[0] if len(done) == 1 else f"{', '.join(done[:-1])} and {done[-1]}"
    return f"Training images were augmented at random each time they were used: {listed}."


def describe_evaluation(data, done, compared, commit):
    grouped = data["groups"]["test"]["groups"] < data["groups"]["test"]["images"]
    clustered = ", for the effective number of images in groups (Korn and Graubard 1998)" if grouped else ""
    sentences = [
        f"Accuracies are of {number(data['sums']['test'])} held-out test images, with 95 % intervals of Wilson{clustered}."
    ]
    pairs = len(compared["pairs"])
    if pairs:
        holm = f", corrected for {plural(pairs, 'pair')} by Holm’s method" if pairs > 1 else ""
        if compared["noise"]:
            test = (
                "t-tests of their mean accuracies over the seeds, whose standard error covers both images and seeds, with the "
                "variance between seeds pooled over the models"
            )
        else:
            test = "exact McNemar tests"
            if compared["image_groups"]:
                test = "exact tests of groups of images (sign flips)"
        sentences.append(
            f"Models were compared on the same images by {test}{holm} (level {compared['level']})."
        )
    sentences.append(
        "Whether a model does better than guessing was tested by permuting its predictions among the images, corrected for the "
        "number of training runs."
    )
    if done[0]["test"]["ordered"]:
        sentences.append(
            f"For distances on the scale 95 % intervals are by bootstrap over the images ({number(done[0]['test']['ordered']['resamples'])} "
            "resamples)."
        )
    sentences += describe_ceiling(data["ceiling"])
    versions = done[0]["training"]["versions"]
    names = {
        "python": "Python",
        "tensorflow": "TensorFlow",
        "keras": "Keras",
        "numpy": "NumPy",
        "pillow": "Pillow",
        "snakemake": "Snakemake",
    }
    used = ", ".join(f"{names.get(name, name)} {version}" for name, version in versions.items())
    at = (
        f" (commit {commit.rstrip('+')[:10]}{', with changes' if commit.endswith('+') else ''})"
        if commit
        else ""
    )
    sentences.append(f"The study was run with Baton{at}: {used}.")
    return " ".join(sentences)
