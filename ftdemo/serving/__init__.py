"""One server for the site and the demos, and the packaging of Spaces."""
