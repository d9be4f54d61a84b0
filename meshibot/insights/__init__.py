"""How people answer to posts: asked of the networks thriftily, counted honestly, and learned from.

`reading` asks, `first_day` says what is comparable of it, `rates` counts, `tables` shows, and `hours` learns
at which hour to post. What counts as a reaction is in `first_day`.
"""
