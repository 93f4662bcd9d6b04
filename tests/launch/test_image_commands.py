"""The commands that take images: nothing of the user's is touched, names are text, and
outputs are looked at before the work."""

import csv
import importlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from miniature import SHOTS, WAYS, make_generator
from PIL import Image

from mcdi_jax.commands.command import located
from mcdi_jax.lib.errors import InputError
from mcdi_jax.lib.files import as_path
from mcdi_jax.lib.progress import CONSOLE
from mcdi_jax.pipeline import Predictions
from mcdi_jax.pipeline.own_features import EncoderFlags
from mcdi_jax.pipeline.pretrain import Pretrained

pytestmark = pytest.mark.filterwarnings(
  "ignore:the load_module:DeprecationWarning"  # ml_collections
)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
  """Runs a command in this process and returns what it prints; its flags go again."""

  def run(name: str, *arguments: str, **patches: object) -> str:
    before, module = set(flags.FLAGS), f"mcdi_jax.commands.{name}"
    sys.modules.pop(module, None)
    command = importlib.import_module(module)
    for attribute, value in patches.items():
      monkeypatch.setattr(command, attribute, value)
    printed = io.StringIO()
    monkeypatch.setattr(CONSOLE, "file", printed)
    argv = located([name, *arguments])
    monkeypatch.setattr(sys, "argv", argv)
    try:
      command.main.__wrapped__(flags.FLAGS(argv))
    finally:
      run.printed = printed.getvalue()
      flags.FLAGS.unparse_flags()
      for flag in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, flag)
      del sys.modules[module]
    return run.printed

  return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
  """A set of ten classes of two images, with names that are markup elsewhere."""
  rng = np.random.default_rng(0)
  for c in range(10):
    for i in range(2):
      path = tmp_path / "[set]" / f"[red]{c}[/v]" / f"{i}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(path)
  return tmp_path / "[set]"


def _content(root: Path) -> dict[str, bytes]:
  return {str(f): f.read_bytes() for f in root.rglob("*") if f.is_file()}


@pytest.mark.parametrize("sheet", [None, "sheet.png", "[red]0[/v]/sheet.png"])
def test_no_sheet_is_written_into_the_set(call, images, monkeypatch, sheet):
  """Where the command runs inside it, or by name, or by way of a link."""
  before = _content(images)
  monkeypatch.chdir(images)
  (images.parent / "link").symlink_to(images)
  flag = [] if sheet is None else [f"--sheet={images.parent}/link/{sheet}"]
  for data in (".", str(images), str(images.parent / "link")):
    with pytest.raises(InputError, match="--sheet .*sheet.png lies in .*: name a place"):
      call("data", f"--data={data}", *flag)
  assert _content(images) == before


def test_a_sheet_replaces_an_earlier_one_and_no_other_picture(call, images, monkeypatch):
  monkeypatch.chdir(images.parent)
  first = call("data", "--data=[set]")
  assert "[set]: 28×28, grey" in first
  assert re.search(r"│ train │.*\[red\]\d\[/v\], \[red\]\d\[/v\]", first)
  assert f"contact sheet: {images.parent}/contact-sheet.png" in first
  assert call("data", "--data=[set]") == first
  photo = next(images.rglob("*.png")).rename(images.parent / "photo.png")
  before = photo.read_bytes()
  with pytest.raises(InputError, match="--sheet .*photo.png is a file of another kind"):
    call("data", "--data=[set]", "--sheet=photo.png")
  assert photo.read_bytes() == before


FOUND = Predictions(
  ("[a].png", "=b.png"),
  ("[/red]", "file"),
  np.array([[0.75, 0.25], [0.125, 0.875]]),
  "c.png cannot be read as an image (it is text): remove it or save it again",
)


