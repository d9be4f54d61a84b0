"""X, through API v2. `publisher` makes posts, `answers` says what its answers mean, `text` how it counts."""

from meshibot.publishers.x.publisher import XPublisher, XSettings

__all__ = ["XPublisher", "XSettings"]
