import dataclasses
import inspect
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruption import stop_at
from miniature import make_support

from mcdi_jax.data.class_set import to_unit
from mcdi_jax.data.glyphs import glyphs
from mcdi_jax.generator import generate, load_generator, save_generator, storage
from mcdi_jax.generator.storage import about_generator, fingerprint
from mcdi_jax.lib import disk
from mcdi_jax.lib.checkpoint import save_described
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import as_path
from mcdi_jax.tasks import Support


@pytest.fixture(scope="module")
def saved(tmp_path_factory, make_generator):
  """A directory that holds `make_generator("transformer")`."""
  directory = tmp_path_factory.mktemp("saved") / "generator"
  save_generator(directory, make_generator("transformer"), {"seed": 3})
  return directory


@pytest.fixture
def copy(saved, tmp_path):
  """One to damage."""
  return shutil.copytree(saved, tmp_path / "generator")


def array_files(directory):
  """The files of the checkpoint, its own list of checksums left out."""
  found = [f for f in (directory / "weights").rglob("*") if f.is_file()]
  return sorted(f for f in found if f.name != "sha256.json" and f.stat().st_size)


def test_what_is_loaded_is_what_was_saved(saved, make_generator, key):
  """Every leaf to the last bit, the specification, and so the weights it makes."""
  written, read = make_generator("transformer"), load_generator(saved)
  assert jax.tree.structure(read) == jax.tree.structure(written)
  assert hash(read.spec) == hash(written.spec)
  for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(written), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
  support = make_support()
  outputs = [generate(g, support, key, temperature=0.5) for g in (read, written)]
  jax.tree.map(np.testing.assert_array_equal, *outputs)


def test_other_settings_come_back_too(tmp_path, make_generator):
  """Those that are static: another network, several ways, a base, no gauge."""
  settings = {"ways": (3, 5), "base": "prototypes", "gauge": False, "ancestral": True}
  written = make_generator("equivariant", **settings)
  save_generator(tmp_path / "generator", written)
  read = load_generator(tmp_path / "generator")
  assert jax.tree.structure(read) == jax.tree.structure(written)
  jax.tree.map(np.testing.assert_array_equal, read, written)


def test_saving_again_replaces(copy, make_generator):
  other = make_generator("transformer", end=0.05)
  save_generator(copy, other)
  read = load_generator(copy)
  np.testing.assert_array_equal(read.schedule.alpha, other.schedule.alpha)
  assert read.spec == other.spec


def test_saving_stopped_at_any_write_leaves_the_earlier_or_the_later(
  make_generator, tmp_path, monkeypatch
):
  """Specification, weights and what is said about them, of one save."""
  made = [make_generator("transformer"), make_generator("transformer", end=0.05)]
  number, stopped, seen = 0, True, set()
  while stopped:
    number += 1
    stopped, place = False, tmp_path / str(number)
    save_generator(place, made[0], {"number": 0})
    with monkeypatch.context() as m:
      m.setattr(disk, "write_point", stop_at(number))
      try:
        save_generator(place, made[1], {"number": 1})
      except KeyboardInterrupt:
        stopped = True
    which = about_generator(place)["number"]
    assert fingerprint(load_generator(place)) == fingerprint(made[which])
    seen.add(which)
  assert seen == {0, 1}


def test_a_first_save_stopped_at_any_write_is_none_or_whole(
  make_generator, tmp_path, monkeypatch
):
  made, number, stopped = make_generator("transformer"), 0, True
  while stopped:
    number += 1
    stopped, place = False, tmp_path / str(number)
    with monkeypatch.context() as m:
      m.setattr(disk, "write_point", stop_at(number))
      try:
        save_generator(place, made)
      except KeyboardInterrupt:
        stopped = True
    if not (place / "generator.json").exists():
      with pytest.raises(MissingError, match="no generator in"):
        load_generator(place)
      save_generator(place, made)
    assert fingerprint(load_generator(place)) == fingerprint(made)


def test_the_specification_of_another_save_is_noticed(copy, make_generator):
  """Of the same shapes, so that nothing else would."""
  save_generator(copy.parent / "other", make_generator("transformer", end=0.05))
  shutil.copy(copy.parent / "other" / "generator.json", copy)
  with pytest.raises(DamagedError, match="not the one that was saved with"):
    load_generator(copy)


