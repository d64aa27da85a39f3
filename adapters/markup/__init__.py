"""Markdown as agents write it, shown as each platform shows text: one parse, one renderer a platform, one splitter."""
