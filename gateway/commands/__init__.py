"""Commands: what a person can tell the gateway itself, in one table that help and menus are made from."""
