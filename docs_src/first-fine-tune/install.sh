make demo     # installs into .venv, builds this site, and serves it with the demo; Ctrl-C stops it
. .venv/bin/activate
ftdemo doctor # what your machine has, and which models are there
