"""Pure conclusions from measurements; nothing here does I/O or reads a clock."""
