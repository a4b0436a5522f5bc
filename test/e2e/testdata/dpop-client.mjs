// A client that none of us wrote, oauth4webapi, gets a bound token from an
// authorization server by client credentials, and uses it at a resource twice. It
// prints what happened as JSON.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, settings] = process.argv.slice(2);
const oauth = await import(pathToFileURL(createRequire(`${folder}/`).resolve('oauth4webapi')));
const { issuer, algorithm, id, secret, parameters, resource } = JSON.parse(settings);

const insecure = { [oauth.allowInsecureRequests]: true }; // everything is on loopback
const discovery = await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oidc', ...insecure });
const server = await oauth.processDiscoveryResponse(new URL(issuer), discovery);
const client = { client_id: id };
// The library names Ed25519 as RFC 9864 does; the older name is asked for by hand.
const options = algorithm === 'EdDSA' ? { [oauth.modifyAssertion]: (header) => { header.alg = 'EdDSA'; } } : undefined;
const pair = await oauth.generateKeyPair(algorithm === 'EdDSA' ? 'Ed25519' : algorithm);
const DPoP = oauth.DPoP(client, pair, options);
const seen = { nonces: { token: 0, resource: 0 }, statuses: [] };

// again repeats what failed for want of a nonce, as the library's examples do.
async function again(where, call) {
  try {
    return await call();
  } catch (err) {
    if (!oauth.isDPoPNonceError(err)) throw err;
    seen.nonces[where]++;
    return call();
  }
}

const answer = await again('token', async () => {
  const response = await oauth.clientCredentialsGrantRequest(
    server, client, oauth.ClientSecretBasic(secret), parameters, { DPoP, ...insecure },
  );
  return oauth.processClientCredentialsResponse(server, client, response);
});
seen.token = answer.access_token;
seen.tokenType = answer.token_type;
for (let n = 0; n < 2; n++) {
  const response = await again('resource', () => oauth.protectedResourceRequest(
    answer.access_token, 'GET', new URL(resource), undefined, undefined, { DPoP, ...insecure },
  ));
  seen.statuses.push(response.status);
}
console.log(JSON.stringify(seen));
