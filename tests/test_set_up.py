"""Setting up the environment, from a package of this test's own instead of the index: what is said, cuts, two at once."""

import base64
import fcntl
import hashlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import zipfile

import pytest
from conftest import REPOSITORY

SCRIPT = REPOSITORY / "envs/set_up.py"
spec = importlib.util.spec_from_file_location("set_up", SCRIPT)
set_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(set_up)


def make_wheel(folder, name):
    """Write a wheel of one module that holds its own name; return its line for a lock."""
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": f"NAME = {name!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{file},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for file, text in files.items()
    ]
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in (files | {f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"}).items():
            wheel.writestr(file, text)
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return a folder with a lock of two packages that lie beside it, and one for another system."""
    (tmp_path / "wheels").mkdir()
    lines = [make_wheel(tmp_path / "wheels", name) for name in ("first", "second")]
    lines.append("third==1.0 ; sys_platform == 'nowhere' \\\n    --hash=sha256:" + "0" * 64 + "\n")
    (tmp_path / "a.lock").write_text("".join(lines))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder, *words, wait=True):
    command = [sys.executable, SCRIPT, *(words or (".venv/installed", "a.lock"))]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if not wait:
        return process
    output = process.communicate(timeout=300)[0]
    return process.returncode, output


def names_of(folder):
    code = "import first, second; print(first.NAME, second.NAME)"
    return subprocess.run(
        [folder / ".venv/bin/python", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


class TestSettingUp:
    def test_it_counts_what_is_for_this_system_and_a_cut_one_is_made_anew(self, here):
        code, output = run(here)
        assert code == 0, output
        assert "Setting up .venv: 2 packages" in output and "fetched 2 of 2 packages" in output
        assert names_of(here) == ["first", "second"] and (here / ".venv/installed").exists()
        # Cut while it unpacked: a module is half there, and pip would think it whole.
        (module,) = here.glob(".venv/lib/python*/site-packages/second.py")
        module.write_text("NAME = ")
        (here / ".venv/installed").rename(here / ".venv/installed.cut")
        code, output = run(here)
        assert code == 0 and "The last set-up was cut." in output
        assert names_of(here) == ["first", "second"]
        assert not (here / ".venv/installed.cut").exists()
        # Cut while the environment itself was made: there is no pip in it yet.
        (pip,) = here.glob(".venv/lib/python*/site-packages/pip")
        pip.rename(here / "pip")
        (here / ".venv/installed").unlink()
        assert run(here)[0] == 0 and names_of(here) == ["first", "second"]
        # Another that adds to it does not take it away.
        (here / "b.lock").write_text(make_wheel(here / "wheels", "fourth"))
        (here / ".venv/more.cut").touch()
        assert run(here, ".venv/more", "b.lock")[0] == 0
        assert names_of(here) == ["first", "second"] and (here / ".venv/more").exists()

    def test_ctrl_c_while_it_unpacks_ends_it_at_once(self, here):
        fake = here / "fake_pip.py"
        fake.write_text(
            "import time\nprint('Installing collected packages: x', flush=True)\ntime.sleep(600)\n"
        )
        code = (
            f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import set_up; "
            f"set_up.install([sys.executable, {str(fake)!r}], '.', ['a.lock'], 2)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout.readline().startswith("fetched 2 of 2")
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode != 0

    def test_what_adds_to_an_environment_is_done_again_after_that_is(self, here):
        (here / ".venv").mkdir()
        for name, when in (("gpu", 100), ("installed", 200)):
            (here / ".venv" / name).touch()
            os.utime(here / ".venv" / name, (when, when))
        os.utime(here / "a.lock", (50, 50))
        assert not set_up.is_set_up(".venv/gpu", ["a.lock"]) and set_up.is_set_up(
            ".venv/installed", ["a.lock"]
        )

    def test_of_two_at_once_the_second_waits_and_does_nothing_twice(self, here):
        with open(here / "a.lock") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            waiting = run(here, wait=False)
            assert waiting.stdout.readline() == "Another command sets up .venv: waiting for it.\n"
            (here / ".venv").mkdir()
            (here / ".venv/installed").touch()
        assert waiting.communicate(timeout=60)[0] == "" and waiting.returncode == 0
        assert os.listdir(here / ".venv") == ["installed"]

    def test_packages_that_are_not_the_locks_are_not_installed(self, here):
        lock = (here / "a.lock").read_text()
        before, second = lock.split("second==1.0")
        (here / "a.lock").write_text(
            f"{before}second==1.0{re.sub('sha256:.{64}', 'sha256:' + 'f' * 64, second, count=1)}"
        )
        code, output = run(here)
        assert code != 0 and not (here / ".venv/installed").exists()
        assert "pip's reason is above" in output and "HASHES" in output.upper()


class TestWhatIsMissing:
    """One sentence each, before anything is made."""

    def refused(self, function, *words):
        with pytest.raises(SystemExit) as refusal:
            function(*words)
        return str(refusal.value)

    @pytest.mark.parametrize(("version", "there"), [((3, 10), "python3.12"), ((3, 14), None)])
    def test_another_python(self, monkeypatch, version, there):
        monkeypatch.setattr(sys, "version_info", version)
        monkeypatch.setattr(set_up.shutil, "which", lambda name: name if name == there else None)
        said = self.refused(set_up.check_python)
        assert f"this is Python {version[0]}.{version[1]}, and it needs 3.11 to 3.13" in said
        assert ("make run PYTHON=python3.12" in said) == bool(there)

    def test_no_venv(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ensurepip", None)
        assert f"apt install python3.{sys.version_info[1]}-venv" in self.refused(set_up.check_python)

    @pytest.mark.parametrize(
        ("stamp", "there", "needed"),
        [("installed", 0, 3.3), ("installed", 3.4, 0), ("gpu", 3.3, 4.4), ("gpu", 7.7, 0)],
    )
    def test_what_is_there_already_needs_no_room(self, tmp_path, monkeypatch, stamp, there, needed):
        asked = []
        monkeypatch.setattr(set_up, "size_of", lambda folder: there)
        monkeypatch.setattr(set_up, "check_disk", lambda folder, needed: asked.append(needed) or sys.exit())
        with pytest.raises(SystemExit):
            set_up.set_up(str(tmp_path / ".venv" / stamp), [])
        assert asked == [pytest.approx(needed)]

    def test_a_full_disk(self, tmp_path):
        said = self.refused(set_up.check_disk, str(tmp_path / ".venv"), 1e9)
        assert "the packages take 1000000000.0 GB more, and " in said

    def test_no_way_to_the_index(self, here, monkeypatch):
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        code, output = run(here)
        assert code == 1 and output.startswith(
            "Baton cannot be set up: there is no way to the package index from here"
        )
        assert "Traceback" not in output and not (here / ".venv/installed").exists()

    def test_no_python_at_all(self):
        done = subprocess.run(
            ["make", "--always-make", ".venv/installed", "PYTHON=no_such_python"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert done.returncode and "there is no no_such_python here" in done.stdout
        assert "make run PYTHON=/path/to/python3.12" in done.stdout
