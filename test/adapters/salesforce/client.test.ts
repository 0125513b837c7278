import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSalesforceClient, type SalesforceSettings } from '../../../adapters/salesforce/client.ts';
import { allQuery, amongQuery, PAGE } from '../../../adapters/salesforce/soql.ts';
import { SalesforceTrouble } from '../../../adapters/salesforce/trouble.ts';
import {
  type SalesforceSimulator,
  SIMULATED_APP,
  startSalesforceSimulator,
} from '../../../tools/salesforce-simulator/simulator.ts';

/* What Heed asks of Salesforce, through the real jsforce, against the simulator. */

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const app = { ...SIMULATED_APP, publicKey: publicKey.export({ type: 'spki', format: 'pem' }) as string };
const PERSON = { LastName: 'Lovelace', Company: 'Example' };

let simulator: SalesforceSimulator;
let now = 0;
beforeEach(async () => {
  simulator = await startSalesforceSimulator({ app });
  now = Date.now();
});
afterEach(() => simulator.close());

function client(more: Partial<SalesforceSettings> = {}, tokenMs?: number) {
  const credentials = { flow: 'client_credentials', clientSecret: app.clientSecret } as const;
  return createSalesforceClient(
    {
      loginUrl: simulator.url,
      clientId: app.clientId,
      credentials,
      apiVersion: '62.0',
      reservePercent: 20,
      ...more,
    },
    () => now,
    tokenMs,
  );
}

const kindOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no trouble',
    (error: unknown) => (error instanceof SalesforceTrouble ? error.kind : String(error)),
  );

describe('a connection', () => {
  test('by client credentials and by JWT is the integration user', async () => {
    const { org } = simulator;
    const jwt = { flow: 'jwt_bearer', privateKey, username: app.username, audience: simulator.url } as const;
    for (const made of [client(), client({ credentials: jwt })]) {
      expect(await made.identity()).toEqual({ orgId: org.id, userId: org.users.integration });
    }
    const other = { ...jwt, audience: 'https://login.salesforce.com' };
    expect(await kindOf(client({ credentials: other }).identity())).toBe('access');
  });

  test('with a wrong secret tells which setting to look at, and never the secret', async () => {
    const wrong = client({ credentials: { flow: 'client_credentials', clientSecret: 'hush' } });
    const error = await wrong.identity().catch((caught: Error) => caught);
    expect(error).toBeInstanceOf(SalesforceTrouble);
    expect((error as Error).message).toMatch(/HEED_SALESFORCE_CLIENT_ID/);
    expect((error as Error).message).not.toContain('hush');
  });

  test('to a server that is not there is trouble that passes', async () => {
    await simulator.close();
    expect(await kindOf(client().identity())).toBe('unavailable');
    simulator = await startSalesforceSimulator({ app });
  });
});

test('a token server that takes the request and never answers is trouble that passes, and is asked anew', async () => {
  const sockets: Socket[] = [];
  let asked = 0;
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.on('data', () => {
      asked += 1;
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const loginUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const hanging = client({ loginUrl }, 200);
  for (const times of [1, 2]) {
    const error = await hanging.identity().catch((caught: Error) => caught);
    expect(error).toMatchObject({
      kind: 'unavailable',
      message: `Salesforce gave no token: ${loginUrl} did not answer within 0.2 s.`,
    });
    expect(asked).toBe(times);
  }
  for (const socket of sockets) socket.destroy();
  server.close();
});

describe('requests', () => {
  test('are made once each, whatever goes wrong', async () => {
    const one = client();
    await one.query(allQuery('Lead', ['Id'], null), 'existing');
    for (const kind of ['unavailable', 'drop', 'broken'] as const) {
      simulator.traffic.add({ kind, times: 1 });
      const before = one.requests();
      expect(await kindOf(one.query(allQuery('Lead', ['Id'], null), 'existing'))).toBe('unavailable');
      expect(one.requests() - before).toBe(1);
    }
    simulator.traffic.add({ kind: 'concurrent_limit', times: 1 });
    expect(await kindOf(one.describe('Lead'))).toBe('concurrent_limit');
  });

  test('read all that a query finds, in the batches that Salesforce makes of it', async () => {
    for (let n = 0; n < PAGE + 1; n += 1)
      simulator.org.create('Lead', { ...PERSON, Email: `p${n}@example.com` });
    const rows = await client().query('SELECT Id FROM Lead', 'existing');
    expect(rows).toHaveLength(PAGE + 1);
  });

  test('name odd addresses as they are', async () => {
    simulator.org.create('Lead', { ...PERSON, Email: "o'brien@example.com" });
    const soql = amongQuery('Lead', ['Email'], 'Email', ["o'brien@example.com", "x\\' OR Email != '"]);
    expect(await client().query(soql, 'existing')).toMatchObject([{ Email: "o'brien@example.com" }]);
  });

  test('save records each by itself', async () => {
    const id = simulator.org.create('Lead', { ...PERSON, Email: 'ada@example.com' });
    const results = await client().save([
      { object: 'Lead', id, fields: { HasOptedOutOfEmail: true } },
      { object: 'Contact', id: '003000000000009AAA', fields: { HasOptedOutOfEmail: true } },
    ]);
    expect(results).toMatchObject([
      { ok: true, id },
      { ok: false, code: 'INVALID_CROSS_REFERENCE_KEY' },
    ]);
    expect(simulator.org.find('Lead', id)).toMatchObject({ HasOptedOutOfEmail: true });
  });
});

describe('the reserve', () => {
  test('is not touched, and what is left is asked for again after a while', async () => {
    const one = client();
    Object.assign(simulator.traffic, { used: 79, allowed: 100 });
    await one.describe('Lead');
    expect(one.use()).toEqual({ used: 80, allowed: 100 });
    expect(await kindOf(one.describe('Lead'))).toBe('daily_limit');
    expect(simulator.traffic.used).toBe(80);
    now += 11 * 60_000;
    // Still nothing free: one request to know that.
    expect(await kindOf(one.describe('Lead'))).toBe('daily_limit');
    expect(simulator.traffic.used).toBe(81);
    simulator.traffic.used = 10;
    now += 11 * 60_000;
    expect(await kindOf(one.describe('Lead'))).toBe('no trouble');
  });
});
