"""The groups of the command line, and what they share: words for errors, and how things are printed."""
