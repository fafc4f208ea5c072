"""A draw of whole groups: exact counts, groups whole, a proof where there is none, and in time."""

import itertools
import random
import time

import numpy as np
import pandas as pd
import pytest

import split_holdout
from baton.errors import UserError
from holdout.groups import SHARE, NoDraw, draw_groups, find_smaller


def make_groups(seed, classes, images, largest, mixed):
    """Groups of 1 to `largest` images of `classes` classes; mixed: the share that is of several."""
    draw, groups, left = random.Random(seed), [], images * classes
    while left:
        size = min(left, draw.randint(1, largest))
        left -= size
        only = draw.randrange(classes)
        labels = [draw.randrange(classes) if draw.random() < mixed else only for _ in range(size)]
        counts = tuple(sorted((label, labels.count(label)) for label in set(labels)))
        groups.append(counts)
    return groups


def count_images(groups, splits, classes):
    counts = {split: [0] * classes for split in ("train", "validation", "test")}
    for group, split in zip(groups, splits, strict=True):
        for label, count in group:
            counts[split][label] += count
    return counts


def exists(groups, classes, validation, test):
    """Whether there is a draw: every set of sums that groups can make, one group after the other."""
    reached = {((0,) * classes, (0,) * classes)}
    for group in groups:
        for found in list(reached):
            for split in (0, 1):
                sums = list(found[split])
                for label, count in group:
                    sums[label] += count
                limit = (validation, test)[split]
                if max(sums) <= limit:
                    reached.add((tuple(sums), found[1]) if split == 0 else (found[0], tuple(sums)))
    return ((validation,) * classes, (test,) * classes) in reached


