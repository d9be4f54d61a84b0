"""The page of `meshibot web`: review, gallery, calendar, training, health. A process of its own, which never
publishes; whatever it changes, it changes by the functions that the command line has."""
