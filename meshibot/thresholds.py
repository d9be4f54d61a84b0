"""From where on something is too little, too old or too alike, for all who say so or go by it."""

from datetime import timedelta

LOW_DISK = 1_000_000_000
"""Bytes that are left, of which `check` and notices warn."""

OLD_BACKUP = timedelta(hours=36)
"""The daemon makes one a day; it may have been off for some hours."""

LARGEST_STOCK = 100_000
"""Pictures that wait, at most."""

LOOK_ALIKE = 10
"""Bits of 64. Pictures whose hashes differ in fewer are the same bowl to a reader who scrolls by."""

LOOKED_AT_FOR = timedelta(days=30)
"""So long after a post it may still be asked how people answer to it."""
