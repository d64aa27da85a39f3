"""The installation's secret: made once, kept in the database, and what hashes of ids and codes are keyed by."""

import secrets
import sqlite3
from typing import Final

from gateway.storage import queries
from gateway.storage.database import Database

META_NAME: Final = "pii_secret"
"""The name under which it is kept."""

SECRET_BYTES: Final = 32


async def install_secret(database: Database) -> bytes:
    """The installation's secret, made at the first start. Raises `StorageError`."""

    def job(connection: sqlite3.Connection) -> str:
        if connection.execute(queries.GET_META, (META_NAME,)).fetchone() is None:
            connection.execute(queries.ADD_META, (META_NAME, secrets.token_hex(SECRET_BYTES)))
        return str(connection.execute(queries.GET_META, (META_NAME,)).fetchone()[0])

    return bytes.fromhex(await database.write(job))
