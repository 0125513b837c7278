import { request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RunningServer, serveApi } from '../../api/server.ts';
import { plain } from '../../db/connection.ts';
import { startApi, type TestApi } from './support.ts';

/** Over real HTTP: chunks, lengths that lie and connections that break exist nowhere else. */
let api: TestApi;
let server: RunningServer;
const MAX = 3 * 1024 * 1024;
beforeAll(async () => {
  api = await startApi({
    config: { messageIdDomain: 'mail.example.com', maxImportBytes: MAX, publicUrl: 'https://heed.test' },
  });
  server = await serveApi(api.app, '127.0.0.1', 0);
});
afterAll(async () => {
  await server.stop();
  await api.close();
});

const url = (path: string) => `http://127.0.0.1:${server.port}${path}`;

function upload(
  body: string | Uint8Array | ReadableStream<Uint8Array>,
  query = 'kind=prospects&fileName=people.csv',
  type = 'text/csv',
) {
  return fetch(url(`/imports?${query}`), {
    method: 'POST',
    headers: { authorization: `Bearer ${api.keys.write}`, 'content-type': type },
    body: body as string,
    // Asked for by fetch where a body is streamed.
    ...({ duplex: 'half' } as object),
  });
}

const count = async (table: string) =>
  (await api.db.query<{ n: number }>(plain(`select count(*)::int as n from ${table}`)))[0]!.n;

const rows = (from: number, to: number) =>
  Array.from(
    { length: to - from },
    (_, index) => `person${from + index}@example.com,Name ${from + index}\n`,
  ).join('');

test('a file that is streamed in pieces is kept as it came, and its workflow is asked for', async () => {
  const pieces = [
    'email,First name\n',
    ...Array.from({ length: 60 }, (_, index) => rows(index * 1000, index * 1000 + 1000)),
  ];
  const encoder = new TextEncoder();
  const answer = await upload(ReadableStream.from(pieces.map((piece) => encoder.encode(piece))));
  expect(answer.status).toBe(202);
  const job = (await answer.json()) as { id: string };
  expect(answer.headers.get('location')).toBe(`/imports/${job.id}`);
  expect(job).toMatchObject({
    kind: 'prospects',
    state: 'queued',
    fileName: 'people.csv',
    mapping: { email: 'email', 'First name': 'firstName' },
    totalBytes: pieces.join('').length,
    actor: 'write',
    workflow: { id: `importFile:${job.id}` },
  });
  const kept = await api.db.query<{ data: Buffer; offset: string }>(
    plain('select data, "offset" from import_chunk where import_id = $1 order by "offset"'),
    [job.id],
  );
  expect(kept.length).toBeGreaterThan(1);
  expect(Buffer.concat(kept.map((chunk) => chunk.data)).toString()).toBe(pieces.join(''));
  const messages = await api.db.query(plain('select message from outbox where aggregate = $1'), [
    `import:${job.id}`,
  ]);
  expect(messages).toEqual([{ message: { type: 'startImport', importId: job.id } }]);
});

test('a file that is too large is refused, whatever it says of its length, and nothing of it is kept', async () => {
  const before = [await count('import_job'), await count('import_chunk')];
  const honest = await upload(Buffer.alloc(MAX + 1, 'x'));
  expect(honest.status).toBe(413);
  let sent = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 1;
      controller.enqueue(new TextEncoder().encode('x'.repeat(64 * 1024)));
      if (sent > 1000) controller.close();
    },
  });
  const streamed = await upload(endless).catch((error: Error) => error);
  // The server answers while the body is still coming in; whether the client reads that answer is the client's matter.
  if (streamed instanceof Response) expect(streamed.status).toBe(413);
  expect(sent).toBeLessThan(1000);
  await expect.poll(async () => [await count('import_job'), await count('import_chunk')]).toEqual(before);
});

test('an upload that breaks off leaves nothing behind', async () => {
  const before = await count('import_job');
  await new Promise<void>((resolve) => {
    const sending = request(url('/imports?kind=prospects'), {
      method: 'POST',
      headers: {
        authorization: `Bearer ${api.keys.write}`,
        'content-type': 'text/csv',
        'content-length': '2000000',
      },
    });
    sending.on('error', () => resolve());
    sending.write(`email\n${rows(0, 50_000)}`.slice(0, 1_500_000));
    setTimeout(() => sending.destroy(), 200);
  });
  await expect.poll(() => count('import_job'), { timeout: 10_000 }).toBe(before);
  expect(api.errors).toEqual([]);
});

