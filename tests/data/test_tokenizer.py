"""Texts as the tokens of a checkpoint."""

from pathlib import Path

import pytest

from mcdi_jax.data.tokenizer import check_tokens, open_tokenizer
from mcdi_jax.lib.errors import InputError
from tests.checkpoints import SPECIAL, WORDS, write_tokenizer


def test_a_text_is_whole_or_cut_to_what_a_network_sees(tmp_path: Path):
  write_tokenizer(tmp_path)
  text = " ".join([WORDS[0]] * 9)
  (whole,), (cut,) = open_tokenizer(tmp_path)([text]), open_tokenizer(tmp_path, 5)([text])
  assert len(whole) == 11 and len(cut) == 5


def test_a_tokenizer_of_another_model_is_told(tmp_path: Path):
  write_tokenizer(tmp_path)
  rows = open_tokenizer(tmp_path)([WORDS[-1]])
  known = len(SPECIAL) + len(WORDS)
  check_tokens(rows, known, tmp_path)
  with pytest.raises(InputError, match=f"makes token {known - 1}, .* 0 to {known - 2}"):
    check_tokens(rows, known - 1, tmp_path)
