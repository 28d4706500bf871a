import secrets
from models import Tenant, User, database, quotas, writes, files
import pytest
from datetime import timedelta
from models.errors import QuotaExceeded
from models.writes import NewObject
from models.files import NewFile
pytestmark = pytest.mark.usefixtures("connected")

def file(size):
    return NewFile("a","b/c",size,None,"b",secrets.token_hex(),timedelta(hours=1))

async def test_it() -> None:
    t = await Tenant.create(slug=f"t{secrets.token_hex(6)}", quota_bytes=100, quota_objects=3)
    u = await User.create(tenant=t, name="u")
    made = await writes.create_batch(t.id, u.id, "b", [NewObject("o","[]",file(60))])
    print(await quotas.usage([t.id]))
    with pytest.raises(QuotaExceeded) as e:
        await writes.create_objects(t.id, made.batch, [NewObject("p","[]",file(60))])
    print(e.value, e.value.extensions)
    with pytest.raises(QuotaExceeded) as e:
        await writes.create_objects(t.id, made.batch, [NewObject(f"p{n}","[]") for n in range(3)])
    print(e.value, e.value.extensions)
    await writes.delete_batch(t.id, made.batch["id"], cascade=True)
    print(await quotas.usage([t.id]), await database.fetch("select * from usage_changes"))
