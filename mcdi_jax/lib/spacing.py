"""The rounding that segment boundaries and recorded steps share (`method.md` 2)."""


def evenly_spaced(total: int, parts: int) -> tuple[int, ...]:
  """⌊i · total / parts + ½⌋ for i = 1 … parts: of T, boundaries; of M, recorded steps."""
  return tuple((2 * i * total + parts) // (2 * parts) for i in range(1, parts + 1))
