// Runs jsforce against a simulated org: node jsforce.mjs http://127.0.0.1:8090
// Every step prints a line; the first that fails ends the program with status 1.
import assert from 'node:assert/strict';
import jsforce from 'jsforce';

const loginUrl = process.argv[2] ?? 'http://127.0.0.1:8090';
const clientId = '3MVG9TandemSimulatedOrgConsumerKey0000000001';
const clientSecret = 'SIMULATED7A5C0FFEE0DDBA11SECRET0000000000000000000000000000000001';
const redirectUri = 'http://localhost/callback';

async function step(name, fn) {
  try {
    const said = await fn();
    console.log(`ok   ${name}${said === undefined ? '' : `: ${said}`}`);
  } catch (e) {
    console.log(`FAIL ${name}: ${e.stack ?? e}`);
    process.exit(1);
  }
}

// The web server flow with PKCE, answered for the person by approve=allow.
const oauth2 = new jsforce.OAuth2({ loginUrl, clientId, clientSecret, redirectUri, useVerifier: true });
let conn;

await step('oauth: authorize, exchange, identity', async () => {
  const url = new URL(oauth2.getAuthorizationUrl({ scope: 'api refresh_token id', state: 'xyz' }));
  url.searchParams.set('approve', 'allow');
  const back = await fetch(url, { redirect: 'manual' });
  assert.equal(back.status, 302);
  const location = new URL(back.headers.get('location'));
  assert.equal(location.searchParams.get('state'), 'xyz');
  conn = new jsforce.Connection({ oauth2, version: '68.0' });
  const user = await conn.authorize(location.searchParams.get('code'));
  assert.match(user.organizationId, /^00D\w{15}$/);
  const identity = await conn.identity();
  assert.equal(identity.user_id, user.id);
  return identity.username;
});

await step('oauth: an ended session is refreshed once and the call repeated', async () => {
  await fetch(`${loginUrl}/simorg/control/expire-sessions`, { method: 'POST' });
  let refreshed = 0;
  conn.on('refresh', (token, reply) => {
    refreshed++;
    // Where refresh tokens rotate, the old one is dead by now; keeping the new one is up to jsforce's user.
    if (reply.refresh_token) conn.refreshToken = reply.refresh_token;
  });
  const r = await conn.query('SELECT Id FROM Lead LIMIT 1');
  assert.equal(r.records.length, 1);
  assert.equal(refreshed, 1);
});

await step('oauth: client credentials', async () => {
  const r = await new jsforce.OAuth2({ loginUrl, clientId, clientSecret }).requestToken({ grant_type: 'client_credentials' });
  const c = new jsforce.Connection({ instanceUrl: r.instance_url, accessToken: r.access_token, version: '68.0' });
  const limits = await c.request('/limits');
  assert.ok(limits.DailyApiRequests.Max > 0);
  assert.ok(c.limitInfo.apiUsage.limit > 0);
});

await step('versions and describe', async () => {
  const versions = await conn.request('/services/data');
  assert.equal(versions.at(-1).version, '68.0');
  const all = await conn.describeGlobal();
  assert.ok(all.sobjects.some((o) => o.name === 'Subscription__c' && o.custom));
  const lead = await conn.describe('Lead');
  const owner = lead.fields.find((f) => f.name === 'OwnerId');
  assert.deepEqual(owner.referenceTo, ['Group', 'User']);
  assert.equal(lead.fields.find((f) => f.name === 'LastName').nillable, false);
  return `${all.sobjects.length} objects, ${lead.fields.length} fields of Lead`;
});

await step('query: pages, relationships, subqueries, aggregates', async () => {
  const leads = await conn.query('SELECT Id, Name, Owner.Name, Owner.Type FROM Lead', { autoFetch: true, maxFetch: 100000 });
  assert.equal(leads.records.length, leads.totalSize);
  const first = await conn.query('SELECT Id FROM Lead');
  if (!first.done) {
    const more = await conn.queryMore(first.nextRecordsUrl);
    assert.ok(more.records.length > 0);
  }
  const accounts = await conn.query('SELECT Name, (SELECT LastName FROM Contacts) FROM Account LIMIT 50');
  assert.ok(accounts.records.some((a) => a.Contacts && a.Contacts.records.length > 0));
  const count = await conn.query('SELECT COUNT(Id) n, Status FROM Lead WHERE IsConverted = false GROUP BY Status');
  assert.ok(count.records.length > 1);
  const users = await conn.query('SELECT Username FROM User WHERE IsActive = true');
  assert.ok(users.totalSize > 1);
  return `${leads.records.length} leads`;
});

