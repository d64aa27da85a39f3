"""What the gateway itself lends every agent that can call tools."""
