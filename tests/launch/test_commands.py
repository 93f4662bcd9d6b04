"""Every command says how it is used, and one sentence on whatever is wrong."""

import dataclasses
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict
from PIL import Image

from configs import earlier
from mcdi_jax.commands.command import in_one_sentence, located, shipped_configs
from mcdi_jax.data import DataConfig, source_settings
from mcdi_jax.lib import files
from mcdi_jax.lib.config import from_mapping, to_config_dict
from mcdi_jax.lib.errors import InputError, MissingError
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline import Config

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(p.stem for p in (ROOT / "launch").glob("*.py") if p.stem != "__init__")
WRONG = {
  "generator": "generate --generator=omniglot-5wy --support=new --out=w",
  "export": "export --generator=omniglot-5wy --out=w",
  "benchmark": "benchmark --generator=omniglot-5wy",
  "required": "generate --support=new",
  "number": "generate --support=new --out=w --samples=-1",
  "weights": "predict --weights=w --images=new",
  "data": "data --data=nothing",
  "default": "data --data=glyphs --config.data.size=-1",
  "config": "data --data=glyphs --config=nothing.py",
  "run": "run --config=configs/own.py --data=nothing --workdir=w",
  "kind": "run --config=configs/own.py:drawing --workdir=w",
  "pretrain": "pretrain --config=configs/own.py --data=nothing --out=w",
  "earlier": "run --config=nothing/config.json --workdir=w",
  "table": "table nothing.jsonl",
  "export to": "export --out=.",
  "page": "report a b --out=.",
  "results": "benchmark --generator=omniglot-5way --results=.",
  "bank": "run --config=configs/quickstart.py --workdir=w --config.bank_dir=bank.out",
  "another's export": "export --out=notes.md",
  "another's figure": f"table {ROOT}/results/documents.jsonl --figure=notes.svg",
  "another's results": "benchmark --generator=omniglot-5way --results=notes.md",
  "no support": "generate --generator=any-features --support=nowhere --out=w",
  "samples": "generate --support=new --out=w --samples=1000000000000",
  "no workdir": "run --config=configs/quickstart.py --workdir=",
  "no data": "run --config=configs/own.py --data= --workdir=w",
  "setting": "run --config=configs/transfer.py --workdir=w --config.nope=3",
  "no form": "run --config=configs/transfer.py:foo --workdir=w",
  "no tasks": "run --config=configs/intents.py:foo --workdir=w",
  "no program": "run --config=broken.py --workdir=w",
  "a program that fails": "run --config=failing.py --workdir=w",
  "no config": "run --config=five.py --workdir=w",
  "seed": "run --config=configs/quickstart.py --workdir=w "
  "--config.evaluation.eval_seed=100000000000000000000",
  "stray": "run --config=configs/quickstart.py --workdir=w stray",
  "no documents": "run --config=configs/documents.py --workdir=d --data=glyphs",
}
FILES = {
  "notes.md": "mine\n",
  "notes.svg": "<svg/>\n",
  "broken.py": "def get_config(:\n",
  "failing.py": "def get_config():\n  raise RuntimeError('not today')\n",
  "five.py": "def get_config():\n  return 5\n",
}
SAID = {
  "generator": r"no generator in .*omniglot-5wy.*'omniglot-5way'",
  "export": r"no generator in .*omniglot-5wy.*'omniglot-5way'",
  "benchmark": r"no generator in .*omniglot-5wy.*'omniglot-5way'",
  "required": r"--out",
  "number": r"--samples.*-1|-1.*samples",
  "weights": r"no generated weights in .*w: .*launch\.generate",
  "data": r"--data 'nothing' is no folder",
  "default": r"config\.data\.size is -1",
  "config": r"--config names no file",
  "run": r"--data 'nothing' is no folder",
  "kind": r"configs/own\.py:drawing names no kind of images.*'drawings', 'photos'",
  "pretrain": r"--data 'nothing' is no folder",
  "earlier": r"earlier\.py:nothing/config\.json names no run: .*WORKDIR/config\.json",
  "table": r"there is no .*nothing\.jsonl: name the results\.jsonl",
  "export to": r"--out .* is a folder: name a new file",
  "page": r"--out .* is a folder: name a new file",
  "results": r"--results .* is a folder: name a new file",
  "bank": r"config\.bank_dir .*bank\.out is a file: name a new folder",  # before any work
  "another's export": r"--out .*notes\.md is a file of another kind: name a new one",
  "another's figure": r"--figure .*notes\.svg is a file of another kind: name a new one",
  "another's results": r"--results .*notes\.md is a file of another kind: name a new one",
  "no support": r"--support is 'nowhere', where there is nothing: name another",
  "samples": r"--samples.*is not an integer in the range \[0, 10000\]",
  "no workdir": r"--workdir is empty: name a folder",
  "no data": r"--data is empty: give a folder",
  "setting": r"there is no setting 'nope'",
  "no form": r"--config names a form behind a colon, and this config has none",
  "no tasks": r"configs/intents\.py:foo: it has :one_domain, or nothing",
  "no program": r"broken\.py is no Python: .*, line 1",
  "a program that fails": r"--config cannot be read \(RuntimeError: not today\)",
  "no config": r"get_config of --config gives a int: give a ConfigDict",
  "seed": r"config\.evaluation\.eval_seed is 1000.*: give numbers from 0 to",
  "stray": r"'stray' is no flag: settings are given as",
  "no documents": r"config\.data\.source is 'glyphs': give documents, with --data",
}

