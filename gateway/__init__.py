"""The gateway's core: everything between a platform's message and an agent's answer."""
