"""Files that people send to an agent, and those that it sends to them."""
