// A key's life with Microsoft's own SDK for JavaScript, with its check of the challenge left on.
//
// What it needs comes from the environment, as for any program: HTTPS_PROXY and NODE_EXTRA_CA_CERTS of the emulator, AZURE_TENANT_ID,
// AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.
import assert from 'node:assert/strict';
import {createHash} from 'node:crypto';
import {DefaultAzureCredential} from '@azure/identity';
import {CryptographyClient, KeyClient} from '@azure/keyvault-keys';

const credential = new DefaultAzureCredential();
const refused = (statusCode, code) => error => error.statusCode === statusCode && [error.code, error.details?.error?.innerError?.code].includes(code);

async function life(url, kty) {
  const client = new KeyClient(url, credential);
  const first = await client.createRsaKey('js-rsa', {keySize: 2048, hsm: kty.endsWith('-HSM')});
  assert.equal(first.id, `${url}/keys/js-rsa/${first.properties.version}`);
  assert.equal(first.keyType, kty);
  const old = new CryptographyClient(first, credential);
  const wrapped = await old.wrapKey('RSA-OAEP-256', Buffer.from('seed'));
  const second = await client.rotateKey('js-rsa');
  assert.notEqual(second.id, first.id);
  assert.equal((await client.getKey('js-rsa')).id, second.id);
  assert.equal(Buffer.from((await old.unwrapKey('RSA-OAEP-256', wrapped.result)).result).toString(), 'seed');
  // By name, without a version: the newest.
  const newest = client.getCryptographyClient('js-rsa');
  await assert.rejects(newest.unwrapKey('RSA-OAEP-256', wrapped.result), refused(400, 'BadParameter'));
  const digest = createHash('sha256').update('text').digest();
  const signature = (await newest.sign('PS256', digest)).result;
  assert.equal((await newest.verify('PS256', digest, signature)).result, true);

  await client.updateKeyProperties('js-rsa', first.properties.version, {enabled: false, tags: {team: 'blue'}});
  await assert.rejects(new CryptographyClient(first.id, credential).unwrapKey('RSA-OAEP-256', wrapped.result), refused(403, 'KeyDisabled'));
  const policy = await client.updateKeyRotationPolicy('js-rsa', {lifetimeActions: [{action: 'Rotate', timeAfterCreate: 'P90D'}], expiresIn: 'P1Y'});
  assert.equal(policy.lifetimeActions[0].timeAfterCreate, 'P90D');

  const versions = [];
  for await (const one of client.listPropertiesOfKeyVersions('js-rsa')) versions.push(one.version);
  assert.equal(versions.length, 2);
  const backup = await client.backupKey('js-rsa');
  const deletion = await client.beginDeleteKey('js-rsa', {intervalInMs: 10});
  const deleted = await deletion.pollUntilDone();
  assert.equal(deleted.properties.recoveryId, `${url}/deletedkeys/js-rsa`);
  await assert.rejects(client.getKey('js-rsa'), refused(404, 'KeyNotFound'));
  const recovery = await client.beginRecoverDeletedKey('js-rsa', {intervalInMs: 10});
  assert.equal((await recovery.pollUntilDone()).id, second.id);
  await (await client.beginDeleteKey('js-rsa', {intervalInMs: 10})).pollUntilDone();
  await client.purgeDeletedKey('js-rsa');
  assert.equal((await client.restoreKeyBackup(backup)).id, second.id);
}

await life('https://kmslab.vault.azure.net', 'RSA');
await life('https://kmslab.managedhsm.azure.net', 'RSA-HSM');
const vault = new KeyClient('https://kmslab.vault.azure.net', credential);
const curve = await vault.createEcKey('js-ec', {curve: 'P-256K'});
const digest = createHash('sha256').update('text').digest();
const signer = new CryptographyClient(curve, credential);
const {result} = await signer.sign('ES256K', digest);
assert.equal((await signer.verify('ES256K', digest, result)).result, true);
await assert.rejects(vault.createOctKey('js-oct', {keySize: 256}), refused(400, 'BadParameter'));

const hsm = new KeyClient('https://kmslab.managedhsm.azure.net', credential);
const oct = await hsm.createOctKey('js-oct', {keySize: 256});
assert.equal(oct.keyType, 'oct-HSM');
const aes = new CryptographyClient(oct.id, credential);
const iv = Buffer.alloc(16, 1);
const sealed = await aes.encrypt({algorithm: 'A256CBCPAD', plaintext: Buffer.from('text'), iv});
assert.equal(Buffer.from((await aes.decrypt({algorithm: 'A256CBCPAD', ciphertext: sealed.result, iv})).result).toString(), 'text');
assert.equal((await hsm.getRandomBytes(32)).length, 32);
console.log('all held');