@pytest.mark.parametrize("seed", range(100))
def test_random_structures_give_exact_counts_or_say_why_not(seed):
    draw = random.Random(seed)
    classes, largest = draw.randint(2, 6), draw.choice([3, 5, 12, 30])
    groups = make_groups(seed, classes, draw.choice([60, 120]), largest, draw.choice([0, 0.2, 0.5, 0.9]))
    smallest = min(sum(dict(group).get(label, 0) for group in groups) for label in range(classes))
    size = max(1, (smallest - 1) // draw.choice([3, 4, 6]))
    try:
        drawn = draw_groups(groups, classes, size, size)
    except NoDraw as trouble:
        assert trouble.nearest or not trouble.proven
        assert all(0 < count <= size for _, _, count in trouble.nearest)
        return
    counts = count_images(groups, drawn.splits, classes)
    assert counts["validation"] == counts["test"] == [size] * classes
    large = [
        count > max(1, size // SHARE)
        for group, split in zip(groups, drawn.splits, strict=True)
        if split == "test"
        for _, count in group
    ]
    assert any(large) == drawn.unavoidably_large


@pytest.mark.parametrize("seed", range(60))
def test_there_is_no_draw_where_that_is_said_to_be_proven(seed):
    """Against every sum that small structures can make."""
    draw = random.Random(seed)
    groups = make_groups(seed, 2, draw.randint(6, 11), draw.randint(2, 6), draw.choice([0, 0.5, 1]))
    size = draw.randint(1, 4)
    try:
        draw_groups(groups, 2, size, size)
        found = True
    except NoDraw as trouble:
        assert trouble.proven
        found = False
    assert found == exists(groups, 2, size, size)


def test_both_answers_come_up_among_these():
    assert exists([((0, 1), (1, 1))] * 3, 2, 1, 1)
    assert not exists([((0, 2), (1, 1))] * 9, 2, 3, 3)


def with_place(frame, seed=1):
    """The images in the order of their names, as split_holdout reads them."""
    return frame.assign(
        place=np.array([split_holdout.place_in_draw(image, seed) for image in frame["image"]], np.uint64)
    ).sort_values("image")


def test_groups_of_one_image_are_drawn_as_images_are():
    names = [f"{number}.jpg" for number in range(200)]
    frame = pd.DataFrame({"image": names, "class": ["a", "b"] * 100, "group": "", "damaged": False})
    plain = split_holdout.draw_holdout(with_place(frame, 7), 20, 30)
    groups = split_holdout.draw_whole_groups(with_place(frame, 7), 20, 30)
    assert groups["split"].tolist() == plain["split"].tolist()
    assert groups["draw"].tolist() == plain["draw"].tolist()


def test_the_order_of_the_images_does_not_change_the_draw():
    rows, pairs = rows_of([("a", size) for size in (4, 3, 1, 2, 5, 1, 1)] + [("b", 2)] * 9)
    frame = pd.DataFrame(rows, columns=["image", "class"])
    frame = frame.assign(group=frame["image"].map(dict(pairs)).fillna(""), damaged=False)
    drawn, other = (
        split_holdout.draw_whole_groups(with_place(one), 4, 4).set_index("image")["split"].to_dict()
        for one in (frame, frame.sample(frac=1, random_state=3))
    )
    assert drawn == other and set(drawn.values()) == {"train", "validation", "test"}


def test_no_group_is_more_than_a_fifth_of_the_test_images_where_that_can_be():
    groups = [((0, size),) for size in [10] * 10 + [2] * 30]
    drawn = draw_groups(groups, 1, 20, 20)
    tested = [group[0][1] for group, split in zip(groups, drawn.splits, strict=True) if split == "test"]
    assert tested == [2] * 10 and not drawn.unavoidably_large
    only_large = draw_groups(groups[:10], 1, 20, 20)
    assert only_large.unavoidably_large


def test_what_a_little_less_would_give_is_found():
    groups = [((0, 4),) for _ in range(6)]
    with pytest.raises(NoDraw) as trouble:
        draw_groups(groups, 1, 5, 5)
    assert trouble.value.proven
    assert sorted(trouble.value.nearest) == [("test", 0, 1), ("validation", 0, 1)]
    assert find_smaller(groups, 1, 5, 5) == (4, 4)


def test_a_million_images_take_under_two_seconds_of_processor_time():
    random_ = np.random.default_rng(1)
    units = np.sort(random_.integers(0, 500_000, 1_000_000))
    names = np.array([f"{number:07}.jpg" for number in range(1_000_000)], dtype=object)
    _, starts, index = np.unique(units, return_index=True, return_inverse=True)
    label = np.array(["a", "b", "c"])[starts[index] % 3]
    frame = pd.DataFrame({"image": names, "class": label, "group": names[starts[index]], "damaged": False})
    begun = time.process_time()
    placed = split_holdout.draw_whole_groups(with_place(frame), 1000, 1000)
    seconds = time.process_time() - begun
    counts = placed.groupby(["split", "class"]).size()
    assert {counts[split, label] for split, label in itertools.product(("validation", "test"), "abc")} == {
        1000
    }
    assert placed.groupby("group")["split"].nunique().max() == 1
    assert seconds < 6, seconds  # two on a quiet machine


def rows_of(groups):
    """Images of classes a and b in groups of these sizes: (image, class) rows and (image, group) pairs."""
    rows, pairs = [], []
    for number, (label, size) in enumerate(groups):
        names = [f"{number:02}-{place}.jpg" for place in range(size)]
        rows += [(name, label) for name in names]
        pairs += [(name, names[0]) for name in names if size > 1]
    return rows, pairs


def test_a_refusal_names_what_is_missing_and_what_can_be_drawn():
    rows, pairs = rows_of([("a", 3)] * 5 + [("b", 1)] * 30)
    frame = pd.DataFrame(rows, columns=["image", "class"])
    frame = frame.assign(group=frame["image"].map(dict(pairs)).fillna(""), damaged=False)
    with pytest.raises(UserError) as refusal:
        split_holdout.draw_whole_groups(with_place(frame), 4, 4)
    said = str(refusal.value)
    assert "There is no such draw: that is proven" in said
    assert "3 of 4 for validation of class a, 3 of 4 for test of class a" in said
    assert "With holdout: {validation: 3, test: 3} there is one." in said