@pytest.mark.parametrize(
  "content", ["[]", '"x"', "{}", '{"format": 3}', '{"format": 3, "spec": []}']
)
def test_a_specification_of_another_shape_is_damage(copy, content):
  (copy / "generator.json").write_text(content)
  with pytest.raises(DamagedError, match=r"generator\.json .*delete it"):
    load_generator(copy)
  with pytest.raises(DamagedError, match=r"generator\.json .*delete it"):
    about_generator(copy)


def test_what_is_kept_beside_it_has_names(copy):
  content = json.loads((copy / "generator.json").read_text())
  (copy / "generator.json").write_text(json.dumps({**content, "about": []}))
  with pytest.raises(DamagedError, match=r"generator\.json .*delete it"):
    about_generator(copy)


@pytest.mark.parametrize("lost", ["score", "diffusion", "family"])
def test_a_specification_that_lacks_a_setting_is_damage(copy, lost):
  content = json.loads((copy / "generator.json").read_text())
  del content["spec"][lost]
  (copy / "generator.json").write_text(json.dumps(content))
  with pytest.raises(DamagedError, match=f"generator.json lacks {lost}"):
    load_generator(copy)


def test_unfinished_weights_are_missing(copy):
  (copy / "weights" / "sha256.json").unlink()
  with pytest.raises(MissingError, match="weights is unfinished"):
    load_generator(copy)


@pytest.mark.parametrize("number", [2, 3])
def test_a_format_before_this_one_is_read(copy, make_generator, number):
  """Before 4 all were heads, and their frozen params were called backbone. 2 has its
  weights always in weights/, and no checksum of them in generator.json."""
  content = json.loads((copy / "generator.json").read_text())
  family = content["spec"].pop("family")
  assert family.pop("name") == "heads"
  family["backbone_width"] = family.pop("width")
  content |= {"format": number, "spec": content["spec"] | family}
  arrays = storage._leaves(load_generator(copy), "backbone")
  save_described(as_path(copy) / "generator.json", content, "weights", arrays)
  if number == 2:
    content = json.loads((copy / "generator.json").read_text())
    folder = content.pop("tree")["folder"]
    (copy / folder).rename(copy / "weights")
    (copy / "generator.json").write_text(json.dumps(content))
  made = make_generator("transformer")
  assert fingerprint(load_generator(copy)) == fingerprint(made)
  other = make_generator("transformer", end=0.05)
  save_generator(copy, other)
  assert fingerprint(load_generator(copy)) == fingerprint(other)


def test_what_is_said_about_it_is_kept(saved):
  assert json.loads((saved / "generator.json").read_text())["about"] == {"seed": 3}
  assert about_generator(saved) == {"seed": 3}
  assert about_generator("omniglot-5way")["method"] == "generated_finished"


def test_a_fingerprint_is_of_the_content_wherever_it_lies(copy, make_generator):
  """The same for a copy, with whatever is said about it."""
  made = make_generator("transformer")
  save_generator(copy.parent / "elsewhere", made, {"seed": 4})
  assert fingerprint(load_generator(copy)) == fingerprint(made)
  assert fingerprint(load_generator(copy.parent / "elsewhere")) == fingerprint(made)


def test_whatever_changes_what_is_generated_changes_the_fingerprint(make_generator):
  """Every leaf, by its last element; the specification; the gauge."""
  made = make_generator("transformer")
  leaves, structure = jax.tree.flatten(made)
  seen = {fingerprint(made)}
  for n, leaf in enumerate(leaves):
    last = leaf.ravel()[-1]
    changed = leaf.ravel().at[-1].set(jnp.nextafter(last, jnp.inf)).reshape(leaf.shape)
    seen.add(fingerprint(structure.unflatten([*leaves[:n], changed, *leaves[n + 1 :]])))
  spec = dataclasses.replace(made.spec, base="prototypes")
  seen.add(fingerprint(dataclasses.replace(made, spec=spec)))
  space = dataclasses.replace(made.space, gauge=False)
  seen.add(fingerprint(dataclasses.replace(made, space=space)))
  assert len(seen) == len(leaves) + 3


def test_a_setting_that_is_new_leaves_fingerprints_as_they_were(make_generator):
  """Weights that were generated before are still known to be this generator's."""
  made = make_generator("transformer")

  @dataclasses.dataclass(frozen=True)
  class Later(type(made.spec.score)):
    new: int = 0

  fields = dataclasses.asdict(made.spec.score)
  later = [
    dataclasses.replace(
      made, spec=dataclasses.replace(made.spec, score=Later(**fields, **new))
    )
    for new in ({}, {"new": 1})
  ]
  assert fingerprint(later[0]) == fingerprint(made) != fingerprint(later[1])


