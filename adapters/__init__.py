"""Connections to platforms: one file or package for each."""
