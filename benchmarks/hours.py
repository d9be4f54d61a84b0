"""Simulated years of `MESHIBOT_SCHEDULE=auto`: whether it finds the better hour, and what looking costs.

    python -m benchmarks.hours [--years 200]

What is simulated, and what counts as found and as cost, stands in `testbed/worlds.py`.
"""

import argparse
from statistics import mean

from testbed.worlds import World, live

WORLDS = (
    World(2, 6.0, 1.5),
    World(4, 6.0, 1.5),
    World(8, 6.0, 1.5),
    World(16, 6.0, 1.5),
    World(8, 6.0, 1.3),
    World(8, 6.0, 2.0),
    World(8, 2.0, 2.0),
    World(8, 30.0, 1.5),
    World(8, 6.0, 1.5, posts=3),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=int, default=200)
    years = parser.parse_args().years
    print("hours  posts/day  usual  best     phi  found    cost, last quarter  cost, whole year")
    for world in WORLDS:
        lived = [live(world, seed) for seed in range(years)]
        print(
            f"{world.hours:5}  {world.posts:9}  {world.usual:5.0f}  x{world.better:<6} {world.phi:4.0f}"
            f"  {mean(year.found for year in lived):6.1%}  {mean(year.cost for year in lived):18.1%}"
            f"  {mean(year.whole for year in lived):16.1%}"
        )


if __name__ == "__main__":
    main()
