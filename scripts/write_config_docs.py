"""Write configs/README.md and configs/schema.json from the config models, so that both say what the program does.

python scripts/write_config_docs.py
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from dp_core.distillation import DISTILLERS
from dp_core.files import write_text
from dp_core.models import ARCHITECTURES
from dp_core.training import Recipe
from search.config.loader import describe_keys, write_schema
from search.config.models import SearchConfig

FOLDER = Path(__file__).resolve().parent.parent / "configs"

INTRODUCTION = """# Config files

`quickstart.yaml` is the first search, on 5,000 images; `cifar10.yaml` the same on complete CIFAR-10. Every key can be
given on the command line as `key=value`, the value being YAML: `winnow search configs/quickstart.yaml run.seed=1
'space.model.width={choice: [16, 32]}'`. `schema.json` is the JSON schema, for editors. This page is written by
`python scripts/write_config_docs.py`.

## Keys
"""


def main() -> None:
    """Write both files."""
    write_schema(SearchConfig, FOLDER / "schema.json")
    write_text(FOLDER / "README.md", page())


def page() -> str:
    """Return the text of configs/README.md."""
    cells = [
        (f"`{key.key}`", key.type, f"`{key.default}`" if key.default else "", key.description)
        for key in describe_keys(SearchConfig)
    ]
    rows = ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in cells]
    return "\n".join(
        [
            INTRODUCTION,
            "| key | type | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Recipes (`space.recipe`, `retrain.recipe`)",
            "",
            *settings_table(Recipe),
            "",
            "## Architectures (`space.model.name`)",
            "",
            *[f"- `{name}`: {hyperparameters(builder)}" for name, builder in ARCHITECTURES.items()],
            "",
            *[line for name, kind in DISTILLERS.items() for line in distiller_section(name, kind)],
        ]
    )


def distiller_section(name: str, kind: type) -> list[str]:
    """Return the section of one distiller."""
    heading = [f"## `distill.settings` of `{name}`", ""]
    return [*heading, *(settings_table(kind) if fields(kind) else ["It has none."]), ""]


def settings_table(kind: type) -> list[str]:
    """Return a table of a dataclass's fields, with the docstrings below them."""
    documented = attribute_docstrings(kind)
    rows = [f"| `{field.name}` | `{default_of(field)}` | {escaped(documented[field.name])} |" for field in fields(kind)]
    return ["| setting | default | meaning |", "|---|---|---|", *rows]


def default_of(field: Any) -> Any:
    """Return a field's default as YAML would write it."""
    value = field.default_factory() if field.default is MISSING else field.default
    return "null" if value is None else value


def attribute_docstrings(kind: type) -> dict[str, str]:
    """Return the string below each field of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for first, second in zip(body.body, body.body[1:], strict=False):
        if isinstance(first, ast.AnnAssign) and isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant):
            assert isinstance(first.target, ast.Name)
            found[first.target.id] = str(second.value.value)
    return found


def hyperparameters(builder: Any) -> str:
    """Return the keyword parameters of an architecture with their defaults."""
    parameters = list(inspect.signature(builder).parameters.values())[2:]
    return ", ".join(f"`{parameter.name}={parameter.default}`" for parameter in parameters) or "no hyperparameters"


def escaped(text: str) -> str:
    """Return text that fits one cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    main()
