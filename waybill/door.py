"""What lets requests in, made of the settings, with the background work that belongs to it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from access import canaries, oidc, uses, webhook
from access.credentials import Authenticator
from waybill.settings import Settings

_ANSWER_SECONDS = 5


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Authenticator]:
    """Inside of the database's own context, which it uses to the end."""
    async with AsyncExitStack() as stack:
        issuer = told = None
        if settings.oidc_issuer or str(settings.canary_webhook_url):
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=_ANSWER_SECONDS))
        if settings.oidc_issuer:
            config = oidc.Config(settings.oidc_issuer, settings.oidc_audience, settings.oidc_claim)
            issuer = await stack.enter_async_context(oidc.opened(config, client))
        if url := str(settings.canary_webhook_url):
            told = await stack.enter_async_context(webhook.telling(client, url, str(settings.canary_webhook_secret)))
        yield Authenticator(
            token_secret=str(settings.token_secret),
            issuer=issuer,
            uses=await stack.enter_async_context(uses.noting()),
            watch=await stack.enter_async_context(canaries.watching(told)),
        )
