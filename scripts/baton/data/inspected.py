"""What inspect_images found out about each image, and what follows from it for a study: which are damaged, which to look at."""

from typing import NamedTuple

from baton.console import log
from baton.data import damage
from baton.errors import UserError
from baton.manifests import stream_manifest

JPEG = (".jpg", ".jpeg", ".jfif")
MANY = 0.2  # share of a study's JPEGs with a warning from which on the user has to say what it means


class Deep(NamedTuple):
    """The values of a grey image of more than 8 bits.

    sample: their type; declared: whether the file declares their range; lowest, highest: see grey.inner_range; low, high:
    of the range that the image alone would be scaled by.
    """

    sample: str
    declared: bool
    lowest: float
    highest: float
    low: float
    high: float

    @property
    def limits(self):
        return self.low, self.high


class Inspection(NamedTuple):
    """What is known of one image; of a damaged one only what is wrong.

    sha256: of its file; damage: why it cannot be used; warning: of its decoder; look: why people should look at it; width,
    height: upright.
    """

    sha256: str = ""
    damage: str | None = None
    warning: str | None = None
    look: str | None = None
    format: str = ""
    width: int | None = None
    height: int | None = None
    deep: Deep | None = None

    def cells(self):
        """Return the cells of its row in inspected.csv, after the image's name."""
        facts = ["" if value is None else value for value in self[:-1]]
        return facts + (list(self.deep) if self.deep else [""] * len(Deep._fields))


COLUMNS = ("image", *Inspection._fields[:-1], *Deep._fields)


class Faults(NamedTuple):
    """What is wrong with the images of inspected.csv, by row.

    damage: what is; warnings: image, and what its decoder says; jpegs: how many JPEGs there are without damage.
    """

    damage: dict[int, str]
    warnings: dict[int, tuple[str, str]]
    jpegs: int

    def judge_warnings(self, warned):
        """Return the damage of each row, with the decoders' warnings as `images.warned` has it: leave_out, keep, or None.

        None leaves these images out, but where more than a fifth of the JPEGs have one: a camera may write what libjpeg
        grumbles about. Raises UserError there.
        """
        if warned is None and len(self.warnings) > MANY * self.jpegs:
            image, warning = next(iter(self.warnings.values()))
            raise UserError(
                f"{len(self.warnings)} of {self.jpegs} JPEGs are read with a warning of the decoder, such as {image}: "
                f"{warning}. Look at some of them. If they are as they should be, set images.warned: keep; if they are "
                "damaged, images.warned: leave_out."
            )
        if warned == "keep":
            return self.damage
        return self.damage | {
            row: f"the decoder warns: {warning}" for row, (_, warning) in self.warnings.items()
        }

    def tell_warnings(self):
        """Log each image that is read with a warning."""
        for image, warning in self.warnings.values():
            log.warning("read with a warning of the decoder: %s: %s", image, warning)


def read_faults(path):
    """Return the Faults of inspected.csv."""
    damage, warnings, jpegs = {}, {}, 0
    for row, one in enumerate(stream_manifest(path)):
        if one["damage"]:
            damage[row] = one["damage"]
            continue
        jpegs += one["image"].lower().endswith(JPEG)
        if one["warning"]:
            warnings[row] = one["image"], one["warning"]
    return Faults(damage, warnings, jpegs)


def look_at_contrast(one, ranges):
    """Return `look` of an image, of a deep grey one by its study's ranges; one: its row of inspected.csv."""
    if not one["sample"]:
        return one["look"]
    lowest, highest = float(one["lowest"]), float(one["highest"])
    own = one["declared"] == "True"
    low, high = (float(one["low"]), float(one["high"])) if own else ranges[one["sample"]]
    if highest - lowest < damage.CONTRAST / 255 * (high - low):
        return (
            f"next to no contrast: its values (one at either end aside) are from {lowest:g} to {highest:g}, where "
            f"{low:g} is black and {high:g} white"
        )
    return one["look"]
