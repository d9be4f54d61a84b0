"""`python -m meshibot.notices.apprise_child`: tells by Apprise what standard input asks for, and ends.

Exit status: 0 told, 1 not told by every service, 3 Apprise is not installed.
"""

import json
import sys


def main() -> int:
    """Read `{"urls": […], "title": …, "body": …}` and tell it."""
    request = json.load(sys.stdin)
    try:
        import apprise
    except ImportError:
        return 3
    told = apprise.Apprise()
    added = [told.add(url) for url in request["urls"]]
    return 0 if all(added) and told.notify(title=request["title"], body=request["body"]) else 1


if __name__ == "__main__":
    sys.exit(main())
