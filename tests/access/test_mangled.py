"""Whatever is changed of a credential that works, it works no more."""

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import User
from tests.access.issuer import Issuer
from tests.access.test_credentials import post
from tests.access.test_tokens import token_of
from tests.conftest import Caller

_PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


@pytest.fixture(params=["key", "token", "oidc"])
async def credential(request: pytest.FixtureRequest, admin: Caller, issuer: Issuer) -> str:
    if request.param == "key":
        return admin.key
    if request.param == "token":
        return token_of(admin)
    await User.filter(id=admin.user.id).update(oidc_subject=f"mangled|{admin.user.id}")
    return issuer.token(f"mangled|{admin.user.id}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_mangled_credential_opens_the_door(
    with_tokens: httpx.AsyncClient, credential: str, data: st.DataObject
) -> None:
    """Exchanged, left out, put in or cut off, anywhere, the ends included; the last characters of a signature too."""
    start = data.draw(st.integers(0, len(credential)) | st.integers(len(credential) - 3, len(credential)))
    end = data.draw(st.integers(start, min(len(credential), start + 4)))
    mangled = credential[:start] + data.draw(st.text(_PRINTABLE, max_size=4)) + credential[end:]
    expected = 200 if mangled == credential else 401
    assert (await post(with_tokens, f"Bearer {mangled}")).status_code == expected
