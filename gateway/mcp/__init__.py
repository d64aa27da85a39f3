"""The session tools for any agent, over the Model Context Protocol (https://modelcontextprotocol.io)."""
