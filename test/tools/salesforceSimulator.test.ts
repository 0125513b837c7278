import { createSign, generateKeyPairSync } from 'node:crypto';
import jsforce from 'jsforce';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type SalesforceSimulator,
  SIMULATED_APP,
  startSalesforceSimulator,
} from '../../tools/salesforce-simulator/simulator.ts';

/* The simulator as the real jsforce sees it. */

const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
const app = {
  ...SIMULATED_APP,
  publicKey: keys.publicKey.export({ type: 'spki', format: 'pem' }) as string,
};
const PERSON = { LastName: 'Lovelace', Company: 'Example', Email: 'ada@example.com' };

let simulator: SalesforceSimulator;
let connection: InstanceType<typeof jsforce.Connection>;
beforeEach(async () => {
  simulator = await startSalesforceSimulator({ app });
  connection = new jsforce.Connection({ version: '62.0', ...(await token()) });
});
afterEach(() => simulator.close());

async function token(params: Record<string, string> = {}) {
  const oauth2 = new jsforce.OAuth2({ loginUrl: simulator.url, clientId: 'heed' });
  const answer = await oauth2.requestToken({
    grant_type: 'client_credentials',
    client_secret: 'simulated-secret',
    ...params,
  });
  return { instanceUrl: answer.instance_url, accessToken: answer.access_token };
}

function assertion(claims: object = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 120;
  const signed = `${part({ alg: 'RS256' })}.${part({ iss: 'heed', sub: 'heed@example.com', aud: simulator.url, exp, ...claims })}`;
  return `${signed}.${createSign('RSA-SHA256').update(signed).sign(keys.privateKey, 'base64url')}`;
}

/** Requests that are made once, so that what is refused is seen at once. */
function post(path: string, body: unknown, method: 'POST' | 'PATCH' = 'POST') {
  return connection.request<never>(
    {
      method,
      url: `/services/data/v62.0${path}`,
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    },
    {},
  );
}

async function codeOf(work: PromiseLike<unknown>): Promise<string> {
  return work.then(
    () => 'no error',
    (error: { errorCode?: string; name: string }) => error.errorCode ?? error.name,
  );
}

describe('OAuth', () => {
  test('client credentials and a JWT give tokens, wrong ones do not', async () => {
    const grant = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
    expect((await token({ grant_type: grant, assertion: assertion() })).accessToken).toMatch(/^00D/);
    await expect(token({ client_secret: 'wrong' })).rejects.toThrow('invalid client credentials');
    await expect(
      token({ grant_type: grant, assertion: assertion({ sub: 'eve@example.com' }) }),
    ).rejects.toThrow('approved');
    await expect(token({ grant_type: grant, assertion: assertion({ exp: 1 }) })).rejects.toThrow('expired');
    const [head, , signature] = assertion().split('.');
    const forged = `${head}.${assertion({ iss: 'other' }).split('.')[1]}.${signature}`;
    await expect(token({ grant_type: grant, assertion: forged })).rejects.toThrow('invalid assertion');
  });

  test('an ended session is refused until there is a new token', async () => {
    simulator.tokens.expireSessions();
    expect(await codeOf(connection.query('SELECT Id FROM Lead'))).toBe('INVALID_SESSION_ID');
    connection.accessToken = (await token()).accessToken;
    expect((await connection.query('SELECT Id FROM Lead')).totalSize).toBe(0);
  });
});

describe('describe and field-level security', () => {
  test('tells types, lengths and rights; the bounce fields are updated but not created', async () => {
    simulator.org.addCustomField('Lead', 'Plan__c', 'string', 20);
    const { fields } = await connection.sobject('Lead').describe();
    const named = (name: string) => fields.find((each) => each.name === name);
    expect(named('EmailBouncedReason')).toMatchObject({ length: 255, createable: false, updateable: true });
    expect(named('IsEmailBounced')).toMatchObject({ updateable: false, type: 'boolean' });
    expect(named('Plan__c')).toMatchObject({ custom: true, length: 20 });
  });

  test('a hidden field is nowhere: not described, not queried, not written', async () => {
    const id = simulator.org.create('Lead', PERSON);
    simulator.org.setAccess('Lead', 'HasOptedOutOfEmail', 'hidden');
    const { fields } = await connection.sobject('Lead').describe();
    expect(fields.map((each) => each.name)).not.toContain('HasOptedOutOfEmail');
    expect(await codeOf(connection.query('SELECT Id, HasOptedOutOfEmail FROM Lead'))).toBe('INVALID_FIELD');
    const update = connection.sobject('Lead').update({ Id: id, HasOptedOutOfEmail: true });
    expect(await codeOf(update)).toBe('INVALID_FIELD');
  });

  test('a read-only field is read and not written', async () => {
    const id = simulator.org.create('Lead', PERSON);
    simulator.org.setAccess('Lead', 'HasOptedOutOfEmail', 'readonly');
    expect((await connection.query('SELECT HasOptedOutOfEmail FROM Lead')).records).toHaveLength(1);
    const update = connection.sobject('Lead').update({ Id: id, HasOptedOutOfEmail: true });
    expect(await codeOf(update)).toBe('INVALID_FIELD_FOR_INSERT_UPDATE');
  });
});

