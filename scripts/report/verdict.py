"""The verdict of a study: what its comparison comes to, in a sentence or two, for the page and for the terminal."""

from baton.formatting import decimals
from report.show import number, roughly


def state_verdict(done, compared, unfinished, test_images):
    """Return the verdict as plain text: {"headline", "guessing", "ground", "outlook"}, each a sentence or more, or empty.

    headline: whether there is a best model, and which; guessing: how many training runs are shown to do better than
    guessing; ground: by which test, or why there is no winner; outlook: what would show a difference.
    done: the finished runs, each with the verdict on guessing; compared: see baton.results.comparison.compare; unfinished:
    how many runs are not finished; test_images: how many there are.
    """
    if not done:
        return {"headline": "No training run is finished yet.", "guessing": "", "ground": "", "outlook": ""}
    if len(compared["models"]) == 1:
        (model,) = compared["models"]
        seeds = len(model["seeds"])
        mean = f", on average of {seeds} seeds" if seeds > 1 else ""
        headline = f"{model['model']} is right about {decimals(model['accuracy'])} of {number(test_images)} test images{mean}."
        ground = ""
        outlook = "Other training runs are not finished." if unfinished else ""
    elif compared["best"]:
        headline, ground, outlook = name_best(compared, unfinished)
    else:
        headline, ground, outlook = name_none(compared, unfinished)
    return {"headline": headline, "guessing": count_better(done), "ground": ground, "outlook": outlook}


def name_best(compared, unfinished):
    others = "the other one" if len(compared["models"]) == 2 else "every other one"
    headline = (
        f"{compared['best']} is the best model{' of those that are finished' if unfinished else ''}: it is better than "
        f"{others}, by more than chance among {number(compared['images'])} images"
        f"{' and among seeds' if compared['noise'] else ''} explains."
    )
    test = (
        "t-test"
        if compared["noise"]
        else "exact test of groups"
        if compared["image_groups"]
        else "exact McNemar test"
    )
    corrected = " of every pair, Holm-corrected" if len(compared["pairs"]) > 1 else ""
    ground = f"Tested on the same images ({test}{corrected}, level {compared['level']})."
    outlook = (
        "" if compared["noise"] else "This is about these training runs; with other seeds it may differ."
    )
    return headline, ground, outlook


def name_none(compared, unfinished):
    found = compared["no_winner"]
    some_differ = any(pair["different"] for pair in compared["pairs"])
    these = "the best of these models" if some_differ else "these models"
    so_far = " so far" if unfinished else ""
    headline = f"No winner{so_far}: {number(compared['images'])} images cannot separate {these}."
    first, second = found["models"]
    measured = " and ".join(
        f"{model} ({decimals(accuracy)})"
        for model, accuracy in zip(found["models"], found["accuracy"], strict=True)
    )
    if found["reason"] == "equal accuracy":
        ground = (
            f"{first} and {second} are right equally often on these images, which therefore favour neither."
        )
        return headline, ground, ""
    if found["reason"] == "seeds disagree":
        ground = f"The difference between {measured} changes from seed to seed: one seed favours the first, another the second."
    else:
        ground = f"The accuracies of {measured} may differ by chance alone."
    images, seeds = found["images_needed"], found["seeds_needed"]
    if images is None and seeds is None:
        return (
            headline,
            ground,
            "Neither more images with these seeds nor more seeds on these images (up to 100) would show a difference as small "
            "as this one.",
        )
    needed = []
    if images is not None:
        as_many = " with as many seeds" if compared["noise"] else ""
        needed.append(f"about {number(roughly(images))} test images{as_many}")
    if seeds is not None:
        needed.append(f"about {seeds} seeds on these images")
    outlook = f"If they really differ as much as here, {', or '.join(needed)} would show it (power {found['power']})."
    if images is None:
        outlook += " No number of images would with these seeds: the accuracies of one model vary too much from seed to seed."
    return headline, ground, outlook


def count_better(done):
    """Return how many runs are shown to do better than guessing, how many diverged, and how many are worse.

    That a model guesses is said of none: no test shows that.
    """
    verdicts = [run["test"]["answers"]["verdict"] for run in done]
    sentences = [say_better(done, verdicts.count("above chance"))]
    for verdict, what in (
        ("no answers", "diverged"),
        ("below chance", "worse than guessing: check for swapped labels"),
    ):
        if found := verdicts.count(verdict):
            are = "" if verdict == "no answers" else "is " if found == 1 else "are "
            who = "It" if len(done) == 1 else "One" if found == 1 else number(found)
            sentences.append(f"{who} {are}{what}.")
    return " ".join(sentences)


def say_better(done, better):
    if len(done) == 1:
        return f"It {'does better' if better else 'is not shown to do better'} than guessing."
    if not better:
        none = "Neither of the two" if len(done) == 2 else f"None of the {number(len(done))}"
        return f"{none} training runs is shown to do better than guessing."
    if better == len(done):
        who = "Both" if better == 2 else f"All {number(better)}"
    else:
        who = f"{number(better)} of {number(len(done))}"
    return f"{who} training runs {'does' if better == 1 else 'do'} better than guessing."
