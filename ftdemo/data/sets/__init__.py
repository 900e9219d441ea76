"""The data sets that ship with the package, a folder each."""
