"""Everything that can be changed. Each mutation is one transaction."""

import strawberry

from graph.mutations.abort_uploads import AbortUploads
from graph.mutations.complete_uploads import CompleteUploads
from graph.mutations.create_batch import CreateBatch
from graph.mutations.create_objects import CreateObjects
from graph.mutations.create_uploads import CreateUploads
from graph.mutations.delete_batch import DeleteBatch
from graph.mutations.delete_objects import DeleteObjects
from graph.mutations.grant_access import GrantAccess
from graph.mutations.keys import CreateKey, RevokeKey, RotateKey
from graph.mutations.operators import Tenants
from graph.mutations.people import People
from graph.mutations.request_sync import RequestSync
from graph.mutations.retry_sync import RetrySync
from graph.mutations.revoke_access import RevokeAccess
from graph.mutations.seal_batch import SealBatch
from graph.mutations.sync_sources import SyncSources
from graph.mutations.update_object_data import UpdateObjectData


@strawberry.type(description="Everything that can be changed. Each mutation is kept whole or not at all.")
class Mutation(
    CreateBatch,
    CreateObjects,
    UpdateObjectData,
    DeleteObjects,
    DeleteBatch,
    SealBatch,
    CreateUploads,
    CompleteUploads,
    AbortUploads,
    RequestSync,
    RetrySync,
    SyncSources,
    GrantAccess,
    RevokeAccess,
    People,
    Tenants,
    CreateKey,
    RotateKey,
    RevokeKey,
):
    pass
