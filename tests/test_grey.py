"""Grey images of more than 8 bits: the range that a file declares, else one for the study; never black without a word."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from conftest import Study
from PIL import Image

from baton.data.grey import WHOLE, find_ranges, inner_range
from baton.data.images import decode_image, open_image
from baton.data.inspected import Deep, look_at_contrast

RAMP = np.tile(np.linspace(0, 1, 32), (8, 1))  # from black on the left to white on the right
KINDS = {"u": 1, "i": 2, "f": 3}


def tiff(values, photometric=1, least=None, most=None):
    """Return a TIFF of a grey array of any type, written by hand (TIFF 6.0)."""
    height, width = values.shape
    data = values.tobytes()
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, values.itemsize * 8),
        (259, 3, 1),
        (262, 3, photometric),
    ]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data))]
    tags += [(280, 3, least)] if least is not None else []
    tags += [(281, 3, most)] if most is not None else []
    tags += [(339, 3, KINDS[values.dtype.kind])]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    return start + struct.pack("<H", len(tags)) + entries + bytes(4)


def png(values, significant=None):
    """Return a 16-bit grey PNG of an array; significant: what its chunk sBIT says."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    size = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 0, 0, 0, 0)
    parts = chunk(b"IHDR", size) + (chunk(b"sBIT", bytes([significant])) if significant else b"")
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def decode(tmp_path, content, ranges=()):
    path = tmp_path / "image"
    path.write_bytes(content)
    return np.asarray(decode_image(path, ranges=dict(ranges)))[0, :, 0].astype(int)


def sample(tmp_path, content):
    (tmp_path / "image").write_bytes(content)
    return open_image(tmp_path / "image")[1].sample


EXPECTED = np.linspace(0, 255, 32)
TYPES = {
    "uint16": ((RAMP * 65535).astype("<u2"), WHOLE),
    "uint16 of 14 bits": ((RAMP * 16383).astype("<u2"), (0, 16383)),
    "uint16 of 12 bits": ((RAMP * 4095).astype("<u2"), (0, 4095)),
    "uint16 of 8 bits": ((RAMP * 255).astype("<u2"), (0, 255)),
    "int16, CT": ((RAMP * 4000 - 1000).astype("<i2"), (-1000, 3000)),
    "int32": ((RAMP * 1023).astype("<i4"), (0, 1023)),
    "uint32": ((RAMP * 4e9).astype("<u4"), (0, 4e9)),
    "float32 to 1": (RAMP.astype("<f4"), (0, 1)),
    "float32 to 255": ((RAMP * 255).astype("<f4"), (0, 255)),
    "float32 around 0": ((RAMP * 2 - 1).astype("<f4"), (-1, 1)),
}


# Pillow reads no TIFF of signed or 32-bit whole numbers whose lowest value is white: it is set aside, with the reason.
CASES = [(kind, False) for kind in TYPES] + [
    (kind, True) for kind in TYPES if kind.startswith(("uint16", "float"))
]


@pytest.mark.parametrize("kind, inverted", CASES)
def test_values_of_every_type_go_from_black_to_white(tmp_path, kind, inverted):
    values, limits = TYPES[kind]
    name = kind.split()[0].rstrip(",")
    content = tiff(values, photometric=0 if inverted else 1)
    assert sample(tmp_path, content) == name
    assert find_ranges([(name, (values.min(), values.max()))]) == {name: limits}
    found = decode(tmp_path, content, {name: limits})
    assert abs(found - (EXPECTED[::-1] if inverted else EXPECTED)).max() <= 1.5


@pytest.mark.parametrize("most", [255, 1000, 4095])
def test_what_a_tiff_declares_counts_and_not_the_study(tmp_path, most):
    content = tiff((RAMP * most).astype("<u2"), least=0, most=most)
    assert abs(decode(tmp_path, content, {"uint16": (0, 65535)}) - EXPECTED).max() <= 1.5


def test_the_significant_bits_of_a_png(tmp_path):
    assert abs(decode(tmp_path, png((RAMP * 4095).astype("u2"), 12)) - EXPECTED).max() <= 1.5
    # As the specification has it: scaled to all 16 bits.
    assert abs(decode(tmp_path, png((RAMP * 65535).astype("u2"), 12)) - EXPECTED).max() <= 1.5
    dark = decode(tmp_path, png((RAMP * 4095).astype("u2")))
    assert dark.max() == 15  # without, it is dark: the study's range tells


def test_a_pgm_declares_its_range(tmp_path):
    values = (RAMP * 1000).astype(">u2")
    content = b"P5 32 8 1000\n" + values.tobytes()
    assert abs(decode(tmp_path, content, {"int32": (0, 1)}) - EXPECTED).max() <= 1.5


