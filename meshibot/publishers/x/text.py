"""How X reads a caption: what weighs how much, and what it makes a link of.

The rules are those of twitter-text, configuration v3.
"""

import re
import unicodedata

MAX_WEIGHT = 280
"""A CJK character or an emoji counts 2, a URL 23."""

_URL_WEIGHT = 23

# What weighs 1: Latin to Georgian, and most of general punctuation (v3.json).
_LIGHT = re.compile("[\u0000-\u10ff\u2000-\u200d\u2010-\u201f\u2032-\u2037]")

# X links a bare name that ends in a known top-level domain; any two letters or more are taken for one here.
# What stands before it may be Japanese, and its names may have accents. Some domains are in kana.
_NAME = "[0-9a-z\u00c0-\u024f][0-9a-z\u00c0-\u024f-]*"
_KANA = "みんな|コム|ストア|セール|ファッション|クラウド|グーグル|ポイント|アマゾン"
_DOMAIN = rf"(?:[a-z]{{2,}}(?![0-9a-z\u00c0-\u024f])|{_KANA})"
_LINK = re.compile(
    rf"(?P<scheme>https?://)[!-~]+|(?<![0-9A-Za-z\u00c0-\u024f@＠$#＃_.-])(?:{_NAME}\.)+{_DOMAIN}(?:/[!-~]*)?",
    re.IGNORECASE,
)
_FOREIGN_LINK = re.compile(r"https?://[^\s!-~]", re.IGNORECASE)
"""An address whose name begins with a letter that is not ASCII."""

# An emoji counts 2, however many code points it joins: flags, keycaps, pictures with skin tones and joiners.
_PICTURE = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55\u3030"
    "\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
    "[\ufe0f\U0001f3fb-\U0001f3ff]*"
)
_EMOJI = re.compile(
    f"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|{_PICTURE}(?:\u200d{_PICTURE})*[\U000e0020-\U000e007f]*"
)


def weighted_length(text: str) -> int:
    """The length of `text` as X counts it: the rules of twitter-text, configuration v3.

    Ours, since neither package of that name serves on a current Python: one needs pkg_resources, the other
    still counts to 140. Where X's list of known domains would be needed, this rather counts too much.
    """
    text = unicodedata.normalize("NFC", text)
    weight = 0
    for link in _LINK.finditer(text):
        # A bare name may be a domain to X or not: take whichever weighs more.
        plain = 0 if link["scheme"] else _weight_without_links(link[0])
        weight += max(_URL_WEIGHT, plain)
    return weight + _weight_without_links(_LINK.sub("", text))


def has_link(text: str) -> bool:
    """Whether X may see a link in `text`, a bare `example.com` included: such a post is priced higher."""
    return _LINK.search(text) is not None or _FOREIGN_LINK.search(text) is not None


def _weight_without_links(text: str) -> int:
    emoji = len(_EMOJI.findall(text))
    return 2 * emoji + sum(1 if _LIGHT.match(character) else 2 for character in _EMOJI.sub("", text))