# Each call in a process of its own, forked from one that has done the slow imports; the
# slow end of an interpreter is left out. `traceback` makes what is no SystemExit seen.
EACH = """
import json, os, runpy, sys, traceback
import mcdi_jax.pipeline, mcdi_jax.evaluation, mcdi_jax.report, ml_collections.config_flags
for name, (module, *arguments) in json.loads(sys.argv[1]).items():
  child = os.fork()
  if not child:
    for stream, suffix in ((1, "out"), (2, "err")):
      os.dup2(os.open(f"{name}.{suffix}", os.O_CREAT | os.O_WRONLY), stream)
    sys.argv, code = [module, *arguments], 0
    try:
      runpy.run_module(f"launch.{module}", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
      code = stop.code
    except BaseException:
      code = traceback.format_exc()
    if isinstance(code, str):
      print(code, file=sys.stderr)
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(1 if isinstance(code, str) else code or 0)
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  open(f"{name}.code", "w").write(str(code))
"""


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
  """Exit code, stdout and stderr of every call, made outside of the checkout."""
  place = tmp_path_factory.mktemp("called")
  for name, content in FILES.items():
    (place / name).write_text(content)
  calls = {f"{name}-help": [name, "--help"] for name in COMMANDS}
  calls |= {name: call.split() for name, call in WRONG.items()}
  ran = subprocess.run(
    [sys.executable, "-c", EACH, json.dumps(calls)],
    cwd=place,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert ran.returncode == 0, ran.stderr
  assert not (place / "w").exists()
  assert {name: (place / name).read_text() for name in FILES} == FILES
  read = lambda name: (place / name).read_text()  # noqa: E731
  return {n: (int(read(f"{n}.code")), read(f"{n}.out"), read(f"{n}.err")) for n in calls}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_how_each_command_is_called(called, name: str):
  """With the settings that its own lines use."""
  code, out, _ = called[f"{name}-help"]
  assert code in (0, 1)  # absl exits with 1
  usage = [line for line in out.splitlines() if f"python -m launch.{name} " in line]
  assert usage
  for flag in re.findall(r"--(?:\[no\])?(\w+)", "".join(usage)):
    assert f"\n  --{flag}:" in out


def test_every_command_is_named_in_the_overview_of_commands():
  text = (ROOT / "mcdi_jax" / "commands" / "__init__.py").read_text()
  assert [n for n in COMMANDS if f"`{n}`" not in text] == []


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(called, case: str):
  """On stderr; nothing is written."""
  code, _, err = called[case]
  assert code == 1
  (line,) = err.splitlines()
  assert line.startswith("error: ")
  assert re.search(SAID[case], line), line


def test_data_is_named_by_its_kind(tmp_path: Path):
  (tmp_path / "folder").mkdir()
  folder, archive = str(tmp_path / "folder"), str(tmp_path / "a.npz")
  assert source_settings("glyphs") == {"source": "glyphs"}
  assert source_settings(folder) == {"source": "folder", "path": folder}
  assert source_settings(archive) == {"source": "npz", "path": archive}
  assert source_settings("tfds:omniglot") == {
    "source": "tfds",
    "name": "omniglot",
    "path": "",
  }
  assert source_settings("tfds:a/b:1.*.*", "there") == {
    "source": "tfds",
    "name": "a/b:1.*.*",
    "path": "there",
  }


def test_the_settings_of_data_are_settings(tmp_path: Path):
  """Whatever the kind, they are fields of its config."""
  for data in ("glyphs", str(tmp_path), "a.npz", "tfds:omniglot"):
    values = {**to_config_dict(Config().data).to_dict(), **source_settings(data)}
    assert from_mapping(DataConfig, values).source == source_settings(data)["source"]


def test_data_that_is_nowhere_suggests_tfds(tmp_path: Path):
  with pytest.raises(MissingError, match="'omniglot' is no folder.*--data tfds:omniglot"):
    source_settings("omniglot")
  (tmp_path / "a.png").write_text("")
  with pytest.raises(MissingError, match="is no folder"):
    source_settings(str(tmp_path / "a.png"))


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (OSError(28, "No space left on device", "w/a"), "w/a: No space left on device"),
    (OSError(30, "Read-only file system"), "Read-only file system"),
    (NotADirectoryError(20, "Not a directory", "w"), "w: Not a directory"),
    (InputError("config.a is 1: give 2"), "config.a is 1: give 2"),
  ],
)
def test_whatever_a_command_meets_is_said_in_one_place(error: Exception, said: str):
  def main(argv: list[str]) -> None:
    raise error

  with pytest.raises(SystemExit) as stop:
    in_one_sentence(main, ["x"])
  assert str(stop.value).startswith(f"error: {said}")
  assert "\n" not in str(stop.value)


