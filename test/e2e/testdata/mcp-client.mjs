// An MCP client of the TypeScript SDK: finds its way to a token from the
// challenge, and calls two tools. Arguments: the folder of the SDK, the
// resource, the package (`sdk` is version 1, `client` version 2), and `refresh`
// where the authorization server gives refresh tokens. It prints what it was
// told and what it asked for.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, resource, name, refresh] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(createRequire(`${folder}/`).resolve(`@modelcontextprotocol/${path}`)));
const { Client, UnauthorizedError, StreamableHTTPClientTransport } = name === 'client' ? await load('client') : {
  ...await load('sdk/client/index.js'), ...await load('sdk/client/auth.js'), ...await load('sdk/client/streamableHttp.js'),
};

const callback = 'http://127.0.0.1:1/callback';
let tokens;
let verifier;
let came; // what came back from the authorization endpoint
let discovered;
let consented = 'mcp:read';
const provider = {
  redirectUrl: callback,
  clientMetadata: { redirect_uris: [callback], token_endpoint_auth_method: 'client_secret_basic' },
  clientInformation: () => ({ client_id: 'gate', client_secret: 's3cret' }),
  tokens: () => tokens,
  saveTokens: (got) => { tokens = got; },
  saveCodeVerifier: (made) => { verifier = made; },
  codeVerifier: () => verifier,
  discoveryState: () => discovered,
  saveDiscoveryState: (state) => { discovered = state; },
  // The user consents to reading alone, and when asked again to everything.
  redirectToAuthorization: async (url) => {
    console.log('authorize', url.searchParams.get('scope'), url.searchParams.get('resource'));
    url.searchParams.set('scope', consented);
    consented = 'mcp:read mcp:write';
    const answer = await fetch(url, { redirect: 'manual' });
    came = new URL(answer.headers.get('location')).searchParams;
  },
};

// The authorization server of the test gives no refresh tokens, so they are
// added here. One brings what was granted before, and no more (RFC 6749 §6).
let granted;
const tokenEndpoint = async (url, init) => {
  const form = new URLSearchParams(init.body);
  console.log('token', form.get('grant_type'), form.get('resource'));
  if (form.get('grant_type') === 'authorization_code') {
    granted = { ...await (await fetch(url, init)).json(), ...(refresh && { refresh_token: 'again' }) };
  }
  return Response.json(granted);
};

// What goes over the wire, but for what the browser does.
const wire = async (url, init) => {
  if (new URL(url).pathname === '/token') return tokenEndpoint(url, init);
  const answer = await fetch(url, init);
  if (answer.status === 401 || answer.status === 403) {
    const challenge = answer.headers.get('www-authenticate');
    console.log(answer.status, ...[...challenge.matchAll(/ (?:error|scope)="([^"]*)"/g)].map((found) => found[1]));
  }
  return answer;
};

// attempt does what needs a token, and once more after each time that the user
// was asked.
let transport;
const attempt = async (act) => {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      await transport.finishAuth(came.get('code'), came.get('iss'));
    }
  }
};

let client;
try {
  await attempt(async () => {
    transport = new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider, fetch: wire });
    // Version 1 knows no protocol that names the tool in a header, and does not know this option.
    client = new Client({ name: 'client', version: '1' }, { versionNegotiation: { mode: 'auto' } });
    await client.connect(transport);
  });
  for (const tool of ['greet', 'delete']) {
    const result = await attempt(() => client.callTool({ name: tool, arguments: { name: 'world' } }));
    console.log(result.content[0].text);
  }
} catch (error) {
  console.log(error.message);
}
await client.close();
