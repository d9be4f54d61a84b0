"""The training itself: objectives, steps, the loop, the guard, and everything an exact resume needs."""