def test_the_range_is_one_for_all_images_of_a_type():
    found = [("uint16", (5, 900)), ("uint16", (0, 3000)), ("float32", (0, 0.5)), ("uint16", (7, 8))]
    assert find_ranges(found) == {"float32": (0, 1), "uint16": (0, 4095)}
    assert find_ranges([("int16", (-5, 10)), ("int16", (0, 99))]) == {"int16": (-5, 99)}
    assert find_ranges([]) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_nought(tmp_path, value):
    values = RAMP.astype("<f4").copy()
    values[0, 5] = value
    found = decode(tmp_path, tiff(values), {"float32": (0, 1)})
    assert found[5] == 0 and found[31] == 255


def test_without_ranges_it_is_as_in_earlier_versions(tmp_path):
    (tmp_path / "image").write_bytes(tiff((RAMP * 65535).astype("<u2")))
    found = np.asarray(decode_image(tmp_path / "image"))[0, :, 0]
    assert (found == (RAMP[0] * 65535).astype("u2") >> 8).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-9999, -9999, 0.1, 0.2, 0.7], (0.1, 0.7)),  # no data
        ([0, 300, 4000, *[500] * 200, 65535], (0, 4000)),  # burnt in
        ([100, 139, *[120] * 200, *[65535] * 100], (100, 65535)),  # bright objects on a dark ground
        ([0, 0.5, 0.7, 1], (0, 1)),
        ([0, 0, 1, 1], (0, 1)),
        ([5, 5, 5, 5], (5, 5)),
    ],
)
def test_one_value_at_either_end_says_nothing_of_the_contrast(values, expected):
    assert inner_range(np.array([values], float)) == expected


def test_pictures_that_a_code_for_no_data_leaves_in_two_values_are_named():
    values = np.where(RAMP < 0.1, -9999, RAMP)[None]
    limits = (float(values.min()), float(values.max()))
    deep = Deep("float32", False, *inner_range(values), *limits)
    one = dict(zip(Deep._fields, map(str, deep), strict=True)) | {"look": ""}
    look = look_at_contrast(one, find_ranges([("float32", limits)]))
    assert (
        look.startswith("next to no contrast: its values (one at either end aside) are from 0.1")
        and "-9999 is black" in look
    )


def test_a_study_of_12_bit_scans_says_its_range_and_a_model_keeps_it(tmp_path):
    study = Study(
        tmp_path,
        {
            "data": {"source": "class_folders", "images": "scans"},
            # The scans of a class are copies but for their brightness.
            "holdout": {"validation": 1, "test": 1, "keep_together": "none"},
            "images": {"size": 32},
            "training": {"epochs": 1, "precision": "float32"},
            "models": [{"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}],
        },
    )
    for label, values in (("across", np.tile(RAMP, (4, 1))), ("down", np.tile(RAMP, (4, 1)).T)):
        (study / "scans" / label).mkdir(parents=True)
        for number in range(5):
            content = tiff((values * (4095 - 40 * number)).astype("<u2"))
            (study / f"scans/{label}/{number}.tif").write_bytes(content)
    (study / "scans/down/flat.tif").write_bytes(tiff(np.full((32, 32), 77, "<u2")))
    outcome = study.run()
    assert "grey images of type uint16: 0 is black and 4095 white" in outcome.output
    assert study.json("data/class_weights.json")["grey"] == {"uint16": [0, 4095]}
    assert study.json("models/net/seed_1/training.json")["grey"] == {"uint16": [0, 4095]}
    packed = np.load(study / "results/data/packed/32px/train.npy")
    assert packed.max() > 245 and packed.min() == 0
    look = {row["file"]: row["reason"] for row in study.rows("data/look_at.csv")}
    assert look == {
        "down/flat.tif": "next to no contrast: its values (one at either end aside) are from 77 to 77, where 0 is black and 4095 white"
    }
    page = (study / "results/report.html").read_text(encoding="utf-8")
    assert "0 is black and 4095 white (uint16)" in page
    assert "down/flat.tif" in page
    numbers = json.loads((study / "results/report.json").read_text(encoding="utf-8"))
    assert numbers["data"]["grey"] == {"uint16": [0, 4095]}
    # A folder whose images are darker: by its own values they would be brighter.
    (study / "new").mkdir()
    for number in range(2):
        content = tiff((np.tile(RAMP, (4, 1)) * (900 + number)).astype("<u2"))
        (study / f"new/{number}.tif").write_bytes(content)
    buffer = io.BytesIO()
    grey = np.rint((np.tile(RAMP, (4, 1)) * 900).astype("<u2") / 4095 * 255).astype(np.uint8)
    Image.fromarray(grey).save(buffer, "PNG")
    (study / "new/same.png").write_bytes(buffer.getvalue())
    study.run("predict", "--config", "model=net", "images=new")
    (table,) = (study / "results/predictions/net").iterdir()
    rows = {row["file"]: row for row in study.rows(f"predictions/net/{table.name}")}
    assert float(rows["0.tif"]["probability down"]) == pytest.approx(
        float(rows["same.png"]["probability down"]), abs=1e-6
    )
