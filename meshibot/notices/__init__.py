"""What the operator is told without asking: once for each thing that is wrong, and that it is over.

`conditions` says what is wrong now, from the database and the disk alone; `book` writes that down; `ways` are
the places where it is told; `notifier` is the daemon's task, and `meshibot notify`. None of it is in the way
of a post: what is wrong is seen in what posting has committed, and told afterwards.
"""
