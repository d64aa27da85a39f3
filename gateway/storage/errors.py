"""What can go wrong with the database, in words an operator can act on."""


class StorageError(Exception):
    """The database could not do it; nothing of the failed job was kept."""


class StorageClosedError(StorageError):
    """The store has been closed; nothing more is taken."""


class NewerDatabaseError(StorageError):
    """The database was written by a newer version of the program."""


class MigrationError(StorageError):
    """A migration failed; the database is as it was before, and a backup lies beside it."""


class UnreadableNowError(StorageError):
    """What is asked for needs something that cannot be read while the database is out of use."""