test('files that cannot be read, and columns that do not fit, are refused with a reason', async () => {
  const before = await count('import_job');
  const problem = async (answer: Response) => {
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    return (await answer.json()) as { status: number; detail: string; errors?: object[] };
  };
  expect(await problem(await upload(''))).toMatchObject({ status: 422, detail: 'The file is empty.' });
  const latin = await upload(Buffer.from([...Buffer.from('email,Name\na@example.com,'), 0xe9, 0x0a]));
  expect(await problem(latin)).toMatchObject({ status: 422, detail: expect.stringContaining('line 2') });
  expect(await problem(await upload('Name\nAda\n'))).toMatchObject({ status: 422, errors: [{ in: 'body' }] });
  const mapping = encodeURIComponent(JSON.stringify({ email: 'shoeSize' }));
  const mapped = await upload('email\na@example.com\n', `kind=prospects&mapping=${mapping}`);
  expect(await problem(mapped)).toMatchObject({
    errors: [
      { in: 'query', field: 'mapping', message: 'email: There is no field "shoeSize".' },
      { in: 'body' },
    ],
  });
  expect(await problem(await upload('email\n', 'kind=prospects&mapping=%7B'))).toMatchObject({
    status: 400,
    errors: [{ in: 'query', field: 'mapping' }],
  });
  expect(await problem(await upload('email\n', 'kind=people'))).toMatchObject({
    errors: [{ field: 'kind' }],
  });
  expect(await problem(await upload('email\n', undefined, 'application/json'))).toMatchObject({
    status: 415,
  });
  expect(await problem(await upload('email\n', undefined, 'text/csv; charset=latin1'))).toMatchObject({
    status: 415,
  });
  expect(await count('import_job')).toBe(before);
});

test('imports are listed, followed, and cancelled once; problems come page by page', async () => {
  const job = (await (await upload('email\na@example.com\n', 'kind=suppressions')).json()) as { id: string };
  const listed = await api.call('GET', '/imports?state=queued&limit=1');
  expect(listed.body.items).toMatchObject([{ id: job.id, kind: 'suppressions' }]);
  const insert = plain(
    `insert into import_problem (import_id, line, "column", code, message) values ($1, $2, $3, 'c', 'm')`,
  );
  for (const [line, column] of [
    [2, 'email'],
    [2, 'reason'],
    [10, 'email'],
  ])
    await api.db.query(insert, [job.id, line, column]);
  const seen = [];
  let cursor = '';
  do {
    const { body } = await api.call('GET', `/imports/${job.id}/problems?limit=2${cursor}`);
    seen.push(
      ...body.items.map((problem: { line: number; column: string }) => [problem.line, problem.column]),
    );
    cursor = body.nextCursor === null ? '' : `&cursor=${body.nextCursor}`;
  } while (cursor !== '');
  expect(seen).toEqual([
    [2, 'email'],
    [2, 'reason'],
    [10, 'email'],
  ]);
  const cancelled = await api.call('POST', `/imports/${job.id}/cancel`);
  expect([cancelled.status, cancelled.body.state]).toEqual([200, 'cancelled']);
  expect((await api.call('POST', `/imports/${job.id}/cancel`)).status).toBe(409);
  expect((await api.call('GET', '/imports/019a0c5e-0000-7000-8000-000000000000/problems')).status).toBe(404);
});

test('a taken port is told as such', async () => {
  await expect(serveApi(api.app, '127.0.0.1', server.port)).rejects.toThrow(
    `Port ${server.port} of 127.0.0.1 is taken.`,
  );
});

test('JSON that is sent in chunks without a length is limited, too', async () => {
  const pieces = Array.from({ length: 48 }, () => new TextEncoder().encode('x'.repeat(64 * 1024)));
  const answer = await fetch(url('/lists'), {
    method: 'POST',
    headers: { authorization: `Bearer ${api.keys.write}`, 'content-type': 'application/json' },
    body: ReadableStream.from(pieces) as unknown as string,
    ...({ duplex: 'half' } as object),
  }).catch((error: Error) => error);
  if (answer instanceof Response) expect(answer.status).toBe(413);
  expect((await api.call('GET', '/lists')).body.items).toEqual([]);
});