def test_predictions_are_written_and_then_what_could_not_be_read_is_said(
  call, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  arguments = ["predict", "--weights=w", "--images=new", "--csv=[/v].csv"]
  with pytest.raises(SystemExit) as stop:
    call(*arguments, predict=lambda *_: FOUND)
  assert stop.value.code == f"error: {FOUND.unreadable}"
  for text in ("[a].png", "[/red]", "=b.png", "file 0.250", "[/v].csv"):
    assert text in call.printed
  with (tmp_path / "[/v].csv").open(newline="") as f:
    rows = list(csv.reader(f))
  assert [row[0] for row in rows] == ["file", "[a].png", "'=b.png"]
  whole = FOUND._replace(unreadable=None)
  assert "[/v].csv" in call(*arguments, predict=lambda *_: whole)


def _no_work(*_: object, **__: object) -> None:
  raise AssertionError("the work was begun")


def test_outputs_are_refused_before_the_work(call, tmp_path, images, monkeypatch):
  """A folder where a file is to be written, a file where a folder is; or above it."""
  (tmp_path / "folder").mkdir()
  (tmp_path / "file").write_text("mine")
  monkeypatch.chdir(tmp_path)
  for place, said in (
    ("folder", "is a folder: name a new file"),
    ("file", "is a file of another kind: name a new one"),
    ("file/below", "lies in .*/file, which is a file: name another"),
  ):
    with pytest.raises(InputError, match=f"--csv .*{place} {said}"):
      call("predict", "--weights=w", "--images=new", f"--csv={place}", predict=_no_work)
    with pytest.raises(InputError, match=f"--sheet .*{place} {said}"):
      call("data", f"--data={images}", f"--sheet={place}", load_images=_no_work)
  monkeypatch.setattr("mcdi_jax.pipeline.prediction.load_generator", _no_work)
  for place, said in (
    ("file", "is a file: name a new folder"),
    ("file/below", "lies in .*/file, which is a file"),
    ("[set]/[/v]", r"lies in .*\[set\], which would be read with it"),
  ):
    with pytest.raises(InputError, match=f"--out .*{re.escape(place)} {said}"):
      call("generate", f"--support={images}", f"--out={place}")
  assert (tmp_path / "file").read_text() == "mine"


def test_where_weights_lie_is_printed_as_it_is(call):
  made = {"samples": 0, "classes": ["[red]a", "[/v]"]}
  printed = call(
    "generate",
    "--support=s",
    "--out=out[/v]",
    generate_from_folder=lambda *_, **__: made,
  )
  assert printed == "weights for [red]a, [/v]: out[/v]\n"


class _Noted:
  """A function that notes what it is given, and answers the same each time."""

  def __init__(self, answer: object = None) -> None:
    self.answer, self.given = answer, None

  def __call__(self, *arguments: object, **settings: object) -> object:
    self.given = (arguments, settings)
    return self.answer


def test_every_flag_of_generate_arrives(call):
  """Also where it is left out."""
  made = _Noted({"samples": 0, "classes": ["a"]})
  call("generate", "--support=s", "--out=o", generate_from_folder=made)
  left_out = {"samples": 0, "temperature": None, "shots": None, "seed": 0}
  left_out |= {"encoder": EncoderFlags(), "unlabelled": ""}
  assert made.given == (("omniglot-5way", "s", "o"), left_out)
  settings = {"samples": 3, "temperature": 0.5, "shots": 2, "seed": 7, "unlabelled": "u"}
  given = [f"--{name}={value}" for name, value in settings.items()]
  given += ["--encoder=clip", "--encoder_weights=w", "--encoder_size=64"]
  settings["encoder"] = EncoderFlags("clip", "w", 64)
  arguments = ["--generator=g", "--support=s", "--out=o", *given]
  call("generate", *arguments, generate_from_folder=made)
  assert made.given == (("g", "s", "o"), settings)


def test_every_flag_of_export_arrives(call):
  generator = make_generator()
  written, loaded = _Noted(), _Noted(generator)
  settings = {"ways": 7, "shots": 3, "temperature": 0.5}
  given = [f"--{name}={value}" for name, value in settings.items()]
  patches = {"export_generate": written, "load_generator": loaded}
  call("export", "--generator=g", "--out=o", *given, **patches)
  assert loaded.given == (("g",), {})
  (out, exported), found = written.given
  assert (as_path("o"), found) == (out, settings) and exported is generator


@pytest.mark.parametrize("asked", [None, "default"])
def test_a_benchmark_is_of_the_precision_that_is_asked_for(call, asked):
  """Else of the generator's own; its lines say which."""
  generator = make_generator()
  timed, line = _Noted([1]), _Noted({})
  patches = {
    "load_generator": lambda _: generator,
    "benchmark": timed,
    "latency_line": line,
    "print_table": lambda _: None,
  }
  given = [] if asked is None else [f"--matmul_precision={asked}"]
  call("benchmark", "--generator=g", "--seconds=2", *given, **patches)
  (measured, form), settings = timed.given
  precision = asked or "highest"
  assert measured.spec.matmul_precision == precision
  assert (form.ways, form.shots, settings) == (WAYS, SHOTS, {"seconds": 2.0})
  assert line.given[0][0].matmul_precision == precision


def test_pretrain_says_what_was_reached_and_where(call, tmp_path):
  """And is given the settings, with the data of the flag."""
  given = []

  def pretrain(config, out):
    given.append((config, out))
    return Pretrained("resnet12-2-2-3-4", {"val_5w1s": 43.216})

  out = str(tmp_path / "encoder")
  flags = ["--config.backbone.widths=(2,2,3,4)", "--data=glyphs", f"--out={out}"]
  said = call(
    "pretrain", "--config=configs/tiny_imagenet.py", *flags, pretrain=pretrain
  ).replace("\n", "")
  assert said == f"resnet12-2-2-3-4: {out}, val_5w1s 43.22"
  ((config, place),) = given
  assert (config.backbone.widths, config.data.source) == ((2, 2, 3, 4), "glyphs")
  assert place == out
