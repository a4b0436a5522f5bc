"""An MCP client of the Python SDK: finds its way to a token from the challenge,
and calls two tools. Argument: the resource. It prints what it was told and what
it asked for."""

import asyncio
import re
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
        q = parse_qs(urlsplit(url).query)
        print("authorize", q["scope"][0], q["resource"][0])
        async with httpx2.AsyncClient() as browser:
            answer = await browser.get(url, follow_redirects=False)
        self.query = parse_qs(urlsplit(answer.headers["location"]).query)

    async def come_back(self):
        q = {name: values[0] for name, values in self.query.items()}
        return AuthorizationCodeResult(code=q["code"], state=q.get("state"), iss=q.get("iss"))


async def asked(request):
    if request.url.path == "/token":
        form = parse_qs(request.content.decode())
        print("token", form["grant_type"][0], form["resource"][0])


async def told(response):
    if response.status_code in (401, 403):
        challenge = response.headers["www-authenticate"]
        print(response.status_code, *re.findall(' (?:error|scope)="([^"]*)"', challenge))


async def main(resource):
    user = User()
    auth = OAuthClientProvider(
        server_url=resource,
        client_metadata=OAuthClientMetadata(redirect_uris=[CALLBACK], token_endpoint_auth_method="client_secret_basic"),
        storage=Storage(),
        redirect_handler=user.visit,
        callback_handler=user.come_back,
    )
    async with httpx2.AsyncClient(auth=auth, event_hooks={"request": [asked], "response": [told]}) as http:
        async with Client(streamable_http_client(resource, http_client=http)) as client:
            for name in ("greet", "delete"):
                result = await client.call_tool(name, {"name": "world"})
                print(result.content[0].text)


asyncio.run(main(sys.argv[1]))