await step('queryAll: deleted rows are there', async () => {
  const live = await conn.query('SELECT COUNT() FROM Lead');
  const all = await conn.query('SELECT COUNT() FROM Lead', { scanAll: true });
  assert.ok(all.totalSize > live.totalSize);
  return `${live.totalSize} live of ${all.totalSize}`;
});

let id;
await step('records: create, retrieve, update, upsert, destroy', async () => {
  const made = await conn.sobject('Lead').create({ LastName: 'Straße', FirstName: 'Zoë "Z"', Company: 'A, B & C' });
  assert.equal(made.success, true);
  id = made.id;
  const got = await conn.sobject('Lead').retrieve(id);
  assert.equal(got.FirstName, 'Zoë "Z"');
  assert.equal(got.Status, 'Open - Not Contacted');
  assert.equal((await conn.sobject('Lead').update({ Id: id, Title: 'Chef' })).success, true);
  const key = `jsforce-${Date.now()}`;
  assert.equal((await conn.sobject('Lead').upsert({ External_Key__c: key, LastName: 'U', Company: 'C' }, 'External_Key__c')).success, true);
  const again = await conn.sobject('Lead').upsert({ External_Key__c: key, LastName: 'V' }, 'External_Key__c');
  assert.equal(again.success, true);
  assert.equal((await conn.sobject('Lead').findOne({ External_Key__c: key })).LastName, 'V');
  assert.equal((await conn.sobject('Lead').destroy(id)).success, true);
  await assert.rejects(conn.sobject('Lead').retrieve(id), { errorCode: 'ENTITY_IS_DELETED' });
});

await step('records: refusals have their codes', async () => {
  await assert.rejects(conn.sobject('Lead').create({ FirstName: 'x' }), { errorCode: 'REQUIRED_FIELD_MISSING' });
  await assert.rejects(conn.sobject('Lead').create({ LastName: 'x', Company: 'y', Nope: 1 }), { errorCode: 'INVALID_FIELD' });
  await assert.rejects(conn.query('SELECT Nope FROM Lead'), { errorCode: 'INVALID_FIELD' });
  await assert.rejects(conn.query('SELECT Id FORM Lead'), { errorCode: 'MALFORMED_QUERY' });
  await assert.rejects(conn.query('SELECT Id FROM Nope'), { errorCode: 'INVALID_TYPE' });
});

await step('collections: many at once, some refused', async () => {
  const made = await conn.sobject('Contact').create([{ LastName: 'One' }, { FirstName: 'no last name' }, { LastName: 'Three' }]);
  assert.deepEqual(made.map((r) => r.success), [true, false, true]);
  assert.equal(made[1].errors[0].statusCode, 'REQUIRED_FIELD_MISSING');
  const ids = made.filter((r) => r.success).map((r) => r.id);
  const changed = await conn.sobject('Contact').update(ids.map((Id) => ({ Id, Title: 'T' })));
  assert.ok(changed.every((r) => r.success));
  const got = await conn.sobject('Contact').retrieve(ids);
  assert.deepEqual(got.map((r) => r.Title), ['T', 'T']);
  assert.ok((await conn.sobject('Contact').destroy(ids)).every((r) => r.success));
});

await step('updated and deleted', async () => {
  const start = new Date(Date.now() - 3600_000);
  const end = new Date(Date.now() + 120_000);
  const updated = await conn.sobject('Lead').updated(start, end);
  assert.ok(updated.ids.length > 0);
  const deleted = await conn.sobject('Lead').deleted(start, end);
  assert.ok(deleted.deletedRecords.some((r) => r.id === id));
});

