"""The glossary generator: what pages include is derived from records, sources and code before the site is built.

It knows terms, sources, runs and demos, and nothing about the subject of the glossary.
"""
