"""One `get_config()` a file; its docstring has the command, the time and the figure."""
