"""The notebook in profiles/colab, executed as it is, with a folder in place of the drive.

Its story: the machine vanishes in the middle of a training run, and with it all but the drive; on the next one the
drive is away for a while and then the stop button is pressed; all is run again, to an end. What comes of it is
compared with a run that was left alone.
"""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from conftest import (
    ENDLESS,
    PATIENCE,
    REPOSITORY,
    Study,
    newest_states,
    result_of,
    same_arrays,
    save_images,
    saved_at,
    wait_until,
)
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

import verify_resume
from baton.training.state import load_state

NOTEBOOK = REPOSITORY / "profiles/colab/baton.ipynb"
RUN = "net/seed_1"


def config_of(epochs):
    return f"""
data: {{source: class_folders, images: data/photos}}
holdout: {{validation: 4, test: 4}}
images: {{size: 10}}
training: {{epochs: {epochs}, batch_size: 4, precision: float32}}
models: [{{name: net, kernels: 2, kernel_size: 3, dense: 4, layers: 2}}]
"""


pytestmark = pytest.mark.skipif(
    not (REPOSITORY / ".venv/installed").exists(), reason="the notebook would install Baton first (make test)"
)


def read_notebook(choices):
    """Return the notebook with other choices in its cell of parameters."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert set(choices) == set(re.findall(r"^([A-Z]+) = ", cell.source, re.MULTILINE))
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in choices.items())
    return notebook


def zip_photos(path, folder):
    """Make a zip of class folders with tiny images."""
    save_images(folder / "red", "red", 24)
    save_images(folder / "green", "green", 16)
    with zipfile.ZipFile(path, "w") as archive:
        for image in sorted(folder.glob("*/*.png")):
            archive.write(image, image.relative_to(folder))
    shutil.rmtree(folder)


def printed(outputs):
    """Return what a cell printed."""
    return "".join(output.text for output in outputs if output.output_type == "stream")


class Machine:
    """A machine on which the notebook runs; the drive outlives it."""

    def __init__(self, folder, drive):
        self.study, self.drive = folder / "study", drive
        self.choices = {
            "BATON": str(REPOSITORY),
            "ADDRESS": "",
            "DRIVE": str(drive / "my-study"),
            "STUDY": str(self.study),
            "DATA": str(drive / "photos.zip"),
            "GPU": False,
        }
        self.client = NotebookClient(nbformat.v4.new_notebook(), timeout=PATIENCE, kernel_name="python3")

    def run_all(self, epochs):
        """Fill in the first cell, run all, and return by cell what came out."""
        self.client.nb = read_notebook(self.choices | {"CONFIG": config_of(epochs)})
        for number, cell in enumerate(self.client.nb.cells):
            self.client.execute_cell(cell, number)
        return {cell.id: cell.outputs for cell in self.client.nb.cells if cell.cell_type == "code"}

    def kernel(self):
        return psutil.Process(self.client.km.provisioner.pid)

    def amid_training(self, do):
        """Do something in a thread once the training run has saved twice, its first state and a later one."""
        seen, before = set(), {0, self.saved()}

        def watch():
            wait_until(lambda: seen.add(self.saved()) or len(seen - before) > 1, "two saves")
            do()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread

    def saved(self):
        """Return when the state on the drive was last saved; 0 where none is, or no drive."""
        return saved_at(self.drive / "my-study/state", RUN)

    def vanish(self):
        """Kill the kernel and all that it started, and take the disk away."""
        kernel = self.kernel()
        processes = [kernel, *kernel.children(recursive=True)]
        for process in processes:  # all at once: a training notices when its Snakemake dies before it
            process.suspend()
        for process in processes:
            process.kill()

    def lose_drive_and_stop(self):
        """Take the drive away until a save failed, give it back, and press the stop button."""
        away, log = self.drive.with_name("away"), self.study / f"logs/train/{RUN}.log"
        self.drive.rename(away)
        wait_until(lambda: "could not be saved" in log.read_text(encoding="utf-8"), "a save to fail")
        self.nothing_in_its_place = not self.drive.exists()
        away.rename(self.drive)
        self.press_stop()

    def press_stop(self):
        os.killpg(self.kernel().pid, signal.SIGINT)  # as Jupyter and Colab do


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colab")
    drive = folder / "drive"
    drive.mkdir()
    zip_photos(drive / "photos.zip", folder / "photos")
    told = SimpleNamespace(drive=drive / "my-study")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
            (folder / "jupyter" / name).mkdir(parents=True)
            patch.setenv(name, str(folder / "jupyter" / name))
        first = Machine(folder / "first", drive)
        with pytest.raises(DeadKernelError), first.client.setup_kernel():
            killer = first.amid_training(first.vanish)
            first.run_all(ENDLESS)
        killer.join()
        told.local = [path.name for path in (first.study / "results/data/packed/10px").iterdir()]
        shutil.rmtree(first.study)
        (newest,) = newest_states(told.drive / "state", RUN)
        told.cut = load_state(newest.parent)[1]

        second = Machine(folder / "second", drive)
        with second.client.setup_kernel():
            stopper = second.amid_training(second.lose_drive_and_stop)
            told.stopped = second.run_all(ENDLESS)
            stopper.join()
            told.stopped_state = load_state(newest.parent)[1]
            told.report_now = (told.drive / "results/report_now.html").read_text(encoding="utf-8")
            told.epochs = told.stopped_state["epoch"] + 20
            alone = Study(folder / "alone", config_of(told.epochs))
            with zipfile.ZipFile(drive / "photos.zip") as archive:
                archive.extractall(alone / "data/photos")
            with ThreadPoolExecutor(1) as beside:
                left_alone = beside.submit(
                    alone.run, cores="all"
                )  # as the profile has it: more threads, other bits
                told.finished = second.run_all(told.epochs)
                left_alone.result()
            told.python = second.kernel().exe()
        told.second = second
    told.expected = result_of(alone, RUN)
    told.result = result_of(told.drive, RUN)
    return told


def test_the_notebook_is_valid_and_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == 8
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert notebook.metadata.kernelspec.name == "python3"


class TestStory:
    def test_the_result_is_that_of_a_run_that_was_left_alone(self, story):
        assert verify_resume.first_difference(story.expected.state, story.result.state) is None
        assert len(story.result.state[0]) > 20
        assert story.result.state[1]["epoch"] == story.epochs
        assert story.result.history == story.expected.history
        assert same_arrays(story.result.weights, story.expected.weights)
        assert story.result.predictions == story.expected.predictions

    def test_it_went_on_from_the_drive_alone(self, story):
        cut, stopped, last = story.result.summary["sessions"]
        assert (cut["from"], cut["reason"]) == ([0, 0], None)
        assert stopped["from"] == [story.cut["epoch"], story.cut["step"]] != [0, 0]
        assert last["from"] == stopped["to"] > stopped["from"]

    def test_a_drive_that_is_away_for_a_while_costs_nothing(self, story):
        away = "the state could not be saved (No such file or directory); trying again later"
        assert away in printed(story.stopped["run"])
        assert story.second.nothing_in_its_place
        _, stopped, last = story.result.summary["sessions"]
        assert stopped["to"] == [story.stopped_state["epoch"], story.stopped_state["step"]] == last["from"]

    def test_the_stop_button_saves_and_is_told_in_a_sentence(self, story):
        run = printed(story.stopped["run"])
        assert "Stopping. A training run saves first.\n" in run
        assert "it received SIGINT. The state is saved: run the same command again to resume here." in run
        assert run.endswith("Not finished; the reason is above. Run this cell again to resume.\n")
        assert "Traceback" not in run
        assert story.stopped_state["sessions"][1]["reason"] == "it received SIGINT"
        epoch = story.stopped_state["epoch"]
        assert f"net: {epoch} of {ENDLESS} epochs\n" in printed(story.stopped["status"])
        assert f"net is not finished</strong>: {epoch} of {ENDLESS} epochs" in story.report_now

    def test_the_report_is_shown_in_a_frame_and_is_on_the_drive(self, story):
        page = (story.drive / "results/report.html").read_text(encoding="utf-8")
        assert "1 training run on 24 images of 2 classes" in re.sub(r"\s+", " ", page)
        assert page == (story.second.study / "results/report.html").read_text(encoding="utf-8")
        (shown,) = [
            output.data["text/html"]
            for output in story.finished["report"]
            if output.output_type == "display_data"
        ]
        (framed,) = re.findall(r'<iframe title="Report" srcdoc="([^"]*)"', shown)
        assert html.unescape(framed) == page.replace("<head>", '<head><base href="about:srcdoc">')
        numbers = json.loads((story.drive / "results/report.json").read_text(encoding="utf-8"))
        assert [run["status"] for run in numbers["runs"]] == ["done"]
        assert (
            (story.drive / "results/report/models.csv").read_text().splitlines()[1].startswith("net,net,1,")
        )

    def test_data_and_packed_images_stay_on_the_machine(self, story):
        assert sorted(story.local) == sorted(
            f"{name}.{end}" for name in ("train", "validation", "test") for end in ("csv", "npy")
        )
        assert sorted(path.name for path in story.drive.iterdir()) == ["results", "state"]
        kept = {path.name for path in (story.drive / "results").iterdir()}
        assert kept == {
            "models",
            "evaluation",
            "predictions",
            "exports",
            "report",
            "report.html",
            "report.json",
            "report_now",
            "report_now.html",
            "report_now.json",
        }
        assert not [path for path in story.drive.rglob("*") if path.suffix == ".npy" or path.is_symlink()]

    def test_it_says_where_the_images_are_and_what_is_done(self, story):
        assert printed(story.stopped["data"]) == "In CONFIG, write data/photos. It holds: green, red.\n"
        assert printed(story.finished["run"]).endswith("Finished.\n")
        done = f"net: done, {story.epochs} of {story.epochs} epochs\n"
        assert done in printed(story.finished["status"])

    def test_the_notebook_ran_the_python_of_the_tests(self, story):
        assert story.python == os.path.realpath(shutil.which("python", path=REPOSITORY / ".venv/bin"))


class TestCells:
    """Single cells, without a kernel."""

    @pytest.fixture
    def run(self, tmp_path, capsys):
        """Run the cells up to one of them, with these choices and in `names`; return what that one printed."""
        (tmp_path / "drive").mkdir()

        def run(last, names=None, **choices):
            choices = {
                "BATON": str(REPOSITORY),
                "ADDRESS": "",
                "DRIVE": str(tmp_path / "drive/my-study"),
                "STUDY": str(tmp_path / "study"),
                "DATA": None,
                "GPU": False,
                "CONFIG": config_of(1),
            } | choices
            names = {} if names is None else names
            names["__name__"] = "__main__"
            for cell in read_notebook(choices).cells:
                if cell.cell_type == "code":
                    capsys.readouterr()
                    exec(compile(cell.source, cell.id, "exec"), names)
                if cell.id == last:
                    return capsys.readouterr().out
            raise AssertionError(f"no cell {last}")

        return run

    @pytest.fixture
    def photos(self, tmp_path):
        zip_photos(tmp_path / "photos.zip", tmp_path / "photos")
        return tmp_path / "photos.zip"

    def test_a_zip_is_unpacked_once(self, run, tmp_path, photos):
        run("data", DATA=str(photos))
        unpacked = tmp_path / "study/data/photos"
        assert len(list(unpacked.glob("red/*.png"))) == 24 and len(list(unpacked.glob("green/*.png"))) == 16
        before = unpacked.stat().st_mtime_ns
        photos.unlink()  # it is not needed any more
        out = run("data", DATA=str(photos))
        assert out.startswith(f"{photos} was unpacked before. To unpack it again, delete {unpacked}.\n")
        assert unpacked.stat().st_mtime_ns == before

    def test_an_unpacking_that_was_cut_leaves_no_half(self, run, tmp_path, photos):
        half = tmp_path / "study/data/photos.part/red"
        half.mkdir(parents=True)
        (half / "old.png").write_bytes(b"half")
        run("data", DATA=str(photos))
        assert not (tmp_path / "study/data/photos/red/old.png").exists()
        assert os.listdir(tmp_path / "study/data") == ["photos"]

    def test_a_damaged_zip_stops_with_a_sentence_and_leaves_nothing_under_its_name(
        self, run, tmp_path, photos
    ):
        content = bytearray(photos.read_bytes())
        content[len(content) // 2] ^= 1
        photos.write_bytes(content)
        with pytest.raises(Exception, match=r"photos\.zip could not be unpacked \(Bad CRC-32") as stop:
            run("data", DATA=str(photos))
        assert stop.value._render_traceback_() == [f"Stopped: {stop.value}"]
        assert not (tmp_path / "study/data/photos").exists()

    def test_members_of_a_hostile_zip_stay_inside(self, run, tmp_path):
        with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
            archive.writestr("../evil.txt", "1")
            archive.writestr("red/../../../evil.txt", "2")
            archive.writestr(f"{tmp_path}/absolute.txt", "3")
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, str(tmp_path))
            archive.writestr("__MACOSX/red/._1.png", "4")
        run("data", DATA=str(tmp_path / "evil.zip"))
        folder = tmp_path / "study/data/evil"
        assert sorted(os.listdir(tmp_path)) == ["drive", "evil.zip", "study"]
        assert os.listdir(tmp_path / "study") == ["data"]
        assert os.listdir(tmp_path / "study/data") == ["evil"]
        inside = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert inside == {"evil.txt", "red/evil.txt", f"{tmp_path}/absolute.txt".lstrip("/"), "link"}
        assert not any(path.is_symlink() for path in folder.rglob("*"))

    def test_a_folder_is_used_where_it_is(self, run, tmp_path):
        save_images(tmp_path / "mine/red", "red", 2)
        out = run("data", DATA=str(tmp_path / "mine"))
        assert out == "In CONFIG, write data/mine. It holds: red.\n"
        assert os.readlink(tmp_path / "study/data/mine") == str(tmp_path / "mine")

    def test_a_drive_that_is_not_mounted_stops_and_no_folder_takes_its_place(self, run, tmp_path):
        with pytest.raises(
            Exception, match=r"cannot be used \(No such file or directory\)\. Is the drive mounted"
        ):
            run("study", DRIVE=str(tmp_path / "away/my-study"))
        assert not (tmp_path / "away").exists() and not (tmp_path / "study").exists()

    def test_a_drive_that_lost_its_connection_stops_with_a_sentence(self, run, tmp_path, monkeypatch):
        def listdir(path, real=os.listdir):
            if Path(path) == tmp_path / "drive":
                raise OSError(107, "Transport endpoint is not connected")
            return real(path)

        monkeypatch.setattr(os, "listdir", listdir)
        with pytest.raises(Exception, match="Transport endpoint is not connected.*Run step 3 again") as stop:
            run("study")
        assert stop.value._render_traceback_() == [f"Stopped: {stop.value}"]

    def test_without_a_drive_nothing_leads_away(self, run, tmp_path):
        run("study")
        assert os.readlink(tmp_path / "study/results/models") == str(
            tmp_path / "drive/my-study/results/models"
        )
        run("study", DRIVE=None)
        assert not [path for path in (tmp_path / "study").rglob("*") if path.is_symlink()]

    def test_states_made_without_the_drive_are_not_hidden(self, run, tmp_path):
        (tmp_path / "study/state").mkdir(parents=True)
        with pytest.raises(Exception, match=f"Move it to {tmp_path}/drive/my-study/state"):
            run("study")

    @pytest.fixture
    def commands(self, monkeypatch):
        """The commands that the notebook calls, none of which is run; all succeed but those with a word in `fail`."""
        commands = SimpleNamespace(called=[], fail=None, environment=None)

        def popen(command, env, **_options):
            commands.called.append(command[command[0] == sys.executable :])
            commands.environment = env
            code = int(commands.fail in command)
            return SimpleNamespace(stdout=[], wait=lambda: code)

        monkeypatch.setattr(subprocess, "Popen", popen)
        return commands

    def test_it_is_cloned_and_installed_from_the_lock_once(self, run, tmp_path, monkeypatch, commands):
        monkeypatch.setenv("MPLBACKEND", "module://of.the.notebook")
        baton, address = tmp_path / "baton", "https://example.org/baton.git"
        (baton / ".venv").mkdir(parents=True)
        run("install", BATON=str(baton), ADDRESS=address)
        lock = str(baton / "requirements.lock")
        assert commands.called == [
            ["git", "clone", "--quiet", address, str(baton)],
            ["-m", "pip", "install", "--quiet", "virtualenv"],
            ["-m", "virtualenv", "--quiet", str(baton / ".venv")],
            [f"{baton}/.venv/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock],
        ]
        assert "MPLBACKEND" not in commands.environment and "PATH" in commands.environment
        (baton / "Snakefile").touch()
        commands.called.clear()
        assert run("install", BATON=str(baton), ADDRESS=address) == "Baton is installed.\n"
        assert commands.called == []

    def test_an_installation_that_fails_stops_and_is_tried_again(self, run, tmp_path, commands):
        (tmp_path / "baton/.venv").mkdir(parents=True)
        (tmp_path / "baton/Snakefile").touch()
        commands.fail = "--require-hashes"
        for tries in (1, 2):
            with pytest.raises(Exception, match="could not be installed; the reason is above"):
                run("install", BATON=str(tmp_path / "baton"))
            assert len(commands.called) == 3 * tries

    def test_the_stop_button_costs_no_line_of_what_is_printed(self, run):
        """Pressed at the worst moment: the line with what was saved has been read and is about to be printed."""
        lines = []

        def press_and_print(text, **_how):
            if text == "saved\n":
                os.kill(os.getpid(), signal.SIGINT)
            lines.append(text)

        names = {"print": press_and_print}
        run("install", names)
        lines.clear()
        before = signal.getsignal(signal.SIGINT)
        program = "print('saved'); print('finished'); raise SystemExit(3)"
        assert names["call"](sys.executable, "-c", program) == 3
        assert lines == ["Stopping. A training run saves first.", "saved\n", "finished\n"]
        assert signal.getsignal(signal.SIGINT) == before

    def test_without_baton_and_an_address_it_stops(self, run, tmp_path):
        with pytest.raises(Exception, match=f"there is no Baton in {tmp_path}/none"):
            run("install", BATON=str(tmp_path / "none"))
