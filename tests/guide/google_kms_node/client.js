// A key's life with Google's own client for Node.js, logged in by the metadata server and by nothing else.
import assert from 'node:assert/strict';
import {KeyManagementServiceClient} from '@google-cloud/kms';
import {GoogleAuth} from 'google-auth-library';

// As on a machine of Google's: no key file.
delete process.env.GOOGLE_APPLICATION_CREDENTIALS;

const auth = new GoogleAuth({scopes: 'https://www.googleapis.com/auth/cloud-platform'});
assert.equal(await auth.getProjectId(), 'kmslab');
const login = await auth.getClient();
assert.ok((await login.getAccessToken()).token.startsWith('ya29.'));
assert.equal((await auth.getCredentials()).client_email, 'kmslab@kmslab.iam.gserviceaccount.com');
const idClient = await auth.getIdTokenClient('https://example.com');
const idToken = await idClient.idTokenProvider.fetchIdToken('https://example.com');
assert.equal(JSON.parse(Buffer.from(idToken.split('.')[1], 'base64url')).aud, 'https://example.com');

const kms = new KeyManagementServiceClient();
const [ring] = await kms.createKeyRing({parent: 'projects/kmslab/locations/global', keyRingId: 'node', keyRing: {}});
const [key] = await kms.createCryptoKey({parent: ring.name, cryptoKeyId: 'k', cryptoKey: {purpose: 'ENCRYPT_DECRYPT'}});
const [sealed] = await kms.encrypt({name: key.name, plaintext: Buffer.from('text')});
assert.equal(sealed.name, `${key.name}/cryptoKeyVersions/1`);
const [version] = await kms.createCryptoKeyVersion({parent: key.name, cryptoKeyVersion: {}});
await kms.updateCryptoKeyPrimaryVersion({name: key.name, cryptoKeyVersionId: version.name.split('/').pop()});
const [again] = await kms.encrypt({name: key.name, plaintext: Buffer.from('text')});
assert.equal(again.name, version.name);
for (const {ciphertext} of [sealed, again]) {
  const [opened] = await kms.decrypt({name: key.name, ciphertext});
  assert.equal(Buffer.from(opened.plaintext).toString(), 'text');
}
await assert.rejects(kms.decrypt({name: key.name, ciphertext: Buffer.from('nothing')}), {code: 3});
const names = [];
for await (const one of kms.listCryptoKeyVersionsAsync({parent: key.name})) names.push(one.name);
assert.equal(names.length, 2);
console.log('all held');