def test_a_flipped_bit_is_noticed_in_every_file(copy):
  for file in array_files(copy):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedError, match=r"damaged.*delete .*generator\.json"):
      load_generator(copy)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
  load_generator(copy)  # mended


def test_no_file_names_the_place_where_it_was_written(saved):
  place = str(saved.parent).encode()
  files = [f for f in saved.rglob("*") if f.is_file()]
  assert not [f.name for f in files if place in f.read_bytes()]


def test_a_lost_file_is_noticed(copy):
  max(array_files(copy), key=lambda f: f.stat().st_size).unlink()
  with pytest.raises(DamagedError):
    load_generator(copy)


def test_lost_weights_are_missing(copy):
  """With what is to be deleted, so that a run makes the generator again."""
  shutil.rmtree(copy / "weights")
  with pytest.raises(MissingError, match=r"weights,.*delete .*generator\.json"):
    load_generator(copy)


def test_a_broken_specification_is_noticed(copy):
  specification = copy / "generator.json"
  specification.write_text(specification.read_text()[:-20])
  with pytest.raises(DamagedError, match="generator.json"):
    load_generator(copy)


def test_a_specification_of_another_network_does_not_fit(copy):
  content = json.loads((copy / "generator.json").read_text())
  content["spec"]["score"]["width"] = 32
  (copy / "generator.json").write_text(json.dumps(content))
  with pytest.raises(InputError, match="structure") as error:
    load_generator(copy)
  assert not isinstance(error.value, DamagedError)


def test_a_later_format_is_refused(copy):
  content = json.loads((copy / "generator.json").read_text())
  (copy / "generator.json").write_text(json.dumps({**content, "format": 99}))
  with pytest.raises(InputError, match="format 99.*train it anew"):
    load_generator(copy)


def test_a_shipped_generator_is_loaded_by_name(key):
  """Whatever the number of classes; and the package stays small."""
  names = load_generator()
  assert "omniglot-5way" in names
  with pytest.raises(MissingError, match="omniglot-5way"):
    load_generator("omniglot-5wy")
  generator = load_generator("omniglot-5way")
  assert sum(leaf.nbytes for leaf in jax.tree.leaves(generator)) < 4 * 2**20
  drawn = to_unit(jnp.asarray(glyphs(key, classes=3, per_class=5).x))
  drawings, label = drawn.reshape(3, 5, *drawn.shape[1:]), jnp.arange(3)
  params = generate(generator, Support(drawings[:, 0], label), key, ways=3)
  others = drawings[:, 1:].reshape(12, *drawn.shape[1:])
  predicted = generator.network.apply(params, others).argmax(-1)
  assert jnp.mean(predicted == jnp.repeat(label, 4)) > 0.8  # chance: 1/3


@pytest.mark.parametrize(("ways", "width"), [(2, 7), (100, 384)])
def test_a_shipped_generator_takes_any_features(key, ways, width):
  """Of any width; classes that lie apart are told apart."""
  generator = load_generator("any-features")
  assert sum(leaf.nbytes for leaf in jax.tree.leaves(generator)) < 4 * 2**20
  centres = 10 * jax.random.normal(key, (ways, width))
  label = jnp.tile(jnp.arange(ways), 2)
  x = centres[label] + jax.random.normal(jax.random.key(1), (2 * ways, width))
  params = generate(generator, Support(x, label), key, ways=ways)
  others = centres + jax.random.normal(jax.random.key(2), centres.shape)
  predicted = generator.network.apply(params, others).argmax(-1)
  assert jnp.mean(predicted == jnp.arange(ways)) > 0.95


def test_no_generator_is_missing(tmp_path):
  with pytest.raises(MissingError, match="no generator in"):
    load_generator(tmp_path)
  with pytest.raises(FileNotFoundError):
    load_generator(tmp_path / "nowhere")


def test_a_workdir_gives_its_only_seed_and_lists_several(saved, tmp_path):
  shutil.copytree(saved, tmp_path / "seed_0" / "generator")
  assert load_generator(tmp_path).spec == load_generator(saved).spec
  shutil.copytree(saved, tmp_path / "seed_1" / "generator")
  with pytest.raises(MissingError, match=r"(?s)several.*seed_0.*seed_1"):
    load_generator(tmp_path)


@pytest.mark.parametrize("family", [int, "Sines", make_support])
def test_what_is_no_class_of_tasks_is_told(family: object):
  load = inspect.unwrap(load_generator)  # types are checked before it is entered
  with pytest.raises(InputError, match="^family is .*: give the class of its tasks"):
    load("any-features", family=family)
