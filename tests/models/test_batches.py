"""What is asked of whole batches is answered by indexes, however large a batch is."""

import secrets

import pytest

from models import AccessLevel, Role, Tenant, User, batches, database, grants, writes
from models.filters import Granted
from models.grants import Thing
from models.pages import Scope
from models.writes import NewObject
from tests.models.test_plans import blocks_read
from tests.models.test_quotas import file

FILES = 3_000


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("state", ["PENDING", "COMPLETE"])
async def test_state_of_a_batch_is_a_few_probes_and_progress_reads_its_files_once(own_url: str, state: str) -> None:
    tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
    ada, bob = [await User.create(tenant=tenant, name=name, role=Role.MEMBER) for name in ("ada", "bob")]
    new = [NewObject(f"o{number}", "[]", file(1)) for number in range(FILES)]
    made = await writes.create_batch(tenant.id, ada.id, "b", new)
    pk = made.batch["id"]
    if state == "COMPLETE":
        await database.execute(
            "UPDATE uploads SET state = 'COMPLETE', completed_at = now() WHERE tenant_id = $1", tenant.id
        )
    await grants.give(tenant.id, bob.id, Thing(pk, made.object_keys[0]), AccessLevel.VIEW, by_id=ada.id)
    for scope in (Scope(tenant.id), Scope(tenant.id, Granted(bob.id))):
        assert await blocks_read(own_url, batches.standings(scope, [pk])) < FILES / 20
    assert await blocks_read(own_url, batches.progress(Scope(tenant.id), [pk])) < FILES * 3
    assert await blocks_read(own_url, batches.progress(Scope(tenant.id, Granted(bob.id)), [pk])) < 60
