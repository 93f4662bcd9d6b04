"""The command line and the files of configs/."""

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mcdi_jax.lib.config import from_mapping
from mcdi_jax.lib.errors import InputError
from mcdi_jax.pipeline import Config

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(
  p.stem for p in (ROOT / "configs").glob("*.py") if p.stem not in ("__init__", "earlier")
)


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-m", "launch.run", *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_help_says_how_to_call_it():
  found = _command("--help")
  assert "--workdir" in found.stdout
  assert "--config" in found.stdout
  assert "python -m launch.run --config configs/quickstart.py" in found.stdout
  assert found.returncode in (0, 1)  # absl exits with 1


def test_an_unknown_flag_is_one_sentence(tmp_path: Path):
  found = _command("--confg", "configs/quickstart.py", f"--workdir={tmp_path}/w")
  assert found.returncode in (1, 2)
  assert "Unknown command line flag 'confg'" in found.stderr
  assert "Traceback" not in found.stderr


def test_an_unknown_setting_suggests_the_nearest(tmp_path: Path):
  """ml_collections sees it first, and says so in its own way."""
  found = _command(
    "--config=configs/quickstart.py", f"--workdir={tmp_path}/w", "--config.meta.stepz=3"
  )
  assert found.returncode in (1, 2)
  assert 'Did you mean "steps"' in found.stderr
  assert not (tmp_path / "w").exists()


def test_a_setting_that_cannot_be_is_one_sentence(tmp_path: Path):
  """Ours, without a traceback; tuples and data come through the command line."""
  found = _command(
    "--config=configs/omniglot.py:5w5s",
    f"--workdir={tmp_path}/w",
    "--config.seeds=(4,5)",
    f"--data={tmp_path}/none.npz",
  )
  assert found.returncode == 1
  assert found.stderr.startswith("error: config.data.path is ")
  assert "none.npz" in found.stderr
  assert len(found.stderr.splitlines()) == 1


def test_the_sampler_can_be_chosen_on_the_command_line(tmp_path: Path):
  """Its default is null; any setting can be overridden, as `--help` says. (The run stops
  at segments = 0, before any work.)"""
  found = _command(
    "--config=configs/quickstart.py",
    f"--workdir={tmp_path}/w",
    "--config.diffusion.sampler=published",
    "--config.diffusion.segments=0",
  )
  assert found.stderr.startswith("error: config.diffusion.segments is 0"), found.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_config_file_is_valid(name: str):
  """And says in its docstring how it is run."""
  module = importlib.import_module(f"configs.{name}")
  config = from_mapping(Config, module.get_config().to_dict())
  assert config.generators[0] == "generated"
  assert f"python -m launch.run --config configs/{name}.py" in module.__doc__


@pytest.mark.parametrize(
  ("form", "ways", "shots"),
  [
    ("5w1s", (5,), (1,)),
    ("5w5s", (5,), (5,)),
    ("20w1s", (20,), (1,)),
    ("mixed", (2, 5, 10, 20), (1, 2, 5)),
  ],
)
def test_omniglot_takes_the_form_of_task(form: str, ways: tuple, shots: tuple):
  module = importlib.import_module("configs.omniglot")
  config = from_mapping(Config, module.get_config(form).to_dict())
  assert (config.meta.ways, config.meta.shots) == (ways, shots)
  assert config.data.source == "npz"
  assert config.data.rotations


@pytest.mark.parametrize("form", ["5w1s", "5w5s", "5w1s-superclass", "5w5s-superclass"])
def test_tiny_imagenet_takes_the_form_of_task_and_the_split(form: str):
  module = importlib.import_module("configs.tiny_imagenet")
  config = from_mapping(Config, module.get_config(form).to_dict())
  assert config.meta.shots == (int(form[2]),)
  harder = form.endswith("-superclass")
  assert config.data.class_split == ("class_split_superclass" if harder else "")
  assert config.backbone.architecture.name == "resnet12-16-32-64-128"
  with pytest.raises(InputError, match="names no form of task: it has .*5w5s"):
    module.get_config("20w1s")


def test_the_settings_of_an_earlier_run_can_be_given_again(tmp_path: Path):
  """As they were, tuples among them, so that flags can still override them."""
  module = importlib.import_module("configs.earlier")
  config = Config(seeds=(3, 4))
  path = tmp_path / "config.json"
  path.write_text(json.dumps(dataclasses.asdict(config)))
  assert from_mapping(Config, module.get_config(str(path)).to_dict()) == config
  assert module.get_config(str(path)).seeds == (3, 4)


def test_a_config_file_is_a_value_not_a_state():
  """Two calls do not share what a flag may change."""
  module = importlib.import_module("configs.quickstart")
  module.get_config().meta.steps = 1
  assert module.get_config().meta.steps != 1


def test_a_config_of_the_wrong_shape_is_named():
  values = {**importlib.import_module("configs.quickstart").get_config().to_dict()}
  values["diffusion"] = {**values["diffusion"], "segmnts": 3}
  with pytest.raises(InputError, match=r"config\.diffusion\.segments"):
    from_mapping(Config, values)
