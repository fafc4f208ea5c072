"""Thumbnails, and the colours beside them: what copies are found by. Made with whole numbers only, so that every machine makes the same ones."""

import numpy as np
from PIL import Image

SIDE = 32  # pixels
COLOURS = 8  # the side of what tells the colours
GREY = 128  # where there is no colour


def make_thumbnail(image):
    """Return a PIL image, or (height, width) uint8, as (SIDE, SIDE) uint8: grey, stretched to the square."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def make_colours(image):
    """Return the two chroma values of an RGB image, (COLOURS, COLOURS, 2) uint8, stretched to the square."""
    return np.asarray(image.resize((COLOURS, COLOURS), Image.Resampling.BOX).convert("YCbCr"))[:, :, 1:]
