"""The config as its user spelled it.

YAML reads an unquoted 010 as 8, 12:30 as 750, 2024_01 as 202401 and no as false. So the files and `--config` are read
here with every unquoted value as text, and the schema says what each is to be: a number where it wants a number, and
the text as it stands where it wants a name, a label, a column or a folder.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from baton.errors import ConfigError, some

FILL_IN = "FILL_IN"  # what `snakemake new_study` writes where it cannot decide
NULL = re.compile(r"|~|null|Null|NULL")
NUMBER = re.compile(
    r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[-+]?\d+)?|[-+]?\.inf|\.nan", re.IGNORECASE | re.ASCII
)
OCTAL = re.compile(r"[-+]?0\d[\d_]*", re.ASCII)  # to YAML; who writes it means something else
TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")


class Unquoted(str):
    """A YAML value without quotes, as it is spelled."""


class _Loader(yaml.SafeLoader):
    """SafeLoader, but for values without quotes, which stay as they are spelled, and for keys that stand there twice."""

    def construct_spelled(self, node):
        return Unquoted(node.value) if node.style is None else node.value

    def construct_mapping(self, node, deep=False):
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise ConfigError(
                        f"{self.name}, line {key.start_mark.line + 1}: a key must be one word or text."
                    )
                if key.value in seen and key.start_mark.name == self.name and key.value != "<<":
                    raise ConfigError(
                        f"{self.name}, line {key.start_mark.line + 1}: the key {key.value} is there twice. Keep one."
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


for _kind in ("bool", "int", "float", "null", "timestamp", "value", "str"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_spelled)


def read_config_file(path: str | Path) -> dict[Any, Any]:
    """Return the config in a YAML or JSON file, with what has no quotes as Unquoted; {} for an empty one."""
    text = Path(path).read_text(encoding="utf-8-sig")
    try:
        found = json.loads(text)  # as Snakemake does; its values are what they are
    except ValueError:
        found = _load(text, str(path))
    if not found or isinstance(found, Unquoted) and NULL.fullmatch(found):
        return {}
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path}: not a config: it must hold keys and values, such as `training: {{epochs: 3}}`."
        )
    return found


def read_argument(entry: str) -> tuple[str, Any]:
    """Return key and value of a `--config` argument, KEY=VALUE; a value that is no YAML is text."""
    key, _, text = entry.partition("=")
    text = text.strip("'\"")  # as Snakemake does
    try:
        return key, _load(text, "--config") if text.strip() else Unquoted("")
    except (yaml.YAMLError, ConfigError):
        if text.lstrip().startswith("{"):
            raise ConfigError(
                f"--config {entry}: this is not YAML. Write it like 'training={{epochs: 3}}'."
            ) from None
        return key, text


def _load(text, name):
    loader = _Loader(text)
    loader.name = name
    try:
        node = loader.get_single_node()
        refuse_open_lines(node, name, text.splitlines())
        found = loader.construct_document(node) if node is not None else None
        json.dumps(found, default=str)  # what cannot be gone through to its end
        return found
    except (ValueError, RecursionError) as trouble:
        if isinstance(trouble, yaml.YAMLError):
            raise
        raise ConfigError(f"{name}: nested too deep, or an anchor (&) within itself.") from None
    finally:
        loader.dispose()


def refuse_open_lines(node: Any, name: str, lines: list[str]) -> None:
    """Refuse a config in which FILL_IN still stands, and name each of these lines."""
    found, pending, seen = set(), [node], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:  # an anchor may be used within itself
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            pending += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.ScalarNode) and node.value == FILL_IN and node.style is None:
            found.add(node.start_mark.line)
    if found:
        shown = some((f"line {line + 1}, `{lines[line].strip()}`" for line in sorted(found)), 10)
        raise ConfigError(
            f"{name}: write what is meant in place of {FILL_IN}: {shown}. The lines above each say what there is."
        )


def take_types(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Return a value, read with read_config_file, with each part of the type that the schema wants.

    schema: of the value; root: the whole schema, for its $defs. What fits no type stays text, for the schema to refuse;
    what the schema does not know is what YAML makes of it.
    """
    schema = _look_up(schema, root)
    kinds = [schema, *(_look_up(kind, root) for kind in schema.get("anyOf", ()))]
    if isinstance(value, dict):
        kind: dict[str, Any] = next(
            (k for k in kinds if "properties" in k or isinstance(k.get("additionalProperties"), dict)), {}
        )
        known, others = kind.get("properties", {}), kind.get("additionalProperties")
        found = {}
        for key, inner in value.items():
            # Names of the user's own (columns, classes) are text, whatever YAML makes of them.
            name = str(key) if isinstance(key, (str, int)) and not isinstance(key, bool) else key
            found[name] = take_types(inner, known.get(key, others if isinstance(others, dict) else {}), root)
        return found
    if isinstance(value, list):
        items: dict[str, Any] = next((kind["items"] for kind in kinds if "items" in kind), {})
        return [take_types(item, items, root) for item in value]
    if not isinstance(value, str):
        return value
    types, choices = set(_types(kinds)), list(_choices(kinds))
    if not types and not choices:
        return yaml.safe_load(value) if isinstance(value, Unquoted) else value
    return _take_type(value, types, choices)


def _take_type(text, types, choices):
    unquoted, is_number = isinstance(text, Unquoted), bool({"number", "integer"} & types)
    is_name = "string" in types and "number" not in types
    text = str(text)
    if text in choices:
        return text
    if ("null" in types or None in choices) and NULL.fullmatch(text) and (unquoted or not is_name):
        return None
    if unquoted and not text:
        return None  # nothing stands there: the schema refuses it
    if "boolean" in types and text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    if is_name:  # as it is spelled; a whole number that is spelled as one may be one
        return int(text) if unquoted and is_number and text.isascii() and _is_whole(text) else text
    if is_number and NUMBER.fullmatch(text) and not is_octal(text):
        return yaml_number(text)
    return text


def _is_whole(text):
    return re.fullmatch(r"-?\d{1,300}", text) is not None and str(int(text)) == text


def yaml_number(text: str) -> int | float:
    """Return the number that a text of the form NUMBER stands for."""
    text = text.replace("_", "")
    try:
        return int(text)
    except ValueError:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def is_octal(text: str) -> bool:
    """Whether YAML takes a text for a number to the base of 8, which nobody means."""
    return OCTAL.fullmatch(text) is not None


def _look_up(schema, root):
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]] | {
            k: v for k, v in schema.items() if k != "$ref"
        }
    return schema


def _types(kinds) -> Iterator[str]:
    for kind in kinds:
        types = kind.get("type", [])
        yield from [types] if isinstance(types, str) else types


def _choices(kinds) -> Iterator[Any]:
    for kind in kinds:
        yield from kind.get("enum", ())
