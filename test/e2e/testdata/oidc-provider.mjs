// An oidc-provider that issues tokens by client credentials: at+jwt for
// resources that end in /jwt, opaque ones for the rest, and bound to a key where
// the client has one (DPoP, with a nonce). With a folder of server.crt, server.key,
// ca.crt and self-signed.crt it speaks TLS, and has clients that are known by their
// certificates, to which their tokens are bound (RFC 8705).
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, port, tls] = process.argv.slice(2);
const entry = createRequire(`${folder}/`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(entry));

const client = (id) => ({
  client_id: id, client_secret: `${id}-secret`, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
});

const read = (name) => readFileSync(join(tls, name));
const peer = (ctx) => ctx.socket.getPeerX509Certificate?.();

// known are the clients of RFC 8705 §2.1 and §2.2.
function known() {
  const own = new X509Certificate(read('self-signed.crt'));
  const jwk = { ...own.publicKey.export({ format: 'jwk' }), x5c: [own.raw.toString('base64')] };
  jwk['x5t#S256'] = createHash('sha256').update(own.raw).digest('base64url');
  const bound = (id, more) => ({ ...client(id), client_secret: undefined, tls_client_certificate_bound_access_tokens: true, ...more });
  return [
    bound('authorized', { token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_san_dns: 'client.example.com' }),
    bound('self-signed', { token_endpoint_auth_method: 'self_signed_tls_client_auth', jwks: { keys: [jwk] } }),
  ];
}

const provider = new Provider(`${tls ? 'https' : 'http'}://127.0.0.1:${port}`, {
  clients: [client('app'), client('gate'), ...(tls ? known() : [])],
  ...(tls ? { clientAuthMethods: ['client_secret_basic', 'tls_client_auth', 'self_signed_tls_client_auth'] } : {}),
  scopes: ['read', 'write'],
  enabledJWA: { dPoPSigningAlgValues: ['ES256', 'PS256', 'Ed25519', 'EdDSA'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    mTLS: {
      enabled: Boolean(tls),
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: peer,
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => peer(ctx).checkHost(expected) === expected,
    },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'read write', audience: resource, accessTokenTTL: 600, accessTokenFormat: resource.endsWith('/jwt') ? 'jwt' : 'opaque',
        ...(resource.endsWith('/jwt') ? { jwt: { sign: { alg: 'RS256' } } } : {}),
      }),
    },
  },
});
if (tls) {
  const options = { cert: read('server.crt'), key: read('server.key'), ca: read('ca.crt'), requestCert: true, rejectUnauthorized: false };
  createServer(options, provider.callback()).listen(Number(port), '127.0.0.1');
} else {
  provider.listen(Number(port), '127.0.0.1');
}
