"""Which number format `precision: auto` takes: the one that this kind of hardware computes faster, by a table.

No stopwatch decides: all training runs of a study on one kind of machine must take the same format, or they would not be
comparable, nor the same bits. `snakemake plan` measures, and says where the table is wrong.
"""

import platform
import re
from pathlib import Path
from typing import NamedTuple

CPU_INFO = Path("/proc/cpuinfo")
FLOAT32, BFLOAT16, FLOAT16 = "float32", "mixed_bfloat16", "mixed_float16"
AMPERE = (8, 0)  # NVIDIA's compute capability from which on GPUs multiply bfloat16
VOLTA = (7, 0)  # the same of float16


class Choice(NamedTuple):
    """A number format, and the reason for it in words."""

    precision: str
    reason: str


# Vendor (None: any) and flag in /proc/cpuinfo, the first that fits; unknown processors get float32.
PROCESSORS = (
    # Tiles, from Sapphire Rapids on: 1,024 operations in bfloat16 per cycle and core against 64 in float32
    # (Intel, "Accelerate AI workloads with Intel AMX", 2022). Not measured.
    (None, "amx_bf16", BFLOAT16, "the processor multiplies bfloat16 in tiles (AMX)"),
    # An EPYC of the fourth generation, 2 cores: steps 1.3 times as fast as in float32 for model_3 at 32 px, 1.7 times for
    # model_1 at 64 px (`make bench`).
    ("AuthenticAMD", "avx512_bf16", BFLOAT16, "the processor is an AMD with avx512_bf16"),
    # A Xeon without AMX, 2 cores: matrices at 296 GFLOP/s in float32 and 164 in bfloat16; steps of model_3 at 96 px in 180
    # and 228 ms, of model_6 at 150 px in 599 and 760.
    ("GenuineIntel", "avx512_bf16", FLOAT32, "the processor is an Intel with avx512_bf16 and no AMX"),
)


def choose(wanted: str, gpu: tuple[int, int] | None = None) -> Choice:
    """Return the format that is wanted; for "auto" the one in which this hardware is known to be faster, else float32.

    gpu: the compute capability of the GPU that trains, (0, 0) where it is unknown; None for the processor.
    """
    if wanted != "auto":
        return Choice(wanted, "set in the config")
    if gpu is not None:
        # NVIDIA, A100 whitepaper (2020): tensor cores for bfloat16 are new in this generation; those before have none, and
        # would convert. Neither is measured.
        if gpu >= AMPERE:
            return Choice(
                BFLOAT16,
                f"the GPU's compute capability is {gpu[0]}.{gpu[1]}, and bfloat16 is there from 8.0 on",
            )
        return Choice(FLOAT32, "the GPU is of a generation before compute capability 8.0, or unknown")
    vendor, flags = _read_processor()
    for maker, flag, precision, reason in PROCESSORS:
        if maker in (None, vendor) and flag in flags:
            return Choice(precision, reason)
    return Choice(FLOAT32, "the processor is none that is known to compute bfloat16 faster")


def list_formats(gpu: tuple[int, int] | None = None) -> list[str]:
    """Return the formats that this hardware computes, whatever it is faster in; gpu: as for `choose`."""
    if gpu is not None:
        return [FLOAT32, *([BFLOAT16] if gpu >= AMPERE else []), *([FLOAT16] if gpu >= VOLTA else [])]
    _, flags = _read_processor()
    found = {BFLOAT16: flags & {"avx512_bf16", "amx_bf16"}, FLOAT16: flags & {"avx512_fp16", "amx_fp16"}}
    return [FLOAT32, *(precision for precision, has in found.items() if has)]


def _read_processor():
    """Return the vendor of this processor and the set of its flags; nothing where Linux does not tell."""
    if platform.system() != "Linux":
        return "", set()
    text = CPU_INFO.read_text(errors="replace")
    vendor, flags = (re.search(rf"^{key}\s*:(.*)$", text, re.MULTILINE) for key in ("vendor_id", "flags"))
    return vendor[1].strip() if vendor else "", set(flags[1].split()) if flags else set()
