// An MCP client of the TypeScript SDK: finds its way to a token from the
// challenge, and calls two tools. Arguments: the folder of the SDK, the resource.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, resource] = process.argv.slice(2);
const sdk = (name) => import(pathToFileURL(createRequire(`${folder}/`).resolve(`@modelcontextprotocol/sdk/client/${name}`)));
const { Client } = await sdk('index.js');
const { UnauthorizedError } = await sdk('auth.js');
const { StreamableHTTPClientTransport } = await sdk('streamableHttp.js');

const callback = 'http://127.0.0.1:1/callback';
let tokens;
let verifier;
let code;
const provider = {
  redirectUrl: callback,
  clientMetadata: { redirect_uris: [callback], token_endpoint_auth_method: 'client_secret_basic' },
  clientInformation: () => ({ client_id: 'gate', client_secret: 's3cret' }),
  tokens: () => tokens,
  saveTokens: (got) => { tokens = got; },
  saveCodeVerifier: (made) => { verifier = made; },
  codeVerifier: () => verifier,
  // The user consents at once.
  redirectToAuthorization: async (url) => {
    const answer = await fetch(url, { redirect: 'manual' });
    code = new URL(answer.headers.get('location')).searchParams.get('code');
  },
};

let client;
const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider });
  client = new Client({ name: 'client', version: '1' });
  try {
    await client.connect(transport);
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(code);
    await connect();
  }
};
await connect();
for (const name of ['greet', 'delete']) {
  const result = await client.callTool({ name, arguments: { name: 'world' } });
  console.log(result.content[0].text);
}
await client.close();
