"""Decode every image once: what is wrong with it, what it is, and a thumbnail, by which copies are found."""

import hashlib
import os
from contextlib import suppress
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image

from baton import console
from baton.console import log, show_progress
from baton.data import damage, grey
from baton.data.images import DamagedImage, digest_file, open_image
from baton.data.inspected import COLUMNS, Deep, Inspection
from baton.data.processes import count_processes, decoders
from baton.data.thumbnails import COLOURS, GREY, SIDE, make_colours, make_thumbnail
from baton.files import write_json
from baton.manifests import open_manifest, stream_manifest

AT_A_TIME = 16  # images that a process is handed together: see decoders
SMALLEST = 2 * SIDE  # pixels of a side from which a thumbnail is made
ORIENTATION = 0x0112  # EXIF
Turn = Image.Transpose
# What turns an image upright, by its EXIF orientation.
TURNS = {2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE}
TURNS |= {6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90}
QUARTER_TURNS = (Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90)


def inspect_jpeg(path, megapixels):
    """Return what inspect_image does of a JPEG that nothing is wrong with, None where it has to be decoded in full.

    Its pixels are made once, small, by the decoder that tells of its warnings: half the time of decoding it in full as well.
    """
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        return None
    with open(path, "rb") as file:
        start = file.read(2)
        if start != b"\xff\xd8":
            return None
        data = start + file.read()
    with Image.open(BytesIO(data), formats=["JPEG"]) as image:
        if image.format != "JPEG" or image.mode not in ("RGB", "L"):
            return None
        if image.width * image.height > megapixels * 1e6:
            return None
        turned = TURNS.get(image.getexif().get(ORIENTATION))
    size = image.size[::-1] if turned in QUARTER_TURNS else image.size
    factor = next((factor for factor in (8, 4, 2) if min(image.size) >= factor * SMALLEST), 1)
    pixels = damage.read_sound_jpeg(data, factor)
    if pixels is None or int(pixels.max()) - int(pixels.min()) < damage.CONTRAST:
        return None
    small = Image.fromarray(pixels)
    small = small if turned is None else small.transpose(turned)
    digest = hashlib.sha256(data).hexdigest()
    facts = Inspection(sha256=digest, format="JPEG", width=size[0], height=size[1])
    return facts, make_thumbnail(small), make_colours(small)


def inspect_image(path, megapixels):
    """Return the Inspection of the image at `path`, its thumbnail and its colours: see baton.data.thumbnails.

    Of a damaged image the thumbnail is black.
    """
    no_colours = np.full((COLOURS, COLOURS, 2), GREY, np.uint8)
    with suppress(Exception):  # whatever is wrong is said below
        if quickly := inspect_jpeg(path, megapixels):
            return quickly
    try:
        image, depth, kind = open_image(path, megapixels)
        damaged, warning = damage.read_warnings(path)
    except DamagedImage as trouble:
        damaged = str(trouble)
    if damaged:
        return Inspection(damage=damaged), np.zeros((SIDE, SIDE), np.uint8), no_colours
    facts = {"sha256": digest_file(path), "warning": warning, "format": kind}
    facts |= {"width": image.width, "height": image.height}
    if depth is None:
        look = damage.look_at(path, np.asarray(image))
        return Inspection(look=look, **facts), make_thumbnail(image), make_colours(image)
    values = grey.read_values(image, depth)
    limits = grey.range_of(values, depth)
    deep = Deep(depth.sample, depth.declared is not None, *grey.inner_range(values), *limits)
    # By its own range, whatever that of the study is: a copy of it is one all the same.
    thumbnail = make_thumbnail(grey.to_8_bits(values, limits, depth.inverted))
    return Inspection(deep=deep, **facts), thumbnail, no_colours


def main(classes_csv, inspected_csv, thumbnails, colours, grey_json, root, processes, megapixels):
    """Write a row of each image's Inspection, the thumbnails and colours, (n, ...) uint8, and the ranges of deep grey images.

    All in the order of classes.csv; root: the folder of images; megapixels: the most of an image.
    """
    count = sum(1 for _ in stream_manifest(classes_csv))
    paths = (os.path.join(root, row["image"]) for row in stream_manifest(classes_csv))
    deep, damaged = [], 0
    # Row by row, and not kept: a million of them would fill the memory.
    with (
        decoders(partial(inspect_image, megapixels=megapixels), processes) as inspect,
        open_manifest(inspected_csv, COLUMNS) as write_row,
        open(thumbnails, "wb") as pixels,
        open(colours, "wb") as chroma,
    ):
        for file, shape in ((pixels, (SIDE, SIDE)), (chroma, (COLOURS, COLOURS, 2))):
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
        inspected = show_progress(inspect(paths, AT_A_TIME), "decoding", count, "image")
        for row, (inspection, thumbnail, colour) in zip(stream_manifest(classes_csv), inspected, strict=True):
            write_row([row["image"], *inspection.cells()])
            pixels.write(thumbnail.tobytes())
            chroma.write(colour.tobytes())
            damaged += inspection.damage is not None
            if inspection.deep and not inspection.deep.declared:
                deep.append((inspection.deep.sample, inspection.deep.limits))
    log.info("%d images; %d cannot be decoded", count, damaged)
    ranges = grey.find_ranges(deep)
    for sample, (low, high) in ranges.items():
        log.info("grey images of type %s: %g is black and %g white", sample, low, high)
    write_json(grey_json, ranges)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    made = snakemake.output
    main(
        snakemake.input.classes,
        made.inspected,
        made.thumbnails,
        made.colours,
        made.grey,
        snakemake.input.images,
        count_processes(snakemake.threads, snakemake.resources.get("mem_mb")),
        **snakemake.params,
    )
