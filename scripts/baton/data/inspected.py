"""What inspect_images found out about each image, and what follows from it for a study: which are damaged, which to look at."""

from typing import NamedTuple

from baton.console import log
from baton.data import damage
from baton.errors import UserError
from baton.manifests import read_manifest

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


def read_inspected(path, warned, columns=()):
    """Return inspected.csv: image, sha256, damage (as `images.warned` has it, missing where there is none), and `columns`."""
    frame = read_manifest(path, ["image", "sha256", "damage", "warning", *columns])
    frame = frame.assign(**{name: frame[name].where(frame[name] != "") for name in ("damage", "warning")})
    return frame.assign(damage=judge_warnings(frame, warned))


def judge_warnings(frame, warned):
    """Return `damage` of each image with the decoders' warnings as `images.warned` has it: leave_out, keep, or None.

    frame: image, damage, warning. None leaves them out, but where more than a fifth of the JPEGs have one: a camera may
    write what libjpeg grumbles about. Raises UserError there.
    """
    some_warned = frame["warning"].notna() & frame["damage"].isna()
    jpegs = frame["image"].str.lower().str.endswith(JPEG) & frame["damage"].isna()
    if warned is None and some_warned.sum() > MANY * jpegs.sum():
        first = frame[some_warned].iloc[0]
        raise UserError(
            f"{some_warned.sum()} of {jpegs.sum()} JPEGs are read with a warning of the decoder, such as {first['image']}: "
            f"{first['warning']}. Look at some of them. If they are as they should be, set images.warned: keep; if they are "
            "damaged, images.warned: leave_out."
        )
    if warned == "keep":
        return frame["damage"]
    return frame["damage"].where(~some_warned, "the decoder warns: " + frame["warning"].fillna(""))


def look_at_contrast(frame, ranges):
    """Return `look` of each image, of deep grey ones by their study's ranges; frame: look and the columns of Deep, as text."""
    look = frame["look"].where(frame["look"] != "")
    for row, one in frame[frame["sample"] != ""].iterrows():
        lowest, highest = float(one["lowest"]), float(one["highest"])
        own = one["declared"] == "True"
        low, high = (float(one["low"]), float(one["high"])) if own else ranges[one["sample"]]
        if highest - lowest < damage.CONTRAST / 255 * (high - low):
            look[row] = (
                f"next to no contrast: its values (one at either end aside) are from {lowest:g} to {highest:g}, where "
                f"{low:g} is black and {high:g} white"
            )
    return look


def tell_warnings(frame):
    """Log each image that is read with a warning; frame: image, warning."""
    for image, warning in frame.loc[frame["warning"].notna(), ["image", "warning"]].itertuples(index=False):
        log.warning("read with a warning of the decoder: %s: %s", image, warning)
