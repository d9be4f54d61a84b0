"""One archive of all that a bot can't do without: `archive` is its form, `make` what goes in, `keep` which of
several stay, `unpack` the way back, and `replaceable` what the copy of a database may take the place of.
"""
