"""What is said under a picture, and the alt text: Japanese, English, or the owner's own words.

`words` are ours, `own` reads and checks those of an owner, and `captions` says which of them a post gets.
Every caption carries the account's serial (`No.0042`), by which an unclear post is found again. How long a
caption may be is the network's to say: see `meshibot.publishers`.
"""

from meshibot.captions.captions import (
    WIDEST_SERIAL,
    Captions,
    Said,
    load_captions,
    marker,
    serials_in,
    with_marker,
    words_for_one,
)
from meshibot.captions.words import Language

__all__ = [
    "WIDEST_SERIAL",
    "Captions",
    "Language",
    "Said",
    "load_captions",
    "marker",
    "serials_in",
    "with_marker",
    "words_for_one",
]
