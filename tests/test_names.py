"""Names in a table that are nearly those of the files: one rule that finds each its own file is taken, and said."""

import time

import pytest

from annotations.names import Names

FILES = [f"{number:02}.png" for number in range(16)]


def find(files, cells):
    return Names({file: file for file in files}).find_all(cells)


CHANGES = {
    "no ending": (lambda name: name.removesuffix(".png"), ["ending"]),
    "another ending": (lambda name: name.replace(".png", ".jpg"), ["ending"]),
    "other case": (lambda name: name.replace(".png", ".PNG"), ["ending"]),
    "absolute": (lambda name: f"/home/me/photos/{name}", ["folders"]),
    "absolute on Windows": (lambda name: f"C:\\photos\\{name}", ["folders"]),
    "the folder's own name": (lambda name: f"photos/{name}", ["folders"]),
    "a web address": (lambda name: f"https://example.org/a/{name}", ["folders"]),
    "a web address with a question": (
        lambda name: f"https://example.org/{name}?size=9",
        ["folders", "address"],
    ),
    "coded": (lambda name: name.replace(".", "%2E"), ["address"]),
    "an upload's number": (lambda name: f"/data/upload/1/0f1e2d3c-{name}", ["folders", "number"]),
    "a number and no folder": (lambda name: f"1700000000_{name}", ["number"]),
    "no ending and absolute": (lambda name: f"/x/{name.removesuffix('.png')}", ["ending", "folders"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_rule_that_finds_all_is_taken(change):
    spell, rules = CHANGES[change]
    found, taken = find(FILES, [spell(name) for name in FILES])
    assert found == {spell(name): name for name in FILES} and taken == rules


def test_capitals_within_the_name():
    assert find(["Photo A.jpg", "photo b.jpg"], ["photo a.jpg", "PHOTO B.jpg"]) == (
        {"photo a.jpg": "Photo A.jpg", "PHOTO B.jpg": "photo b.jpg"},
        ["case"],
    )


def test_files_in_folders_that_the_table_does_not_name():
    assert find(["set/1.png", "set/2.png"], ["1.png", "2.png"])[0] == {
        "1.png": "set/1.png",
        "2.png": "set/2.png",
    }


def test_the_longest_part_of_the_path_counts():
    files = ["1.png", "a/1.png", "b/1.png"]
    assert find(files, ["/x/a/1.png", "/x/b/1.png"])[0] == {"/x/a/1.png": "a/1.png", "/x/b/1.png": "b/1.png"}


def test_exact_names_need_no_rule_and_stay_what_they_are():
    files = ["1.png", "1.PNG", "2.png"]
    assert find(files, ["1.png", "1.PNG"]) == ({"1.png": "1.png", "1.PNG": "1.PNG"}, [])
    assert find([*files, "3.png"], ["1.png", "2.png", "3"]) == (
        {"1.png": "1.png", "2.png": "2.png", "3": "3.png"},
        ["ending"],
    )


@pytest.mark.parametrize(
    "files, cells",
    [
        (["a/1.png", "b/1.png"], ["1.png"]),  # which?
        (["1.png", "1.jpg"], ["1"]),
        (["1.png"], ["a/1.png", "b/1.png"]),  # two images, one file
        (["1.png"], ["1.png", "/x/1.png"]),
        (["1.png", "2.png"], ["1", "7"]),  # not all
        (["a/1.png"], ["b/1.png"]),
        (["1.png"], ["../1.png"]),  # out of the folder
        (["1.png"], ["../../photos/1.png"]),
    ],
)
def test_what_is_not_clear_is_not_found(files, cells):
    found, rules = find(files, cells)
    assert rules == [] and all(cell in files for cell in found)


def test_each_rule_says_how_many_it_would_find():
    names = Names({file: file for file in ["1.png", "2.png", "sub/3.png"]})
    assert names.count_near(["1", "2", "/x/sub/3.png", "nothing"]) == {"ending": 2, "folders": 1}


def test_a_file_with_real_backslashes_is_found_as_it_stands():
    assert find(["set\\1.png", "set/2.png"], ["set\\1.png", "set\\2.png"]) == (
        {"set\\1.png": "set\\1.png", "set\\2.png": "set/2.png"},
        [],
    )


def test_many_names_take_seconds_whether_they_are_found_or_not():
    """One folder for each patient, whose images are all called the same."""
    files = [f"p{number}/photo.jpg" for number in range(20_000)]
    started = time.process_time()
    found, rules = find(files, [f"P{number}/photo" for number in range(20_000)])
    assert rules == ["ending", "case"] and found["P7/photo"] == "p7/photo.jpg"
    assert find(files, [f"q{number}/photo" for number in range(20_000)]) == ({}, [])
    assert time.process_time() - started < 10
