"""What computes a training run, a GPU or the processor: it decides bits, so that a run resumes on what it was begun on."""

from pathlib import Path

from baton.console import log
from baton.study.gpus import list_gpus
from baton.study.identity import DEVICE, GPU, PRECISIONS, PROCESSOR, Identity, list_ways
from baton.study.progress import read_state_values
from baton.training import networks
from baton.training.keeper import Keeper


def name_device() -> str:
    """Return what TensorFlow computes on in this process."""
    return GPU if networks.sees_gpu() else PROCESSOR


def take_device(state: str | Path, identity: Identity, gpus: int, precision: str) -> Identity:
    """Return `identity`, which says so where one GPU computes; where the run was begun on the processor, hide all GPUs.

    state: as for Keeper; gpus: that the job asks for; several are in the identity already; precision: that the config asks for.
    Before TensorFlow uses a device.
    """
    precisions = PRECISIONS if precision == "auto" else (precision,)
    if gpus > 1 and networks.sees_gpu():
        return identity
    begun = _find_state(state, identity, precisions)
    begun_on = None if begun is None else begun.get("device")
    if not networks.sees_gpu():
        there = list_gpus()
        if gpus or there:
            log.warning(
                "%s and TensorFlow does not see it: training on the processor. "
                "`pip install --require-hashes -r requirements.gpu.lock` in Baton's environment installs what it needs.",
                "this machine has a GPU" if there else "this job asked for a GPU",
            )
        if begun_on == GPU:
            log.warning(
                "an earlier version of Baton began this on a GPU: on the processor its last bits are others"
            )
        return identity
    on_gpu = identity | {DEVICE: GPU}
    if begun is None or _find_state(state, on_gpu, precisions) is not None:
        return on_gpu
    if begun_on == PROCESSOR:
        networks.hide_gpus()
        log.info(
            "begun on the processor: it resumes there. To train it on the GPU from the start, move %s away",
            state,
        )
    elif begun_on is None:
        log.warning(
            "an earlier version of Baton began this and did not note what computed it: it resumes on the GPU. If that was the "
            "processor, set CUDA_VISIBLE_DEVICES to nothing for this call."
        )
    return identity


def _find_state(state, identity, precisions):
    """Return what the newest state of a training run says beside its arrays; None where it is not begun."""
    keepers = (Keeper(state, way) for way in list_ways(identity, precisions))
    return next((read_state_values(keeper.current) or {} for keeper in keepers if keeper.begun), None)
