"""Benchmarks: what the gateway costs, measured; `python -m bench` runs them."""
