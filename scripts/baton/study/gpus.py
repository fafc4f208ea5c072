"""The GPUs of this machine, as its driver lists them: training runs get one each, and no more run at a time than there are."""

import ctypes.util
import importlib.util
import os
import subprocess
from pathlib import Path

# The call of snakemake puts here the GPUs that its training runs share.
GPUS = "BATON_GPUS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
QUERY = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
LONGEST = 20  # seconds for the driver to answer


def _ask_driver() -> list[list[str]]:
    """Return index, UUID and name of each GPU; none where there is no NVIDIA driver."""
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, timeout=LONGEST, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [list(map(str.strip, line.split(",", 2))) for line in answer.splitlines()]
    return [row for row in rows if len(row) == 3]


def list_gpus() -> list[str]:
    """Return the UUID of each GPU that CUDA_VISIBLE_DEVICES lets a process see; none where there is no NVIDIA driver."""
    by_name = {index: uuid for index, uuid, _ in _ask_driver()}
    visible = os.environ.get(VISIBLE)
    if visible is None or not by_name:
        return list(by_name.values())
    found = []
    for name in filter(None, map(str.strip, visible.split(","))):
        if name.startswith("MIG-"):  # a part of a GPU, which the driver does not list
            found.append(name)
            continue
        # Numbers, or as much of a UUID as is unique; what comes after an unknown one counts for nothing, as in CUDA.
        of_name = [by_name[name]] if name in by_name else [u for u in by_name.values() if u.startswith(name)]
        if len(of_name) != 1:
            break
        found += of_name
    return list(dict.fromkeys(found))


def warn_of_numbers() -> str | None:
    """Return a warning where CUDA_VISIBLE_DEVICES names GPUs by numbers that CUDA may read otherwise: it counts from the fastest."""
    visible = os.environ.get(VISIBLE, "")
    numbers = {name.strip() for name in visible.split(",")}
    if os.environ.get(ORDER) == "PCI_BUS_ID" or not any(map(str.isdecimal, numbers)):
        return None
    rows = _ask_driver()
    chosen = ", ".join(f"{index} is {name}" for index, _, name in rows if index in numbers)
    if not chosen or len({name for *_, name in rows}) < 2:
        return None
    return (
        f"{VISIBLE}={visible} is read in the order in which nvidia-smi lists the GPUs ({chosen}). CUDA itself counts from the "
        f"fastest one, unless {ORDER} is PCI_BUS_ID."
    )


def has_cuda() -> bool:
    """Whether what TensorFlow needs for GPUs is installed: with it, as tensorflow[and-cuda], or on the system."""
    try:
        with_tensorflow = importlib.util.find_spec("nvidia.cudnn") is not None
    except ImportError:  # there is no package nvidia at all
        with_tensorflow = False
    # Which find_library knows only of where there is a linker.
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    loaded = any(any(Path(folder).glob("libcudnn.so*")) for folder in folders)
    return with_tensorflow or loaded or ctypes.util.find_library("cudnn") is not None


def usable_gpus() -> list[str]:
    """Return the GPUs of `list_gpus` where TensorFlow can compute on them, else none."""
    return list_gpus() if has_cuda() else []


def announce(gpus: list[str]) -> None:
    """Tell the training runs that this call starts here which GPUs they share."""
    os.environ[GPUS] = ",".join(gpus)


def announced() -> list[str]:
    """Return the GPUs that the jobs of this call share; none on a cluster, which gives each job its own."""
    return list(filter(None, os.environ.get(GPUS, "").split(",")))
