"""`trainer prepare`: a folder as found to one fit to learn from, and the page that says what was left out."""
