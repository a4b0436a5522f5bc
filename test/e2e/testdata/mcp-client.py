"""An MCP client of the Python SDK: finds its way to a token from the challenge,
and calls two tools. Argument: the resource."""

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth.oauth2 import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata

CALLBACK = "http://127.0.0.1:1/callback"


class Storage:
    tokens = None
    client = OAuthClientInformationFull(
        client_id="gate",
        client_secret="s3cret",
        redirect_uris=[CALLBACK],
        token_endpoint_auth_method="client_secret_basic",
    )

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class User:
    """Consents at once."""

    async def visit(self, url):
        async with httpx2.AsyncClient() as browser:
            answer = await browser.get(url, follow_redirects=False)
        self.query = parse_qs(urlsplit(answer.headers["location"]).query)

    async def come_back(self):
        q = {name: values[0] for name, values in self.query.items()}
        return AuthorizationCodeResult(code=q["code"], state=q.get("state"), iss=q.get("iss"))


async def main(resource):
    user = User()
    auth = OAuthClientProvider(
        server_url=resource,
        client_metadata=OAuthClientMetadata(redirect_uris=[CALLBACK], token_endpoint_auth_method="client_secret_basic"),
        storage=Storage(),
        redirect_handler=user.visit,
        callback_handler=user.come_back,
    )
    async with httpx2.AsyncClient(auth=auth) as http:
        async with Client(streamable_http_client(resource, http_client=http)) as client:
            for name in ("greet", "delete"):
                result = await client.call_tool(name, {"name": "world"})
                print(result.content[0].text)


asyncio.run(main(sys.argv[1]))
