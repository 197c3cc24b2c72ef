from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private import commands, providers
from ray.autoscaler._private.util import validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

PROJECT = Path(__file__).parents[2]


class ProviderWithoutCloud:
    """Stands in for AWS, which Ray would ask for instance sizes, networks and keys."""

    @staticmethod
    def fillout_available_node_types_resources(config: dict[str, Any]) -> dict[str, Any]:
        return config

    @staticmethod
    def bootstrap_config(config: dict[str, Any]) -> dict[str, Any]:
        return config


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The file as it is."""
    config: dict[str, Any] = yaml.safe_load((PROJECT / "cluster.yaml").read_text())
    return config


@pytest.fixture
def config(written: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The file after Ray's own preparation and validation: what `ray up` does before it talks to the cloud."""
    monkeypatch.setitem(providers._NODE_PROVIDERS, "aws", lambda provider: ProviderWithoutCloud)
    prepared: dict[str, Any] = commands._bootstrap_config(yaml.safe_load(yaml.safe_dump(written)), no_config_cache=True)
    return prepared


def test_ray_accepts_it_and_would_not_accept_a_misspelt_key(config: dict[str, Any]) -> None:
    validate_config(config)
    with pytest.raises(Exception, match="idle_timeout_minuets"):
        validate_config({**config, "idle_timeout_minuets": 5})


def test_the_head_is_on_demand_and_runs_no_trials(config: dict[str, Any]) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    start = config["head_start_ray_commands"][-1]
    assert "--num-cpus=0 " in start
    assert "--num-gpus=0 " in start


def test_workers_are_spot_gpu_machines_from_zero(config: dict[str, Any]) -> None:
    workers = {name: each for name, each in config["available_node_types"].items() if name != config["head_node_type"]}
    assert workers
    for worker in workers.values():
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert worker["min_workers"] == 0
        assert worker["max_workers"] > 0
        assert worker["resources"]["GPU"] >= 1


def test_the_autoscaler_reads_the_limits_that_were_meant(config: dict[str, Any]) -> None:
    scaling = AutoscalingConfig(config, skip_content_hash=True)
    assert scaling.get_max_num_worker_nodes() == config["max_workers"] == 8
    assert scaling.get_idle_timeout_s() == 5 * 60
    limits = {
        name: (each.min_worker_nodes, each.max_worker_nodes) for name, each in scaling.get_node_type_configs().items()
    }
    assert limits == {"head": (0, 1), "gpu-worker": (0, 8)}  # Ray counts the head itself


@pytest.mark.parametrize("key", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_start_command_asks_for_the_token(config: dict[str, Any], key: str) -> None:
    assert any(" start " in command for command in config[key])
    for command in config[key]:
        shown = command.replace("~/winnow/.venv/bin/ray", 'echo "$RAY_AUTH_MODE" #').replace("ulimit -n 65536", "true")
        assert run_in_clean_shell(shown) == "token"


def test_the_token_reaches_every_node_and_is_private_there(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["head_setup_commands"]
    assert "chmod 600 ~/.ray/auth_token" in config["worker_setup_commands"]


def test_the_dashboard_and_the_ports_are_not_open_to_the_world(config: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1 " in config["head_start_ray_commands"][-1]
    assert "security_group" not in config["provider"]  # Ray's own lets in SSH alone


def test_workers_join_the_port_that_the_head_opens(config: dict[str, Any]) -> None:
    assert "--port=6379 " in config["head_start_ray_commands"][-1]
    assert config["worker_start_ray_commands"][-1].endswith("--address=$RAY_HEAD_IP:6379")
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in config["head_start_ray_commands"][-1]


def test_everything_the_installation_needs_is_mounted(config: dict[str, Any]) -> None:
    mounted = {Path(here) for there, here in config["file_mounts"].items() if there.startswith("~/winnow/")}
    packages = {file.parent.relative_to(PROJECT) for file in PROJECT.glob("*/__init__.py")}
    assert mounted >= {*packages, Path("pyproject.toml"), Path("constraints.txt"), Path("configs"), Path("assets")}
    assert [str(path) for path in mounted if not (PROJECT / path).exists()] == []
    assert any("-c constraints.txt" in command for command in config["head_setup_commands"])
    assert any("-c constraints.txt" in command for command in config["worker_setup_commands"])


def test_every_command_is_sound_shell(config: dict[str, Any]) -> None:
    for key in ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[key]:
            subprocess.run(["bash", "-n", "-c", command], check=True)


def run_in_clean_shell(command: str) -> str:
    bash = ["bash", "--noprofile", "--norc", "-c", command]
    return subprocess.run(
        bash, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    ).stdout.strip()
