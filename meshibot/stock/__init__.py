"""The approved pictures that wait: how they are sampled, chosen and kept.

`stock` keeps them, `sampler` asks for more, `sampling` is the child process that makes them (the only room
with torch), and `selection` says which are worth keeping.
"""
