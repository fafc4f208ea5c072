"""The model card: what somebody to whom a model is handed on has to know of it (Mitchell et al. 2019, Model Cards)."""

from pathlib import Path

import jinja2

from baton.formatting import MOST_NUMBERED, decimals
from baton.markdown import escape_markdown
from baton.study.labels import describe_class

TEMPLATE = Path(__file__).with_name("model_card.md.j2")


def write_card(training, evaluation, grey):
    """Return the card of a model as Markdown; training: its training.json; evaluation: its metrics.json.

    grey: {sample type: [black, white]} by which grey images of more than 8 bits are scaled.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )  # no HTML: `md` escapes what is not ours
    environment.filters |= {"md": escape_markdown, "decimals": decimals, "describe_class": describe_class}
    counts = [row["images"] for row in evaluation["classes"]]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        training=training,
        settings=training["settings"],
        study=training.get("study") or {},
        evaluation=evaluation,
        classes=training["classes"],
        counts=counts,
        grey=grey,
        listed=len(counts) <= MOST_NUMBERED,
    )