def test_an_interrupted_command_says_so(capsys: pytest.CaptureFixture):
  def main(argv: list[str]) -> None:
    raise KeyboardInterrupt

  with pytest.raises(SystemExit) as stop:
    in_one_sentence(main, ["x"])
  assert stop.value.code == 130
  assert capsys.readouterr().err == "interrupted: the same command continues\n"


def test_a_command_has_one_thread_for_lapack():
  """Whatever was loaded before it, as jax was."""
  program = """
from threadpoolctl import threadpool_info
from mcdi_jax.commands.command import command

@command
def main(argv):
  print({lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"})

main()
"""
  run = [sys.executable, "-c", program]
  done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "{1}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_entry_point(name: str):
  entry = f"mcdi-{name} = mcdi_jax.commands.{name}:main\n"
  assert entry in (ROOT / "setup.cfg").read_text()


INSTALLED = str(shipped_configs())


@pytest.mark.parametrize(
  ("given", "found"),
  [
    ("configs/own.py", f"{INSTALLED}/own.py"),
    ("configs/own.py:photos", f"{INSTALLED}/own.py:photos"),
    ("configs/mine.py", "configs/mine.py"),  # there is none: the error names what was given
    ("mine/own.py", "mine/own.py"),
    ("own.py", "own.py"),
    ("/abs/configs/own.py", "/abs/configs/own.py"),
    ("runs/a/config.json", f"{INSTALLED}/earlier.py:runs/a/config.json"),
    ("gs://a/config.json", f"{INSTALLED}/earlier.py:gs://a/config.json"),
    ("configs/earlier.py:a/config.json", f"{INSTALLED}/earlier.py:a/config.json"),
  ],
)
def test_configs_are_found_outside_of_a_checkout(tmp_path, monkeypatch, given, found):
  """In both ways of giving a flag; nothing else is touched."""
  monkeypatch.chdir(tmp_path)
  assert located(["run", f"--config={given}"]) == ["run", f"--config={found}"]
  assert located(["run", "-config", given]) == ["run", "-config", found]
  assert located(["run", "--config", given, "--workdir", "w"]) == [
    "run",
    "--config",
    found,
    "--workdir",
    "w",
  ]