describe('queries', () => {
  test('WHERE, IN, AND, OR, ORDER BY, LIMIT, COUNT()', async () => {
    for (const [index, LastName] of ['A', 'B', 'C', 'D'].entries()) {
      simulator.org.create('Lead', {
        ...PERSON,
        LastName,
        Email: `${LastName}@Example.com`,
        HasOptedOutOfEmail: index % 2 === 0,
      });
    }
    const names = async (rest: string) =>
      (await connection.query<{ LastName: string }>(`SELECT LastName FROM Lead ${rest}`)).records.map(
        (each) => each.LastName,
      );
    expect(await names('WHERE HasOptedOutOfEmail = true')).toEqual(['A', 'C']);
    expect(await names("WHERE Email IN ('b@example.com', 'D@EXAMPLE.COM')")).toEqual(['B', 'D']);
    expect(
      await names("WHERE (LastName = 'A' OR LastName = 'B') AND HasOptedOutOfEmail = false ORDER BY Id"),
    ).toEqual(['B']);
    expect(await names('ORDER BY LastName DESC LIMIT 2')).toEqual(['D', 'C']);
    expect((await connection.query('SELECT COUNT() FROM Lead')).totalSize).toBe(4);
    expect(await codeOf(connection.query('SELECT Id FRM Lead'))).toBe('MALFORMED_QUERY');
    expect(await codeOf(connection.query('SELECT Nothing__c FROM Lead'))).toBe('INVALID_FIELD');
  });

  test('many records come in batches of 2000, each fetched with its locator', async () => {
    for (let n = 0; n < 4_500; n += 1)
      simulator.org.create('Lead', { ...PERSON, Email: `p${n}@example.com` });
    const first = await connection.query('SELECT Id FROM Lead ORDER BY Id');
    expect([first.done, first.records.length, first.totalSize]).toEqual([false, 2_000, 4_500]);
    const second = await connection.queryMore(first.nextRecordsUrl!);
    const third = await connection.queryMore(second.nextRecordsUrl!);
    expect([third.done, third.records.length]).toEqual([true, 500]);
    const ids = [first, second, third].flatMap((each) => each.records.map((record) => record.Id!));
    expect(new Set(ids).size).toBe(4_500);
    expect(ids).toEqual(ids.toSorted());
  });

  test('times have the resolution of a second, and the next page begins behind them', async () => {
    const id = simulator.org.create('Lead', PERSON);
    const { records } = await connection.query<{ SystemModstamp: string }>('SELECT SystemModstamp FROM Lead');
    const stamp = records[0]!.SystemModstamp;
    expect(stamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000$/);
    const literal = stamp.replace('+0000', 'Z');
    const later = await connection.query(
      `SELECT Id FROM Lead WHERE SystemModstamp > ${literal} OR (SystemModstamp = ${literal} AND Id > '${id}')`,
    );
    expect(later.totalSize).toBe(0);
    expect((await connection.query(`SELECT Id FROM Lead WHERE SystemModstamp >= ${literal}`)).totalSize).toBe(
      1,
    );
  });
});

