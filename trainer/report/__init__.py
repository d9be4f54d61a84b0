"""`trainer report`: a run folder as one page. Reads only."""
