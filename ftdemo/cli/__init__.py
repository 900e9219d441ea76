"""The shell: parses, draws and reports, and decides nothing."""
