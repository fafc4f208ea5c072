"""Thumbnails: what copies are found by. Made with whole numbers only, so that every machine makes the same ones."""

import numpy as np
from PIL import Image

SIDE = 32  # pixels


def make_thumbnail(image):
    """Return a PIL image, or (height, width) uint8, as (SIDE, SIDE) uint8: grey, stretched to the square."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
