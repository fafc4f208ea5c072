"""The kernels that TensorFlow computes with on processors: oneDNN's, or those that it takes by itself.

oneDNN, Intel's library, has the faster convolutions and matrix products. TensorFlow takes it by itself only on processors with
instructions for neural networks, from AVX-512 VNNI on; on an EPYC of the third generation, which has none, a step is 1.5 to 2
times as fast with it. Earlier versions of Baton left it at that, and the bits of what they began follow from it. TensorFlow
reads the variable when it is imported.
"""

import os
import platform
import sys

ONEDNN, EARLIER = "TF_ENABLE_ONEDNN_OPTS", "BATON_EARLIER_KERNELS"
X86 = platform.machine() in ("x86_64", "AMD64")  # elsewhere it stays as it is
_before = os.environ.get(ONEDNN)


def choose() -> None:
    """Have oneDNN's, unless those of earlier versions are to be had: before TensorFlow is imported."""
    if X86 and EARLIER not in os.environ:
        os.environ[ONEDNN] = "1"


def take_earlier() -> None:
    """Have those that earlier versions trained with: before TensorFlow is imported."""
    os.environ[EARLIER] = "1"


def start_anew_with_earlier() -> None:
    """Have those that earlier versions trained with, where TensorFlow is imported already: this process starts anew.

    What it had begun is lost, a signal that it noted as well.
    """
    if EARLIER in os.environ or not X86:
        return
    take_earlier()
    del os.environ[ONEDNN]
    if _before is not None:
        os.environ[ONEDNN] = _before
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
