"""Deletes the bytes of keys that no row needs any more."""

from itertools import groupby
from operator import itemgetter

from models import files
from storage.client import KEYS_PER_DELETE, Storage


async def delete_due(storage: Storage) -> int:
    """How many keys were due. What S3 refuses is due again, each time later; so is all if S3 does not answer."""
    rows = sorted(await files.due(KEYS_PER_DELETE), key=itemgetter("bucket"))
    for bucket, group in groupby(rows, key=itemgetter("bucket")):
        ids = {row["key"]: row["id"] for row in group}
        errors = await storage.delete_many(bucket, list(ids))
        failed = [(ids[key], error) for key, error in errors.items()]
        await files.deleted([id_ for key, id_ in ids.items() if key not in errors], failed)
    return len(rows)
