// An oidc-provider that issues tokens by client credentials: at+jwt for
// resources that end in /jwt, opaque ones for the rest.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port] = process.argv.slice(2);
const entry = createRequire(`${folder}/`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(entry));

const client = (id) => ({
  client_id: id, client_secret: `${id}-secret`, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client('app'), client('gate')],
  scopes: ['read', 'write'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
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
provider.listen(Number(port), '127.0.0.1');
