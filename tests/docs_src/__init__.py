"""Tests of the code that pages show; a package, since a page and a module of ftdemo may have one name."""
