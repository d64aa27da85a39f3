"""Sessions of a Hermes home, read from its files and taken into this gateway's store."""
