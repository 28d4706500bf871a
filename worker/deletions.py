"""Deletes the bytes of keys that no row needs any more, and aborts their uploads in parts."""

import logging
from itertools import groupby
from operator import itemgetter

from prometheus_client import Counter

from models import files
from models.errors import StorageUnavailable
from storage.client import KEYS_PER_DELETE, Storage
from storage.multipart import Place, abort_many

_log = logging.getLogger(__name__)
_deletions = Counter("waybill_deletions_total", "deletions of keys in S3: done, or failed and due again", ["outcome"])


async def delete_due(storage: Storage) -> int:
    """How many keys were due. What S3 refuses is due again, each time later; so is all if S3 does not answer.

    Raises StorageUnavailable then, after the keys of other buckets.
    """
    rows = sorted(await files.due(KEYS_PER_DELETE), key=itemgetter("bucket"))
    away: StorageUnavailable | None = None
    for bucket, group in groupby(rows, key=itemgetter("bucket")):
        of_bucket = list(group)
        ids = {row["key"]: row["id"] for row in of_bucket}
        try:
            # First, so that nobody puts the parts together after the key was deleted.
            in_parts = [Place(bucket, row["key"], row["multipart_id"]) for row in of_bucket if row["multipart_id"]]
            errors = await abort_many(storage, in_parts)
            errors |= await storage.delete_many(bucket, [key for key in ids if key not in errors])
        except StorageUnavailable as error:
            away, errors = error, dict.fromkeys(ids, error.code)
        if errors:
            codes = ", ".join(sorted(set(errors.values())))
            _log.error("%d keys of bucket %s cannot be deleted and are tried again: %s", len(errors), bucket, codes)
        _deletions.labels("failed").inc(len(errors))
        _deletions.labels("done").inc(len(ids) - len(errors))
        failed = [(ids[key], error) for key, error in errors.items()]
        await files.deleted([id_ for key, id_ in ids.items() if key not in errors], failed)
    if away:
        raise away
    return len(rows)
