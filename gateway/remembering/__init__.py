"""What is remembered from one conversation to the next: which turns are to be, when, by what, and where it is kept."""
