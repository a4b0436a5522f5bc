// An oidc-provider with a login form: at+jwt access tokens for resources that
// end in /jwt, opaque ones for the rest.
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port] = process.argv.slice(2);
const entry = createRequire(`${folder}/`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(entry));

const callback = 'https://app.example.com/callback';
// The keys of a restarted server are others; the library's own are for everybody.
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: 'app', client_secret: 'app-secret', redirect_uris: [callback], post_logout_redirect_uris: [callback],
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'], response_types: ['code'],
      backchannel_logout_uri: `http://127.0.0.1:${Number(port) + 1}/`, backchannel_logout_session_required: true,
    },
    { client_id: 'bearergate', client_secret: 'bearergate-secret', grant_types: [], redirect_uris: [], response_types: [] },
  ],
  jwks: { keys: [key] },
  // The default refuses addresses such as 127.0.0.1, where the logout tokens go to.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  enabledJWA: { dPoPSigningAlgValues: ['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA'] },
  scopes: ['openid', 'offline_access', 'read', 'write'],
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    backchannelLogout: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'read write', audience: resource, accessTokenTTL: 600, accessTokenFormat: resource.endsWith('/jwt') ? 'jwt' : 'opaque',
        ...(resource.endsWith('/jwt') ? { jwt: { sign: { alg: 'RS256' } } } : {}),
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1');
