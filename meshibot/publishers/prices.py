"""What networks charge, in one place with the date at which it was looked up. US dollars.

Whoever changes a number changes the date. The console of the network is the truth.
"""

from datetime import date

from meshibot.publishers.base import Price

AS_OF = date(2026, 8, 1)

FREE = Price()
X = Price(post=0.015, link=0.200, alt_text=0.005, check=0.010, read=0.001)
"""Pay per use (docs.x.com, Pricing). A post with a link costs `link` in place of `post`; failed requests are
free. Own posts are read for `read` each where the account owns the developer's app, five times that
otherwise."""
