"""What several networks find in a caption: characters as people see them, links, hashtags."""

import re
import unicodedata
from collections.abc import Iterator

from meshibot.publishers.base import Facet

LINK = re.compile(r"https?://[^\s<>\"'（）「」、。]+", re.IGNORECASE)
"""An address with its scheme: what every network makes a link of."""
_AFTER_LINK = ".,;:!?)]"

_TAG = re.compile(r"(?<![\w#＃/])[#＃](?=\S*[^\W\d_])([\w\u30fb\u200d]+)")
"""A word after a `#` that is more than digits."""

_REGIONAL = re.compile("[\U0001f1e6-\U0001f1ff]")
_JOINER = "\u200d"


def graphemes(text: str) -> int:
    """How many characters people see in `text`: an upper bound of the extended grapheme clusters of UAX #29.

    Joined emoji, flags, keycaps, accents and voicing marks are one; what joins in rarer scripts counts apart.
    """
    count = 0
    joined = flag = False
    before = ""
    for character in text:
        if character == _JOINER or _extends(character):
            count += before == ""
        elif character == "\n" and before == "\r":
            pass
        elif _REGIONAL.match(character):
            count += not flag
            flag = not flag
            joined, before = False, character
            continue
        elif not (joined and _is_picture(character)):
            count += 1
        joined = character == _JOINER
        flag = False
        before = character
    return count


def _extends(character: str) -> bool:
    """Whether it is seen as a part of the character before it."""
    return (
        unicodedata.category(character) in ("Mn", "Me", "Mc")
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
        or character in "\u200c\ufe0f"
    )


def _is_picture(character: str) -> bool:
    return unicodedata.category(character) == "So"


def links(text: str) -> Iterator[tuple[int, int, str]]:
    """Begin, end and address of each link."""
    for found in LINK.finditer(text):
        address = found[0].rstrip(_AFTER_LINK)
        yield found.start(), found.start() + len(address), address


def facets(text: str) -> tuple[Facet, ...]:
    """The links and hashtags of a caption, in their order; no tag is found within a link."""
    found = [Facet("link", begin, end, address) for begin, end, address in links(text)]
    for tag in _TAG.finditer(text):
        if not any(link.start <= tag.start() < link.end for link in found if link.kind == "link"):
            found.append(Facet("tag", tag.start(), tag.end(), tag[1]))
    return tuple(sorted(found, key=lambda facet: facet.start))


def length_with_links(text: str, link: int | None) -> int:
    """Characters, where each link counts as `link` of them; None: as many as it has."""
    whole = graphemes(text)
    if link is None:
        return whole
    return whole + sum(link - graphemes(address) for _, _, address in links(text))
