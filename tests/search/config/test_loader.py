"""Reading configs: values, overrides, and one sentence for every mistake."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dp_core.errors import UserError
from search.config.loader import describe_keys, load_config, schema_of, write_schema


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimizer(enum.Enum):
    SGD = "sgd"
    ADAMW = "adamw"


class RunConfig(Strict):
    name: str = Field(description="Name of the run's folder.", min_length=1)
    directory: Path = Field(Path("runs"), description="Where runs are kept.")
    seed: int = Field(0, ge=0, description="Seed of everything random.")


class Matching(Strict):
    method: Literal["matching"]
    ipc: int = Field(10, ge=1)


class Trajectories(Strict):
    method: Literal["trajectories", "expert"]
    experts: int = 3


class Stage(Strict):
    width: int = Field(gt=0, description="Channels.")


class Config(Strict):
    run: RunConfig = Field(description="The run.")
    optimizer: Optimizer = Optimizer.SGD
    pooling: Literal["average", "maximum"] = "average"
    rate: float = Field(0.1, gt=0, lt=1, description="Learning rate.")
    verbose: bool = False
    stages: list[Stage] = Field(default_factory=list)
    betas: tuple[float, float] = (0.9, 0.99)
    depth: int | list[int] | None = None
    distil: Annotated[Matching | Trajectories, Field(discriminator="method")] = Matching(method="matching", ipc=5)
    widths: dict[str, Annotated[int, Field(ge=2)]] = Field(default_factory=dict)
    space: dict[str, Any] = Field(default_factory=dict)

    @field_validator("space")
    @classmethod
    def _not_cursed(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "curse" in value:
            raise ValueError("it holds a curse.")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.verbose and self.run.name == "quiet":
            raise ValueError("a quiet run cannot be verbose")
        return self


RUN = "run: {name: first}\n"

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def _load(text: str, *overrides: str) -> Config:
        Path("c.yaml").write_text(text, encoding="utf-8")
        return load_config(Config, Path("c.yaml"), overrides)

    return _load


def sentence(load: Load, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(text, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_defaults_and_kinds(load: Load) -> None:
    config = load(RUN + "optimizer: adamw\nbetas: [1, .5]\nstages: [{width: 3}, {width: 4}]\ndistil: {method: expert}")
    assert config.run == RunConfig(name="first", directory=Path("runs"), seed=0)
    assert config.optimizer is Optimizer.ADAMW
    assert config.betas == (1.0, 0.5)
    assert [stage.width for stage in config.stages] == [3, 4]
    assert config.distil == Trajectories(method="expert")


def test_yaml_pitfalls(load: Load) -> None:
    space = (
        "space: {a: 1e-3, b: 1E5, c: none, d: null, e: off, f: 'off', g: ~, h: [none, 1e-3], i: 1.0, when: {x.y: z}}"
    )
    config = load(RUN + space + "\nrate: 1e-3\nverbose: yes")
    assert config.rate == 0.001
    assert config.verbose is True
    assert repr(config.space) == repr(
        {"a": 0.001, "b": 100000.0, "c": "none", "d": None, "e": False, "f": "off", "g": None}
        | {"h": ["none", 0.001], "i": 1.0, "when": {"x.y": "z"}}
    )


def test_interpolations_see_overrides(load: Load) -> None:
    config = load(RUN + "space: {seed: '${run.seed}', text: 'a-${run.name}', twice: '${.seed}'}", "run.seed=7")
    assert config.space == {"seed": 7, "text": "a-first", "twice": 7}


def test_overrides_are_yaml_replace_and_apply_in_turn(load: Load) -> None:
    text = RUN + "space: {w: {int: [1, 2]}}\nstages: [{width: 3}, {width: 4}]"
    config = load(
        text, "rate=1e-3", "space.w={choice: [none, null]}", "space.new.deep=a=b", "stages[1].width=9", "depth=[1,2]",
        "run.seed=1", "run.seed=2", "stages.0.width=8", " optimizer = adamw",
    )  # fmt: skip
    assert config.rate == 0.001
    assert config.space == {"w": {"choice": ["none", None]}, "new": {"deep": "a=b"}}
    assert [stage.width for stage in config.stages] == [8, 9]
    assert (config.depth, config.run.seed, config.optimizer) == ([1, 2], 2, Optimizer.ADAMW)


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True), st.integers(0, 2**70))
def test_numbers_arrive_exactly(tmp_path_factory: pytest.TempPathFactory, rate: float, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "exact.yaml"
    path.write_text(f"run: {{name: x, seed: {seed}}}\nrate: {rate!r}\n")
    config = load_config(Config, path)
    assert (config.rate, config.run.seed) == (rate, seed)


NUMBER = "'rate' must be a number > 0 and < 1"

IN_THE_FILE = [
    ("rate: '0.1'", f"{NUMBER}, not '0.1', which is text."),
    ("rate: 1", f"{NUMBER}, not 1."),
    ("rate: true", f"{NUMBER}, not true."),
    ("rate: .nan", f"{NUMBER}, not nan."),
    ("rate:", f"{NUMBER}, not null."),
    ("verbose: 1", "'verbose' must be true or false, not 1."),
    ("optimizer: adamv", "'optimizer' must be one of sgd | adamw, not 'adamv'. Did you mean 'adamw'?"),
    ("pooling: max", "'pooling' must be one of average | maximum, not 'max'."),
    ("betas: [1]", "'betas' must be a list [number, number], not [1]."),
    ("betas: [1, 2, 3]", "'betas' must be a list [number, number], not [1, 2, 3]."),
    ("depth: deep", "'depth' must be an integer or list [integer, …] or null, not 'deep', which is text."),
    ("depth: [x]", "'depth' must be an integer or list [integer, …] or null, not [\"x\"]."),
    ("stages: [{width: 3}, {width: 0}]", "'stages[1].width' must be an integer > 0, not 0."),
    ("stages: [{wdth: 3}]", "unknown key 'stages[0].wdth'. Did you mean 'width'?"),
    ("widths: {a: 2, b: 1}", "'widths.b' must be an integer ≥ 2, not 1."),
    ("distil: {method: machting}", "'distil.method' must be one of matching | trajectories | expert, not 'machting'. "),
    ("distil: {}", "the key 'distil.method' is missing; it must be one of matching | trajectories | expert."),
    ("distil: {method: matching, ipc: 0}", "'distil.ipc' must be an integer ≥ 1, not 0."),
    ("distil: {method: expert, ipc: 3}", "'distil.ipc' belongs to another variant than the one chosen. The keys here"),
    ("space: {curse: 1}", "'space' is not valid: it holds a curse."),
    ("space: {on: 1}", "'space' has the key true, which is not text (YAML reads yes, no, on and off as true or false)"),
    ("rnu: {}", "unknown key 'rnu'. Did you mean 'run'?"),
    ("seed: 3", "unknown key 'seed'. There is a key 'run.seed'."),
    ("zzz: 3", "unknown key 'zzz'. The keys here are run, optimizer, "),
    ("run.seed: 3", "the key 'run.seed' has to be nested, run: {seed: …}."),
    ("rate: ${nope}", "'rate': Interpolation key 'nope' not found."),
    ("rate: ${", "'rate': not a proper ${…} reference: "),
    ("rate: ???", "'rate' is '???': it has to be given, for example as the override rate=…"),
    ("space: {a: !!binary aGk=}", "'space.a' holds bytes"),
]


@pytest.mark.parametrize(("text", "said"), IN_THE_FILE)
def test_mistakes_in_the_file(load: Load, text: str, said: str) -> None:
    assert sentence(load, RUN + text).startswith(f"c.yaml: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "c.yaml: the key 'run' is missing; it must be a mapping."),
        ("run: {}", "c.yaml: the key 'run.name' is missing; it must be text of 1 or more characters."),
        ("run: {nmae: x}", "c.yaml: unknown key 'run.nmae'. Did you mean 'name'?"),
        ("run: {name: 3}", "c.yaml: 'run.name' must be text of 1 or more characters, not 3 (quote it to mean text)."),
        ("run: {name: no}", "c.yaml: 'run.name' must be text of 1 or more characters, not false (YAML reads yes, no"),
        ("run: {name: x, seed: 1.0}", "c.yaml: 'run.seed' must be an integer ≥ 0, not 1.0."),
        ("run: {name: x, seed: true}", "c.yaml: 'run.seed' must be an integer ≥ 0, not true."),
        ("run: {name: quiet}\nverbose: true", "c.yaml: a quiet run cannot be verbose."),
        ("- 1", "c.yaml must hold a mapping of keys to values at its top level."),
        ("text", "c.yaml must hold a mapping of keys to values at its top level."),
        ("a: 1\nb: [1\nc: 2", "c.yaml, line 3: not valid YAML: "),
        ("a: 1\n\tb: 2", "c.yaml, line 2: not valid YAML: "),
        ("a: &x [*x]", "c.yaml, line 1: 'a[0]' holds itself through an alias."),
        ("a: &x {b: 1}\nc: [*x, *x]\nd: {<<: *x, e: 1}", "c.yaml: unknown key 'a'. "),
        ("a: !thing 1", "c.yaml, line 1: not valid YAML: "),
        ("---\na: 1\n---\nb: 1", "c.yaml, line 3: not valid YAML: "),
        ("run:\n  seed: 1\n  name: x\n  seed: 2", "c.yaml, line 4: the key 'run.seed' was already given in line 2."),
        ("a: [{b: 1}, {b: 1, b: 2}]", "c.yaml, line 1: the key 'a[1].b' was already given in line 1."),
    ],
)
def test_mistakes_of_the_whole_file(load: Load, text: str, said: str) -> None:
    assert sentence(load, text).startswith(said)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rate", "the override 'rate' has no '=': write it as dotted.key=value."),
        ("=3", "the override '=3' needs a dotted key such as run.name before its '='."),
        ("run..seed=3", "the override 'run..seed=3' needs a dotted key"),
        ("rate=[1", "the override 'rate=[1': what follows '=' is not valid YAML ("),
        ("rate=2", f"the override 'rate=2': {NUMBER}, not 2."),
        ("run.sede=3", "the override 'run.sede=3': unknown key 'run.sede'. Did you mean 'seed'?"),
        ("run={}", "the override 'run={}': the key 'run.name' is missing; it must be text"),
        ("run.name=2024", "the override 'run.name=2024': 'run.name' must be text"),
        ("run.name.x=3", "c.yaml with the override 'run.name.x=3': 'run.name' must be text"),
        ("stages[4].width=3", "the override 'stages[4].width=3' cannot be applied: list index out of range."),
        ("stages[0].width=0", "the override 'stages[0].width=0': 'stages[0].width' must be an integer > 0, not 0."),
        ("stages.x=3", "the override 'stages.x=3' cannot be applied: "),
        ("rate=${nope}", "the override 'rate=${nope}': 'rate': Interpolation key 'nope' not found."),
    ],
)
def test_mistakes_in_an_override(load: Load, override: str, said: str) -> None:
    assert sentence(load, RUN + "stages: [{width: 1}]", "run.seed=1", override, "run.seed=2").startswith(said)


def test_the_override_that_counts_is_blamed_and_the_file_for_the_rest(load: Load) -> None:
    assert sentence(load, RUN, "rate=2", "rate=3").startswith("the override 'rate=3': ")
    assert load(RUN + "rate: 2", "rate=0.5").rate == 0.5
    assert sentence(load, RUN + "rate: 2", "run.seed=3").startswith("c.yaml: 'rate'")


def test_only_the_first_of_several_mistakes_is_told(load: Load) -> None:
    said = sentence(load, "run: {nmae: x, seed: -1}\nrate: 3\n")
    # The misspelt key is why 'run.name' is missing: that is not a further mistake.
    assert said == "c.yaml: unknown key 'run.nmae'. Did you mean 'name'? (and 2 more)"
    said = sentence(load, RUN + "depth: [x, y]\nrate: 3\n")
    assert said.startswith("c.yaml: 'rate'")
    assert said.endswith("(and 1 more)")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(RUN)
    with pytest.raises(UserError, match=r"quickstrat\.yaml does not exist\. Did you mean 'quickstart\.yaml'\?$"):
        load_config(Config, tmp_path / "quickstrat.yaml")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory\.$"):
        load_config(Config, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.yaml is not a text file in UTF-8\.$"):
        load_config(Config, tmp_path / "binary.yaml")


def test_schema_accepts_what_loads_and_refuses_what_does_not(load: Load, tmp_path: Path) -> None:
    write_schema(Config, tmp_path / "schema.json")
    schema = json.loads((tmp_path / "schema.json").read_text())
    assert schema == schema_of(Config)
    assert schema["$defs"]["RunConfig"]["properties"]["seed"]["description"] == "Seed of everything random."
    jsonschema.validate({"run": {"name": "x"}, "rate": 0.5}, schema)
    for wrong in ({"run": {"nmae": "x"}}, {"run": {"name": "x"}, "rate": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
        sentence(load, json.dumps(wrong))


def test_every_key_is_described_with_type_default_and_description() -> None:
    rows = describe_keys(Config)
    assert [row[:3] for row in rows] == [
        ("run", "mapping", "required"),
        ("run.name", "text of 1 or more characters", "required"),
        ("run.directory", "path", "runs"),
        ("run.seed", "integer ≥ 0", "0"),
        ("optimizer", "one of sgd | adamw", "sgd"),
        ("pooling", "one of average | maximum", "average"),
        ("rate", "number > 0 and < 1", "0.1"),
        ("verbose", "true or false", "false"),
        ("stages", "list [mapping, …]", "[]"),
        ("stages[].width", "integer > 0", "required"),
        ("betas", "list [number, number]", "[0.9, 0.99]"),
        ("depth", "integer or list [integer, …] or null", "null"),
        ("distil", "mapping", ""),
        ("distil.method", "one of matching", "matching"),
        ("distil.ipc", "integer ≥ 1", "5"),  # the default of the whole group, not the 10 of the class
        ("distil.method", "one of trajectories | expert", "required"),
        ("distil.experts", "integer", "3"),
        ("widths", "mapping", "{}"),
        ("space", "mapping", "{}"),
    ]
    assert {row.key: row.description for row in rows}["run.seed"] == "Seed of everything random."
