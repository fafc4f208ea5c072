"""What computes a training run, a GPU or the processor: it decides bits, so that a run resumes on what it was begun on."""

from pathlib import Path

from baton.console import log
from baton.study.gpus import list_gpus
from baton.study.identity import DEVICE, ON_GPU, PRECISIONS, Identity, list_ways
from baton.training import networks
from baton.training.keeper import Keeper


def take_device(state: str | Path, identity: Identity, gpus: int) -> Identity:
    """Return `identity`, which says so where one GPU computes; where the run was begun on the processor, hide all GPUs.

    state: as for Keeper; gpus: that the job asks for; several are in the identity already. Before TensorFlow uses a device.
    """
    if not networks.sees_gpu():
        if gpus or list_gpus():
            log.warning(
                "this machine has a GPU and TensorFlow does not see it: training on the processor. "
                "`pip install --require-hashes -r requirements.gpu.lock` in Baton's environment installs what it needs."
            )
        return identity
    if gpus > 1:
        return identity
    on_gpu = identity | {DEVICE: ON_GPU}
    if _is_begun(state, identity) and not _is_begun(state, on_gpu):
        networks.hide_gpus()
        log.info(
            "begun on the processor: it resumes there. To train it on the GPU from the start, move %s away",
            state,
        )
        return identity
    return on_gpu


def _is_begun(state, identity):
    return any(Keeper(state, way).begun for way in list_ways(identity, PRECISIONS))
