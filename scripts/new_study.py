"""Look at a folder of images and a table of annotations, and write the config of a study of them.

What is written is what was found, with counts; where that leaves a choice, FILL_IN stands there with what there is to
choose from, and Snakemake names that line until it is filled in.
"""

import os
import shlex

from annotations.names import Names
from baton import console
from baton.console import log
from baton.data.images import name_files
from baton.errors import ConfigError, UserError, some
from baton.study.labels import refuse_placeholders
from new_config.folders import describe_folders
from new_config.table import describe_table
from new_config.text import ConfigText


def find(path, called_in, kind):
    """Return the path of what was named on the command line, relative to the study's folder, which is the current one.

    called_in: the folder that the command was typed in. Raises UserError where it is in neither, or in both.
    """
    exists = os.path.isdir if kind == "folder" else os.path.isfile
    places = [os.path.abspath(os.path.join(folder, path)) for folder in (called_in, ".")]
    found = list({os.path.realpath(place): place for place in reversed(places) if exists(place)}.values())
    if not found:
        raise UserError(
            f"there is no {kind} {path} (looked in {some(dict.fromkeys(map(os.path.dirname, places)))})."
        )
    if len(found) > 1:
        raise UserError(f"{path} may be {found[0]} or {found[1]}: give the whole path.")
    relative = os.path.relpath(found[0])
    path = found[0] if relative.count("..") > 2 else relative.replace(os.sep, "/")
    try:
        refuse_placeholders("data", path)
    except ConfigError as error:
        raise UserError(str(error).removeprefix("config: data: ")) from None
    return path


def main(images, annotations, called_in, program="snakemake", config="config.yaml"):
    """Write the config of a study into the current folder. Raises UserError where that cannot be begun.

    images, annotations: as named on the command line, None where not; called_in: the folder it was typed in; program: how
    Snakemake was called, with the Snakefile if that was named.
    """
    study = os.path.basename(os.getcwd())
    if os.path.lexists(config):
        raise UserError(
            f"there is a {config} in {os.getcwd()} already, and it stays as it is. Name another folder: --directory my-study."
        )
    if images is None:
        raise UserError(
            "name the folder of images, and the table if there is one: snakemake new_study --directory my-study --config "
            "images=photos annotations=ratings.csv."
        )
    images = find(images, called_in, "folder")
    names = Names(name_files(images))
    text = ConfigText()
    text.comment(
        f"The study {study}. Every other choice has its default in Baton's config.yaml, whose comments are the manual."
    )
    text.blank()
    if annotations is None:
        describe_folders(text, images, names)
    else:
        describe_table(text, images, find(annotations, called_in, "file"), names)
    content = str(text)
    with open(config, "x", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    directory = os.path.relpath(".", called_in)
    asked = "" if directory == "." else f" --directory {shlex.quote(directory)}"
    path = os.path.relpath(os.path.abspath(config), called_in)
    log.info("written: %s\n%s", os.path.abspath(config), content)
    if text.open:
        log.info("%s to be filled in (FILL_IN)", "1 line is" if text.open == 1 else f"{text.open} lines are")
    log.info("next: %s -n%s --configfile %s", program, asked, shlex.quote(path))


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(**snakemake.params)
