"""The database: its one writer, its readers, its migrations, and every SQL statement of the gateway."""