describe('deleted, merged and converted', () => {
  test('deleted records are found by queryAll and getDeleted alone, and can come back', async () => {
    const id = simulator.org.create('Lead', PERSON);
    const start = new Date(Date.now() - 60_000);
    await connection.sobject('Lead').destroy(id);
    expect((await connection.query('SELECT Id FROM Lead')).totalSize).toBe(0);
    const all = await connection.query<{ IsDeleted: boolean }>('SELECT Id, IsDeleted FROM Lead', {
      scanAll: true,
    });
    expect(all.records).toMatchObject([{ Id: id, IsDeleted: true }]);
    const end = new Date(Date.now() + 60_000);
    expect((await connection.deleted('Lead', start, end)).deletedRecords).toMatchObject([{ id }]);
    expect((await connection.updated('Lead', start, end)).ids).toEqual([]);
    expect(await codeOf(connection.sobject('Lead').update({ Id: id, Title: 'x' }))).toBe('ENTITY_IS_DELETED');
    simulator.org.undelete('Lead', id);
    expect((await connection.query('SELECT Id FROM Lead')).totalSize).toBe(1);
  });

  test('merge leaves the others with MasterRecordId', async () => {
    const [master, other] = [simulator.org.create('Lead', PERSON), simulator.org.create('Lead', PERSON)];
    const [merged] = await connection.soap.merge([
      { masterRecord: { type: 'Lead', Id: master } as never, recordToMergeIds: [other] },
    ]);
    expect(merged).toMatchObject({ success: true, id: master });
    const all = await connection.query('SELECT Id, IsDeleted, MasterRecordId FROM Lead', { scanAll: true });
    expect(all.records).toMatchObject([
      { Id: master, IsDeleted: false, MasterRecordId: null },
      { Id: other, IsDeleted: true, MasterRecordId: master },
    ]);
  });

  test('convertLead makes a contact, and the lead can be changed no more', async () => {
    const id = simulator.org.create('Lead', { ...PERSON, HasOptedOutOfEmail: true });
    const [converted] = await connection.soap.convertLead([
      { leadId: id, convertedStatus: 'Closed - Converted' } as never,
    ]);
    const contact = simulator.org.find('Contact', converted!.contactId!);
    expect(contact).toMatchObject({ Email: PERSON.Email, HasOptedOutOfEmail: true });
    const [lead] = (await connection.query('SELECT IsConverted, ConvertedContactId FROM Lead')).records;
    expect(lead).toMatchObject({ IsConverted: true, ConvertedContactId: contact!.Id });
    expect(await codeOf(connection.sobject('Lead').update({ Id: id, Title: 'x' }))).toBe(
      'CANNOT_UPDATE_CONVERTED_LEAD',
    );
  });
});

test('an org goes on with its records after it was away', async () => {
  const id = simulator.org.create('Lead', { ...PERSON, HasOptedOutOfEmail: true });
  const snapshot = JSON.parse(JSON.stringify(simulator.org.snapshot()));
  const other = await startSalesforceSimulator({ app });
  try {
    other.org.create('Contact', { LastName: 'Hopper' });
    other.org.restore(snapshot);
    expect(other.org.find('Lead', id)).toEqual(simulator.org.find('Lead', id));
    expect([...other.org.rows('Contact')]).toEqual([]);
    expect(other.org.create('Lead', PERSON)).toBe(simulator.org.create('Lead', PERSON));
  } finally {
    await other.close();
  }
});

