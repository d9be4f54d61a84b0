"""The publishing state machine: claim, send, reconcile, retry, hold.

The promise: a slot is published at most once; an unclear attempt is resolved by reading the account's own
timeline; what stays unclear is held for a person; no slot disappears without a record of why.

| room | is for |
|---|---|
| `policy` | how patient it is, and what it needs to know of an account |
| `runtime` | database, clocks and crash points, for all others |
| `decide` | the table: what came of a post, and what it is therefore; pure |
| `record` | writes a decision down, the only place that assigns a post's state |
| `claim` | the lease on an account, and its fence |
| `choose` | what an account does next: due, budget, quiet hours, spacing |
| `groups` | pictures that several accounts show at one slot |
| `drafts`, `failures` | what the network gets; what an exception means |
| `deliver` | the main way: picture, upload, send, record |
| `reconcile` | looks for what may exist |
| `identity` | whose account it is, and at which serial it goes on |
| `outbox` | one step of an account, all of it |
| `people` | what a person does |
| `restored` | what a database that came back from a backup must not do again |

Each imports only rooms above it. None knows a network: what an answer means is said by the publisher's
exceptions.

`crash_point` is called by this name at every commit and around every request: a test may put its own there.
"""

from meshibot.crashpoints import crash_point
from meshibot.outbox.outbox import Outbox
from meshibot.outbox.policy import Channel, Group, Order, Policy, Words
from meshibot.outbox.runtime import CRASH_POINTS, CRASH_POINTS_OF_DELETION

__all__ = [
    "CRASH_POINTS",
    "CRASH_POINTS_OF_DELETION",
    "Channel",
    "Group",
    "Order",
    "Outbox",
    "Policy",
    "Words",
    "crash_point",
]
