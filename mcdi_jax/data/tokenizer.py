"""From texts to tokens, by the library `tokenizers` (the extra `text`), from the
`tokenizer.json` that a checkpoint comes with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mcdi_jax.lib import files
from mcdi_jax.lib.errors import DamagedError, InputError, MissingError
from mcdi_jax.lib.files import PathLike
from mcdi_jax.lib.progress import CONSOLE


class Tokens(NamedTuple):
  """Texts, each filled up to one length.

  Attributes:
    ids: int32 [n, t].
    mask: [n, t]; true where a token counts.
  """

  ids: Any
  mask: Any


class Tokenizer(NamedTuple):
  """What a checkpoint's texts are cut into.

  Attributes:
    library: a `tokenizers.Tokenizer`.
    most: tokens of a text that a network can see; None: any number.
    content: the file's, which tells it from another.
  """

  library: Any
  most: int | None
  content: bytes

  def __call__(self, texts: Sequence[str | tuple[str, str]]) -> list[np.ndarray]:
    """int32 [t] of each, with the special tokens of the checkpoint; of two texts together
    as the checkpoint has pairs. What is longer than the network can see is cut, and that is
    said."""
    found = [np.asarray(t.ids, np.int32) for t in self.library.encode_batch([*texts])]
    cut = 0 if self.most is None else sum(len(ids) > self.most for ids in found)
    if not cut:
      return found
    which = f"{cut} of {len(texts)} texts are" if len(texts) > 1 else "the text is"
    CONSOLE.print(f"note: {which} longer than {self.most} tokens: their rest is left out")
    self.library.enable_truncation(self.most)
    shorter = [np.asarray(t.ids, np.int32) for t in self.library.encode_batch([*texts])]
    self.library.no_truncation()
    return shorter


def open_tokenizer(folder: PathLike, most: int | None = None) -> Tokenizer:
  """Of a checkpoint's folder.

  Raises:
    MissingError: no `tokenizer.json`, or no library that reads it.
    DamagedError: the file is none.
  """
  place = files.as_path(folder) / "tokenizer.json"
  if not place.exists():
    raise MissingError(f"there is no {place}: bring the one that the checkpoint came with")
  try:
    import tokenizers
  except ImportError:
    raise MissingError(
      'texts need the package tokenizers: pip install "mcdi-jax[text]"'
    ) from None
  content = files.read_bytes(place)
  try:
    library = tokenizers.Tokenizer.from_str(content.decode())
  except Exception as error:  # the library raises nothing narrower
    raise DamagedError(f"{place} is no tokenizer ({error}): bring another copy") from None
  library.no_padding()
  library.no_truncation()
  return Tokenizer(library, most, content)


def check_tokens(rows: Sequence[np.ndarray], vocabulary: int, folder: PathLike) -> None:
  """That a model with so many tokens knows all of these rows, int32 [t] each.

  Raises:
    InputError: a token that it does not know.
  """
  most = max((int(row.max()) for row in rows if len(row)), default=0)
  if most >= vocabulary:
    raise InputError(
      f"the tokenizer.json of {folder} makes token {most}, and its model knows 0 to "
      f"{vocabulary - 1}: bring the tokenizer that the model came with"
    )


def filled(rows: Sequence[np.ndarray], length: int) -> Tokens:
  """Rows of tokens int32 [t], filled up with 0, which does not count.

  Raises:
    InputError: a row without a token.
  """
  if not all(map(len, rows)):
    raise InputError("a text has no token: leave empty texts out")
  places = np.arange(length)
  mask = places < np.array([[len(row)] for row in rows])
  ids = np.zeros(mask.shape, np.int32)
  ids[mask] = np.concatenate(rows)
  return Tokens(ids, mask)
