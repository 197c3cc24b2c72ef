"""Write README.md and schema.json of configs/ and its folders from the config models: what the program does today.

python scripts/write_config_docs.py
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dp_core.distillation import DISTILLERS
from dp_core.files import write_text
from dp_core.models import ARCHITECTURES, INITIALISATIONS
from dp_core.proxies import PROXIES
from dp_core.training import Recipe
from search.comparison.config import ComparisonConfig
from search.config.loader import describe_keys, write_schema
from search.config.models import SearchConfig
from search.distillation.config import DistillConfig
from search.proxies.config import ProxyEvaluationConfig

Page = Callable[[], str]

FOLDER = Path(__file__).resolve().parent.parent / "configs"

INTRODUCTION = """# Config files

`quickstart.yaml` is the first search, on 5,000 images; `cifar10.yaml` the same on complete CIFAR-10; `pareto.yaml`
searches for several objectives, with constraints and a ladder of fidelities. Every key can be
given on the command line as `key=value`, the value being YAML: `winnow search configs/quickstart.yaml run.seed=1
'space.model.width={choice: [16, 32]}'`. `schema.json` is the JSON schema, for editors. This page is written by
`python scripts/write_config_docs.py`.

## Keys
"""

COMPARISONS = """# Configs of comparisons

A comparison holds ways of pruning against one another on the same seeds and initial weights:
`winnow prune configs/prune/mini.yaml`. Every key can be given on the command line as `key=value`, the value being YAML;
null takes a method, network or set out: `winnow prune configs/prune/mini.yaml run.seeds=1 methods.snip=null`.
`schema.json` is the JSON schema, for editors. Recipes, architectures and distillers are described in
[`../README.md`](../README.md). This page is written by `python scripts/write_config_docs.py`.
"""


DISTILLATIONS = """# Configs of distillations

A distillation makes one or several distilled sets: `winnow distill configs/distill/mini.yaml`. Every key can be given
on the command line as `key=value`, the value being YAML: `winnow distill configs/distill/mini.yaml
'distill.ipc=[1, 10]' run.name=mine`. It can be stopped at any moment and goes on with `winnow resume`; its pictures and
curves are in the run directory. `schema.json` is the JSON schema, for editors. Distillers with their settings and
architectures are described in [`../README.md`](../README.md). This page is written by
`python scripts/write_config_docs.py`.

## Keys
"""


EVALUATIONS = """# Configs of proxy evaluations

A proxy evaluation says how well cheap scores rank architectures as real training does, and what they cost: `winnow
proxy-eval configs/proxy/nasbench201_zero_cost.yaml data.root=DATA truth.table=TABLE`. Every key can be given on the
command line as `key=value`, the value being YAML; null takes a score out: `proxies.zen=null`. It can be stopped at any
moment and goes on with `winnow resume`. `schema.json` is the JSON schema, for editors. Recipes and architectures are
described in [`../README.md`](../README.md). This page is written by `python scripts/write_config_docs.py`.

| config | asks |
|---|---|
| `mini.yaml` | The same as `convnet720.yaml`, on 5,000 images and twelve networks, in a minute or two. |
| `convnet720.yaml` | Which cheap score ranks the ConvNets of the distillation literature as real training does? |
| `nasbench201.yaml` | Do short trainings rank NAS-Bench-201 better than scores without training? |
| `nasbench201_zero_cost.yaml` | How well do scores that need no training rank a table of NAS-Bench-201? |

## Keys
"""


def main() -> None:
    """Write all files."""
    write_schema(SearchConfig, FOLDER / "schema.json")
    write_text(FOLDER / "README.md", page())
    write_schema(ComparisonConfig, FOLDER / "prune" / "schema.json")
    write_text(FOLDER / "prune" / "README.md", comparison_page())
    write_schema(DistillConfig, FOLDER / "distill" / "schema.json")
    write_text(FOLDER / "distill" / "README.md", distillation_page())
    write_schema(ProxyEvaluationConfig, FOLDER / "proxy" / "schema.json")
    write_text(FOLDER / "proxy" / "README.md", evaluation_page())


def comparison_page() -> str:
    """Return the text of configs/prune/README.md."""
    return "\n".join([COMPARISONS, *keys_table(ComparisonConfig), ""])


def distillation_page() -> str:
    """Return the text of configs/distill/README.md."""
    return "\n".join([DISTILLATIONS, *keys_table(DistillConfig), ""])


def evaluation_page() -> str:
    """Return the text of configs/proxy/README.md."""
    sections = [line for name, kind in PROXIES.items() for line in proxy_section(name, kind)]
    return "\n".join([EVALUATIONS, *keys_table(ProxyEvaluationConfig), "", *sections])


def proxy_section(name: str, kind: type) -> list[str]:
    """Return the section of one proxy: the first sentence about it, and its settings."""
    told = (inspect.getdoc(kind) or "").split("\n\n")[0]
    settings = ["", *settings_table(kind)] if fields(kind) else []
    return [f"## `settings` of `{name}`", "", escaped(told), *settings, ""]


def keys_table(model: type[BaseModel]) -> list[str]:
    """Return a table of the keys of a config."""
    cells = [
        (f"`{key.key}`", key.type, f"`{key.default}`" if key.default else "", key.description)
        for key in describe_keys(model)
    ]
    rows = ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in cells]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows]


def page() -> str:
    """Return the text of configs/README.md."""
    return "\n".join(
        [
            INTRODUCTION,
            *keys_table(SearchConfig),
            "",
            "## Recipes (`space.recipe`, `retrain.recipe`)",
            "",
            *settings_table(Recipe),
            "",
            "## Architectures (`space.model.name`)",
            "",
            "Each also takes `initialisation`: `default` (the architecture's own) or "
            + ", ".join(f"`{name}`" for name in INITIALISATIONS if name != "default")
            + ".",
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
    """Return the string below each field of a class, inherited ones included."""
    found: dict[str, str] = {}
    for ancestor in reversed(kind.__mro__):
        if is_dataclass(ancestor):
            found |= _own_docstrings(ancestor)
    return found


def _own_docstrings(kind: type) -> dict[str, str]:
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