await step('bulk 2.0: query', async () => {
  const stream = await conn.bulk2.query("SELECT Id, Name, Owner.Name, Description FROM Lead WHERE Status = 'Open - Not Contacted'", { pollTimeout: 20000, pollInterval: 50 });
  const rows = await stream.toArray();
  const { totalSize } = await conn.query("SELECT COUNT() FROM Lead WHERE Status = 'Open - Not Contacted'");
  assert.equal(rows.length, totalSize);
  assert.ok('Owner.Name' in rows[0]);
  return `${rows.length} rows`;
});

await step('bulk 2.0: ingest', async () => {
  conn.bulk2.pollInterval = 50;
  const done = await conn.bulk2.loadAndWaitForResults({ object: 'Lead', operation: 'insert', input: [{ LastName: 'Bulk, one', Company: 'C' }, { LastName: '', Company: 'C' }], pollInterval: 50, pollTimeout: 20000 });
  assert.equal(done.successfulResults.length, 1);
  assert.equal(done.failedResults.length, 1);
  assert.match(done.failedResults[0].sf__Error, /^REQUIRED_FIELD_MISSING:/);
  assert.equal(done.successfulResults[0].sf__Created, 'true');
});

await step('collections: upsert by external id, all or none', async () => {
  const first = await conn.sobject('Contact').upsert([{ Marketing_Id__c: 'js-1', LastName: 'One' }, { Marketing_Id__c: 'js-2', LastName: 'Two' }], 'Marketing_Id__c');
  assert.deepEqual(first.map((r) => r.created), [true, true]);
  const again = await conn.sobject('Contact').upsert([{ Marketing_Id__c: 'js-2', Title: 'T' }, { Marketing_Id__c: 'js-3', FirstName: 'nobody' }], 'Marketing_Id__c');
  assert.deepEqual(again.map((r) => r.success), [true, false]);
  assert.equal(again[0].created, false);
  assert.equal(again[0].id, first[1].id);
  const rolledBack = await conn.sobject('Contact').create([{ LastName: 'Three' }, {}], { allOrNone: true });
  assert.ok(rolledBack.every((r) => !r.success));
  assert.equal(rolledBack[0].errors[0].statusCode, 'ALL_OR_NONE_OPERATION_ROLLED_BACK');
});

await step('bulk 2.0: upsert, update and delete', async () => {
  const load = (operation, input, externalIdFieldName) => conn.bulk2.loadAndWaitForResults({ object: 'Lead', operation, externalIdFieldName, input, pollInterval: 50, pollTimeout: 20000 });
  const up = await load('upsert', [{ Marketing_Id__c: 'jb-1', LastName: 'One', Company: 'C' }, { Marketing_Id__c: 'jb-2', LastName: 'Two', Company: 'C' }], 'Marketing_Id__c');
  assert.equal(up.successfulResults.length, 2);
  const ids = Object.fromEntries(up.successfulResults.map((r) => [r.Marketing_Id__c, r.sf__Id]));
  const changed = await load('update', [{ Id: ids['jb-1'], Title: 'T', Company: '' }]);
  assert.equal(changed.successfulResults[0].sf__Created, 'false');
  const got = await conn.sobject('Lead').retrieve(ids['jb-1']);
  assert.deepEqual([got.Title, got.Company], ['T', 'C']);
  const gone = await load('delete', [{ Id: ids['jb-1'] }, { Id: ids['jb-1'] }]);
  assert.equal(gone.successfulResults.length, 1);
  assert.match(gone.failedResults[0].sf__Error, /^ENTITY_IS_DELETED:/);
});

await step('describe says what can be written', async () => {
  const lead = await conn.describe('Lead');
  const key = lead.fields.find((f) => f.name === 'Marketing_Id__c');
  assert.deepEqual([key.externalId, key.unique, key.createable, key.updateable], [true, true, true, true]);
  const name = lead.fields.find((f) => f.name === 'Name');
  assert.deepEqual([name.createable, name.updateable], [false, false]);
});

await step('revoke', async () => {
  await conn.logout(true);
  await assert.rejects(conn.query('SELECT Id FROM Lead LIMIT 1'));
});
console.log('all steps passed');
