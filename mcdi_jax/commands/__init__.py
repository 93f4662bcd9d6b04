"""Commands: `mcdi-NAME` where the package is installed, `python -m launch.NAME` too.

`data` shows a set, `pretrain` trains an encoder on it, `embed` makes features of it, `run`
trains and evaluates, `report` makes pages, `table` makes tables of results, `generate` and
`predict` go from folders to weights to labels, `adapt` from a text to an adapter of a
language model, `export` makes a file for jax alone, `benchmark` measures speed, `bank`
shows a bank or makes one of checkpoints.
"""
