from datetime import timedelta

import strawberry

from access import keys
from access.policy import readable_keys
from graph.context import Info
from graph.types.keys import Key, seconds
from models import KeyScope

_DAY = 24 * 3600


@strawberry.input(description="An API key to make.")
class CreateKeyInput:
    name: str = strawberry.field(description="What it is for.")
    scope: KeyScope = strawberry.field(description="How far it lets its user go; no further than the key you use.")
    expires_in: int | None = strawberry.field(
        description="Seconds that it works for; always when absent.", default=None
    )
    user_name: str | None = strawberry.field(
        description="Whose it is to be; yours when absent. Keys of others need ADMIN access.", default=None
    )


@strawberry.input(description="A key to replace.")
class RotateKeyInput:
    key_id: str = strawberry.field(description="The key's public part.")
    overlap: int = strawberry.field(description="Seconds that it goes on working for, up to 30 days.", default=_DAY)


@strawberry.input(description="A key to revoke.")
class RevokeKeyInput:
    key_id: str = strawberry.field(description="The key's public part.")


@strawberry.type(description="What was made.")
class CreateKeyPayload:
    key: Key = strawberry.field(description="The new key.")
    secret: str = strawberry.field(description="The key, whole, for `Authorization: Bearer`. It is shown only now.")


@strawberry.type(description="What was made and what it replaces.")
class RotateKeyPayload:
    key: Key = strawberry.field(
        description="The new key, with the user, name, scope and length of life of the old one."
    )
    secret: str = strawberry.field(description="The new key, whole. It is shown only now.")
    replaced: Key = strawberry.field(description="The old key with the time of its end.")


@strawberry.type(description="What was revoked.")
class RevokeKeyPayload:
    key: Key = strawberry.field(description="The key, which is refused from now on.")


@strawberry.type
class CreateKey:
    @strawberry.mutation(description="Make an API key, for yourself or, with ADMIN access, for another user.")
    async def create_key(self, info: Info, input: CreateKeyInput) -> CreateKeyPayload:  # noqa: A002
        lifetime = seconds(input.expires_in)
        row, whole = await keys.create(info.context.viewer, input.user_name, input.name, input.scope, lifetime)
        return CreateKeyPayload(key=Key.of(row), secret=whole)


@strawberry.type
class RotateKey:
    @strawberry.mutation(description="Make a key in the place of another, which goes on working for a while.")
    async def rotate_key(self, info: Info, input: RotateKeyInput) -> RotateKeyPayload:  # noqa: A002
        viewer, overlap = info.context.viewer, timedelta(seconds=input.overlap)
        old, new, whole = await keys.rotate(readable_keys(viewer), input.key_id, overlap, viewer)
        return RotateKeyPayload(key=Key.of(new), secret=whole, replaced=Key.of(old))


@strawberry.type
class RevokeKey:
    @strawberry.mutation(description="Refuse a key from the next request on, in every process. Nothing is deleted.")
    async def revoke_key(self, info: Info, input: RevokeKeyInput) -> RevokeKeyPayload:  # noqa: A002
        viewer = info.context.viewer
        return RevokeKeyPayload(key=Key.of(await keys.revoke(readable_keys(viewer), input.key_id, viewer)))