describe('saving', () => {
  test('a collection has a result for each record, in order', async () => {
    const ids = [0, 1, 2, 3, 4].map((n) =>
      simulator.org.create('Lead', { ...PERSON, Email: `p${n}@example.com` }),
    );
    simulator.org.lock(ids[1]!, 1);
    simulator.org.delete('Lead', ids[2]!);
    simulator.org.validationRules.push({
      object: 'Lead',
      field: 'Title',
      refuses: 'Boss',
      message: 'No bosses',
    });
    const results = await connection.sobject('Lead').update(
      [
        { Id: ids[0]!, HasOptedOutOfEmail: true },
        { Id: ids[1]!, HasOptedOutOfEmail: true },
        { Id: ids[2]!, HasOptedOutOfEmail: true },
        { Id: ids[3]!, Title: 'Boss' },
        { Id: ids[4]!, FirstName: 'x'.repeat(41) },
      ],
      { allOrNone: false },
    );
    const codes = results.map((each) =>
      each.success ? 'ok' : (each.errors[0] as unknown as { statusCode: string }).statusCode,
    );
    expect(codes).toEqual([
      'ok',
      'UNABLE_TO_LOCK_ROW',
      'ENTITY_IS_DELETED',
      'FIELD_CUSTOM_VALIDATION_EXCEPTION',
      'STRING_TOO_LONG',
    ]);
    expect(simulator.org.find('Lead', ids[0]!)).toMatchObject({
      HasOptedOutOfEmail: true,
      LastModifiedById: simulator.org.users.integration,
    });
    expect(simulator.org.find('Lead', ids[3]!)).toMatchObject({ Title: null });
  });

  test('more than 200 at once are refused, and so are incomplete and wrong records', async () => {
    const records = Array.from({ length: 201 }, () => ({ attributes: { type: 'Lead' }, ...PERSON }));
    expect(await codeOf(post('/composite/sobjects', { allOrNone: false, records }))).toBe(
      'EXCEEDED_ID_LIMIT',
    );
    expect(await codeOf(post('/sobjects/Lead', { LastName: 'x' }))).toBe('REQUIRED_FIELD_MISSING');
    expect(await codeOf(post('/sobjects/Lead', { ...PERSON, Email: 'nobody' }))).toBe(
      'INVALID_EMAIL_ADDRESS',
    );
    expect(await codeOf(post('/sobjects/Lead', { ...PERSON, HasOptedOutOfEmail: 'yes' }))).toBe(
      'JSON_PARSER_ERROR',
    );
    const mixed = [PERSON, { ...PERSON, HasOptedOutOfEmail: 'yes' }];
    const leads = mixed.map((each) => ({ attributes: { type: 'Lead' }, ...each }));
    expect(await codeOf(post('/composite/sobjects', { allOrNone: false, records: leads }))).toBe(
      'JSON_PARSER_ERROR',
    );
    expect([...simulator.org.rows('Lead')]).toEqual([]);
    const created = { ...PERSON, EmailBouncedReason: 'x' };
    expect(await codeOf(post('/sobjects/Lead', created))).toBe('INVALID_FIELD_FOR_INSERT_UPDATE');
  });

  test('a duplicate rule that alerts is passed with allowSave', async () => {
    simulator.org.create('Lead', PERSON);
    simulator.org.duplicateRule = 'alert';
    expect(await codeOf(post('/sobjects/Lead', PERSON))).toBe('DUPLICATES_DETECTED');
    const saved = await connection
      .sobject('Lead')
      .create(PERSON, { headers: { 'Sforce-Duplicate-Rule-Header': 'allowSave=true' } });
    expect(saved.success).toBe(true);
  });
});

describe('limits and trouble', () => {
  test('each answer tells how many requests were used; beyond the limit they are refused', async () => {
    simulator.traffic.allowed = 2;
    await connection.query('SELECT Id FROM Lead');
    expect(connection.limitInfo.apiUsage).toEqual({ used: 1, limit: 2 });
    await connection.request('/services/data/v62.0/limits');
    expect(await codeOf(connection.query('SELECT Id FROM Lead'))).toBe('REQUEST_LIMIT_EXCEEDED');
    // The list of versions is free.
    expect(await connection.request('/services/data')).toContainEqual(
      expect.objectContaining({ version: '62.0' }),
    );
  });

  test('outages and broken connections come when they are asked for, through the control endpoint', async () => {
    const order = (command: object) =>
      fetch(`${simulator.url}/simulator`, { method: 'POST', body: JSON.stringify(command) });
    const { id } = (await (await order({ do: 'create', object: 'Lead', values: PERSON })).json()) as {
      id: string;
    };
    await order({ do: 'fail', kind: 'unavailable', times: 1 });
    expect(await codeOf(post('/sobjects/Lead', PERSON))).toBe('SERVER_UNAVAILABLE');
    await order({ do: 'fail', kind: 'concurrent_limit', times: 1 });
    expect(await codeOf(post('/sobjects/Lead', PERSON))).toBe('REQUEST_LIMIT_EXCEEDED');
    await order({ do: 'fail', kind: 'drop_after', times: 1 });
    expect(await codeOf(post(`/sobjects/Lead/${id}`, { Title: 'Done' }, 'PATCH'))).not.toBe('no error');
    expect(simulator.org.find('Lead', id)).toMatchObject({ Title: 'Done' });
    await order({ do: 'fail', kind: 'drop', times: 1 });
    expect(await codeOf(post(`/sobjects/Lead/${id}`, { Title: 'Not done' }, 'PATCH'))).not.toBe('no error');
    expect(simulator.org.find('Lead', id)).toMatchObject({ Title: 'Done' });
    expect((await order({ do: 'nothing' })).status).toBe(400);
    const shown = (await (await fetch(`${simulator.url}/simulator`)).json()) as { records: object[] };
    expect(shown.records).toMatchObject([{ object: 'Lead', Id: id, Title: 'Done' }]);
  });
});
