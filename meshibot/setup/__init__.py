"""`meshibot init`: from questions to a bot that is ready to post.

`questions` asks, or takes a flag's word; `networks` knows what each network needs, `tokens` makes tokens
where a network allows it; `files` writes `.env` and `meshibot.toml` and overwrites nothing; `init` is the way
through.
"""
