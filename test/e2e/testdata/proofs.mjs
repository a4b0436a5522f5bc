// Makes DPoP proofs with the npm package dpop: answers each line of JSON on stdin
// with one on stdout. {library, alg} names a key, which is made at its first
// mention; with {url, method, token, nonce} the answer has a proof too.
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(createRequire(`${folder}/`).resolve(name)));
const libraries = { dpop: await load('dpop'), 'dpop-1': await load('dpop-1') };
const keys = {};

// RFC 7638, by hand: neither version of the package does it.
const members = { EC: ['crv', 'kty', 'x', 'y'], RSA: ['e', 'kty', 'n'], OKP: ['crv', 'kty', 'x'] };
async function thumbprint(key) {
  const jwk = await crypto.subtle.exportKey('jwk', key);
  const text = JSON.stringify(Object.fromEntries(members[jwk.kty].map((name) => [name, jwk[name]])));
  return createHash('sha256').update(text).digest('base64url');
}

for await (const line of createInterface({ input: process.stdin })) {
  const { library, alg, url, method, token, nonce } = JSON.parse(line);
  const { generateKeyPair, generateProof, default: generateProof1 } = libraries[library];
  const pair = (keys[`${library} ${alg}`] ||= await generateKeyPair(alg));
  const answer = { jkt: await thumbprint(pair.publicKey) };
  if (url) answer.proof = await (generateProof ?? generateProof1)(pair, url, method, nonce, token);
  console.log(JSON.stringify(answer));
}
