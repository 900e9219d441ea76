make demo     # makes .venv, installs, builds the site, and serves site and demo at http://127.0.0.1:7860
make test     # makes .venv, installs, and runs all tests
