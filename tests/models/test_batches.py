"""What is asked of whole batches is answered by indexes, however large a batch is."""

from models import AccessLevel, Tenant, User, batches, database, grants, writes
from models.filters import Granted
from models.grants import Thing
from models.pages import Scope
from models.writes import NewObject
from tests.conftest import new_database
from tests.models.plans import blocks_read
from tests.models.test_quotas import file

FILES = 3_000
FEW = 60  # blocks


async def test_state_of_a_batch_is_a_few_probes_and_progress_reads_its_files_once() -> None:
    url = await new_database()
    async with database.connected(database.config(url)):
        tenant = await Tenant.create(slug="one")
        ada, bob = [await User.create(tenant=tenant, name=name) for name in ("ada", "bob")]
        new = [NewObject(f"o{number}", "[]", file(1)) for number in range(FILES)]
        large = await writes.create_batch(tenant.id, ada.id, "large", new)
        await grants.give(tenant.id, bob.id, Thing(large.batch["id"], large.object_keys[0]), AccessLevel.VIEW, ada.id)
        # The statistics know the large one only.
        await database.fetch("ANALYZE uploads")
        tiny = await writes.create_batch(tenant.id, ada.id, "tiny", [NewObject("tiny", "[]", file(1))])
    everything, one = Scope(tenant.id), Scope(tenant.id, Granted(bob.id))
    for scope, batch in ((everything, large), (everything, tiny), (one, large)):
        assert await blocks_read(url, batches.standings(scope, [batch.batch["id"]])) < FEW
    assert await blocks_read(url, batches.progress(everything, [large.batch["id"]])) < FILES * 3
    for scope, batch in ((everything, tiny), (one, large)):
        assert await blocks_read(url, batches.progress(scope, [batch.batch["id"]])) < FEW
