"""Errors that a user can mend: one sentence with the setting, the value, the remedy."""


class InputError(ValueError):
  """A setting or an input that cannot be used as it is."""


class MissingError(InputError, FileNotFoundError):
  """Something that should lie on disk and does not."""


class DamagedError(InputError):
  """Something that lies on disk and is not what was written."""