def test_in_a_checkout_its_own_configs_are_used(tmp_path, monkeypatch):
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "own.py").write_text("")
  monkeypatch.chdir(tmp_path)
  for argument in ("--config=configs/own.py", "--config=configs/own.py:photos"):
    assert located(["run", argument]) == ["run", argument]


@pytest.mark.parametrize(
  "arguments",
  [
    ["run", "--workdir=configs/own.py", "configs/own.py", "a/config.json"],
    ["run", "--config.data.path=configs/own.py", "--config.data.path", "a.json"],
    ["run", "--configs", "configs/own.py"],
    ["run", "--config"],
    ["run"],
  ],
)
def test_other_arguments_are_left_alone(tmp_path, monkeypatch, arguments: list[str]):
  monkeypatch.chdir(tmp_path)
  assert located(arguments) == arguments


def test_an_earlier_run_gives_its_settings(tmp_path: Path):
  """As `launch.run` writes them; they can be overridden, and a broken file is named."""
  config = dataclasses.replace(Config(), seeds=(4, 5), gauge=False)
  path = tmp_path / "config.json"
  files.write_json(files.as_path(path), dataclasses.asdict(config))
  found = earlier.get_config(str(path))
  assert isinstance(found, ConfigDict)
  assert from_mapping(Config, found.to_dict()) == config
  files.write_json(files.as_path(path), {"seedz": [1]})
  with pytest.raises(InputError, match="did you mean config.seeds"):
    earlier.get_config(str(path))
  for path in ("", str(tmp_path), str(tmp_path / "none.json")):
    with pytest.raises(InputError, match="names no run: give .*:WORKDIR/config.json"):
      earlier.get_config(path)


@pytest.fixture
def data_command() -> Iterator[ModuleType]:
  """`mcdi-data`, whose flags go again."""
  before = set(flags.FLAGS)
  sys.modules.pop("mcdi_jax.commands.data", None)
  module = importlib.import_module("mcdi_jax.commands.data")
  yield module
  flags.FLAGS.unparse_flags()
  for name in set(flags.FLAGS) - before:
    delattr(flags.FLAGS, name)
  del sys.modules["mcdi_jax.commands.data"]


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections
def test_data_are_counted_and_shown(data_command, tmp_path, monkeypatch):
  printed = io.StringIO()
  monkeypatch.setattr(CONSOLE, "file", printed)
  monkeypatch.chdir(tmp_path)
  sheet = tmp_path / "below" / "sheet.png"
  arguments = [
    "data",
    "--config=configs/own.py",
    "--data=glyphs",
    "--config.data.glyph_classes=(4,2,2)",
    "--config.data.glyph_drawings=6",
    f"--sheet={sheet}",
  ]
  arguments = located(arguments)
  monkeypatch.setattr(sys, "argv", arguments)
  data_command.main.__wrapped__(flags.FLAGS(arguments))
  rows = [re.findall(r"\w+", line) for line in printed.getvalue().splitlines()]
  for row in (["train", "4", "24", "6"], ["val", "2", "12", "6"], ["test", "2", "12", "6"]):
    assert row in [found[:4] for found in rows]
  assert "glyphs: 28×28, grey" in printed.getvalue()
  with Image.open(sheet) as image:
    assert image.format == "PNG"
    assert len(np.unique(np.asarray(image))) > 50  # something is drawn
  assert str(sheet) in printed.getvalue()
