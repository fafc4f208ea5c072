"""The scan of the user's images: what it notices and what not, how long it takes, and that jobs do not scan."""

import os
import time
from pathlib import Path

import pytest
from conftest import Study, save_image, save_images

from baton.errors import ConfigError
from baton.study import scan
from baton.study.scan import DIGEST, digest_images, hand_on, recall, remember, see_images

IMAGES = 100_000


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {})
    for name in ("cat/1.png", "cat/deep/er/2.png", "dog/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_text(name)
        os.utime(tmp_path / "photos" / name, (1000, 1000))
    return tmp_path / "photos"


def mend(path):
    path.write_text("another!!")
    os.utime(path, (1000, 1000))  # its size is another


def replace(path):
    path.write_text(path.read_text()[::-1])
    os.utime(path, (1000, 1001))


CHANGES = {
    "added": lambda photos: (photos / "cat/3.png").touch(),
    "added deeper": lambda photos: (photos / "cat/deep/er/3.png").touch(),
    "removed": lambda photos: (photos / "cat/deep/er/2.png").unlink(),
    "of another size": lambda photos: mend(photos / "cat/deep/er/2.png"),
    "of another time": lambda photos: replace(photos / "cat/1.png"),
    "renamed": lambda photos: (photos / "cat/1.png").rename(photos / "cat/9.png"),
    "moved": lambda photos: (photos / "cat/1.png").rename(photos / "dog/2.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_at_any_depth_is_noticed(photos, change):
    before = digest_images("photos")
    assert digest_images("photos") == before
    CHANGES[change](photos)
    assert digest_images("photos") != before


def test_hidden_files_other_files_and_the_studys_own_folders_are_no_images(photos):
    before = digest_images("photos"), digest_images(".")
    (photos / "cat/.DS_Store").touch()
    (photos / "cat/out.txt").touch()
    for name in ("results", "state", "logs", "benchmarks", ".snakemake"):
        Path(name).mkdir()
        Path(name, "new.png").touch()
    assert (digest_images("photos"), digest_images(".")) == before


def test_links_that_go_in_circles_or_nowhere_end(photos):
    (photos / "cat/up").symlink_to("..")
    (photos / "cat/gone.png").symlink_to("nowhere")
    (photos / "cat/itself").symlink_to("itself")
    assert digest_images("photos") == digest_images("photos")


def test_another_name_of_a_folder_is_a_change(photos):
    (photos / "one").symlink_to("cat")
    before = digest_images("photos")
    (photos / "two").symlink_to("cat")
    assert digest_images("photos") != before


def test_the_folder_may_be_called_by_any_of_its_names(photos):
    assert digest_images("photos") == digest_images("./photos") == digest_images(str(photos))


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="config: data.images: cannot read nowhere: No such file"):
        digest_images("nowhere")


class TestWhoLooks:
    """Only the call of snakemake, once."""

    @pytest.fixture
    def looks(self, photos, monkeypatch):
        looks = []
        monkeypatch.setattr(scan, "digest_images", lambda folder: looks.append(folder) or "seen now")
        return looks

    def test_the_call_does_whatever_was_seen_before(self, looks):
        remember("seen before")
        assert see_images("photos", True, True) == "seen now" and looks == ["photos"]

    def test_its_jobs_are_told(self, looks):
        hand_on("told")
        assert see_images("photos", False, True) == "told" and looks == []

    def test_and_read_it_where_a_cluster_passes_no_environment_on(self, looks):
        remember("told")
        assert DIGEST not in os.environ
        assert see_images("photos", False, True) == "told" and looks == []

    def test_a_call_that_is_not_to_look_believes_what_was_seen_last(self, looks):
        os.environ[DIGEST] = "of a call around this one"
        remember("seen before")
        assert see_images("photos", True, False) == "seen before" == recall() and looks == []

    def test_but_for_the_first_time(self, looks):
        assert see_images("photos", True, False) == "seen now"


def test_a_hundred_thousand_images_take_less_than_two_seconds(tmp_path):
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        for other in range(IMAGES // 10):
            os.mknod(tmp_path / f"{number}/{other}.jpg")
    started = time.process_time()
    digest_images(str(tmp_path))
    assert time.process_time() - started < 2


def test_nor_do_ten_thousand_folders(tmp_path):
    for number in range(10_000):
        (tmp_path / f"patient {number}").mkdir()
        os.mknod(tmp_path / f"patient {number}/scan.jpg")
    started = time.process_time()
    digest_images(str(tmp_path))
    assert time.process_time() - started < 2


def test_in_a_study(tmp_path):
    """A damaged image that is mended in place is used, and one that is added deeper; what is only touched retrains nothing."""
    model = {"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "holdout": {"validation": 1, "test": 1},
        "images": {"size": 16},
        "training": {"epochs": 1, "precision": "float32"},
        "models": [model],
    }
    study = Study(tmp_path, config)
    # Names that Snakemake would fill something into, were they its inputs.
    for colour, name in (("red", "{red}"), ("green", "<green>")):
        save_images(study / "photos" / name, colour, 5)
    image = study / "photos/{red}/3.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:200])
    study.run("train_net")
    assert [row["file"] for row in study.rows("data/corrupt.csv")] == ["{red}/3.png"]
    assert study.run("--dry-run", "train_net").jobs() == {}

    image.write_bytes(whole)
    save_image(study / "photos/<green>/deep/er/9.png", "green", 9)
    quiet = ("--config", "scan_images=false")
    assert study.run("--dry-run", "train_net", *quiet).jobs() == {}
    assert study.run("--dry-run", "train_net").jobs()["sort_into_classes"] == 1
    study.run("train_net")
    assert study.rows("data/corrupt.csv") == []
    assert len(study.rows("data/images.csv")) == 11
    assert study.run("--dry-run", "train_net", *quiet).jobs() == {}

    before = study.read("results/models/net/seed_1/model.keras")
    os.utime(image)
    study.run("train_net")
    assert "trained already: the finished model is restored" in study.log("train/net/seed_1")
    assert study.read("results/models/net/seed_1/model.keras") == before

    assert "Images or labels have changed" not in study.run("status").output
    image.write_bytes(whole[:200])
    assert "Images or labels have changed" in study.run("status").output
    assert "Images or labels have changed" in study.run("status").output
