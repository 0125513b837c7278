import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keepMessage } from '../../activities/inbound.ts';
import { plain } from '../../db/connection.ts';
import { recordDeliveries } from '../../db/queries/broadcastOutcome.ts';
import { createCustomField } from '../../db/queries/customFields.ts';
import { gate } from '../../db/queries/gate.ts';
import { applyInbound, readInbound } from '../../db/queries/inbound.ts';
import { recordOutcome } from '../../db/queries/outcome.ts';
import { eraseProspect } from '../../db/queries/prospectErase.ts';
import { mergeProspects } from '../../db/queries/prospectMerge.ts';
import {
  createProspect,
  deleteProspect,
  type ProspectInput,
  readProspect,
  updateProspect,
} from '../../db/queries/prospects.ts';
import { createSend } from '../../db/queries/sends.ts';
import { explainAddress } from '../../db/queries/suppressionSearch.ts';
import { addSuppressions } from '../../db/queries/suppressions.ts';
import { DELIVERY_EVENT_KINDS } from '../../domain/deliveryEvent.ts';
import { EVENT_RESULTS, INBOUND_SOURCES, INBOUND_STATES } from '../../domain/inbound.ts';
import { createTestAccount, ORIGIN, parsed, type TestAccount } from '../support/account.ts';
import { dsn, testReader, testReturnPath, UNSUBSCRIBE } from '../support/inbound.ts';
import { testTokens } from '../support/unsubscribing.ts';

let account: TestAccount;
beforeAll(async () => {
  account = await createTestAccount();
  await createCustomField(account.db, NOW, { key: 'nick', label: 'Nick', type: 'text', choices: [] });
});
afterAll(() => account.close());

const NOW = new Date('2026-03-02T10:00:00Z');

async function create(email: string, input: Partial<ProspectInput> = {}) {
  const address = parsed(email);
  const created = await account.db.transaction((tx) =>
    createProspect(tx, account.hasher, ORIGIN, NOW, { address, ...input }),
  );
  if (created.kind !== 'created') throw new Error(created.kind);
  return { ...created.prospect, address };
}

const erase = (id: string) => account.db.transaction((tx) => eraseProspect(tx, ORIGIN, NOW, id));
const remove = (id: string) => account.db.transaction((tx) => deleteProspect(tx, ORIGIN, NOW, id, null));
const move = (id: string, email: string) =>
  account.db.transaction((tx) =>
    updateProspect(tx, account.hasher, ORIGIN, NOW, id, null, { address: parsed(email) }),
  );

/** Names of the tables in which a word stands anywhere, also within JSON. */
async function tablesWith(word: string): Promise<string[]> {
  const tables = await account.db.query<{ name: string }>(
    plain(`select tablename as name from pg_tables where schemaname = 'public' order by 1`),
  );
  expect(tables.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['address', 'audit_entry', 'prospect']),
  );
  const found: string[] = [];
  for (const { name } of tables) {
    const rows = await account.db.query(
      plain(
        `select 1 from "${name}" t where strpos(lower(t::text), lower($1)) > 0 or strpos(t::text, $2) > 0 limit 1`,
      ),
      // As text, and as it stands in bytes.
      [word, Buffer.from(word).toString('hex')],
    );
    if (rows.length > 0) found.push(name);
  }
  return found;
}

describe('erasing a person', () => {
  it('I4, I6: leaves no word of the person anywhere, and is opted out again at once', async () => {
    const word = `w${randomUUID().replaceAll('-', '')}`;
    const prospect = await create(`${word}@${word}.example`, {
      fields: { lastName: word, company: word, phone: word },
      custom: { nick: word },
      emailOptOut: true,
      bounced: false,
    });
    await account.db.transaction((tx) =>
      addSuppressions(tx, ORIGIN, NOW, [{ addressId: prospect.addressId, reason: 'manual', note: word }]),
    );
    expect(await tablesWith(word)).toEqual(['address', 'prospect', 'suppression']);

    expect(await erase(prospect.id)).toEqual({ kind: 'erased', prospects: 1, addresses: 1 });
    expect(await tablesWith(word)).toEqual([]);
    expect(await readProspect(account.db, prospect.id)).toBeNull();

    const explanation = await explainAddress(account.db, account.hasher, prospect.address, {
      kind: 'marketing',
    });
    expect(explanation.decision).toEqual({ allowed: false, because: ['address:opt_out', 'address:manual'] });
    const again = await create(prospect.email);
    expect(again).toMatchObject({ addressId: prospect.addressId, emailOptOut: true });
    const audit = await account.db.query(
      plain(
        `select action from audit_entry where prospect_id = $1 and action in ('flag.changed', 'prospect.erased') order by id`,
      ),
      [prospect.id],
    );
    expect(audit.map((entry) => entry.action)).toEqual(['flag.changed', 'prospect.erased']);
  });

  it('erases what stands with its sends and attempts, and cancels what waits, a test send included', async () => {
    const word = `w${randomUUID().replaceAll('-', '')}`;
    const prospect = await create(`${word}@example.net`);
    const [done, waiting] = [await account.send(prospect), await account.send(prospect)];
    const decision = await gate(account.db, { ...done, trigger: 'schedule', now: NOW });
    if (decision.kind !== 'open') throw new Error(decision.kind);
    await recordOutcome(
      account.db,
      done,
      decision.attempt,
      {
        outcome: 'soft_bounce',
        category: 'mailbox_full',
        faultOurs: false,
        holdsBack: false,
        rule: 'test',
        phase: 'rcpt',
        replyCode: 452,
        enhancedCode: '4.2.2',
        replyText: `<${word}@example.net> is full`,
        remoteHost: 'mx.example.net',
        hintSeconds: null,
        destination: 'relay:test:25',
      },
      NOW,
    );
    await account.db.query(
      plain(`
        with i as (
          insert into inbound (id, source, dedupe_key, content, size, recipients, state, received_at, applied_at)
          select gen_random_uuid(), source, $1, convert_to($2, 'UTF8'), 1, array[$2], state, $3, $3
          from (values ($4, $5)) as v(source, state) returning id
        )
        insert into delivery_event (inbound_id, n, kind, fault_ours, diagnostic, rule, send_id, result, at)
        select id, 1, $6, false, $2, 'test', $7, $8, $3 from i`),
      [
        randomUUID(),
        `${word}@example.net`,
        NOW,
        INBOUND_SOURCES[0],
        INBOUND_STATES[0],
        DELIVERY_EVENT_KINDS[0],
        done.sendId,
        EVENT_RESULTS[0],
      ],
    );
    const colleague = await create(`other-${word}@example.net`);
    const test = await account.db.transaction(async (tx) =>
      createSend(
        tx,
        account.hasher,
        NOW,
        { emailId: await account.email(), prospectId: colleague.id, testTo: prospect.address },
        'heed.test',
      ),
    );
    if (test.kind !== 'created') throw new Error(test.kind);
    await erase(prospect.id);
    await erase(colleague.id);
    expect(await tablesWith(word)).toEqual([]);
    const rows = await account.db.query(
      plain('select state, outcome, recipient from send where id = any($1) order by id'),
      [[done.sendId, waiting.sendId, test.sendId]],
    );
    expect(rows).toEqual(Array(3).fill({ state: 'final', outcome: 'cancelled', recipient: null }));
  });

  it('leaves nothing of what comes back afterwards: a bounce, and a wish to be unsubscribed', async () => {
    const word = `w${randomUUID().replaceAll('-', '')}`;
    const prospect = await create(`${word}@example.net`);
    const send = await account.send(prospect);
    await account.db.query(plain(`update send set state = 'final', outcome = 'delivered' where id = $1`), [
      send.sendId,
    ]);
    const comesBack = async (content: string, to: string) => {
      const raw = Buffer.from(content);
      const { id } = await keepMessage(account.db, NOW, 'listener', { content: raw, size: raw.length }, [to]);
      expect(await applyInbound(account.db, NOW, testReader, id)).toBe('done');
      return (await readInbound(account.db, id))!;
    };
    const bounce = dsn({
      recipient: `${word}@example.net`,
      diagnostic: `550 5.1.1 <${word}@example.net> unknown`,
    });
    const no = `From: ${word}@example.net\r\nSubject: ${testTokens.issue('mail', send.sendId)}\r\n\r\n`;
    // Before, the words are kept, and erased with the rest.
    expect((await comesBack(no, UNSUBSCRIBE)).events).toMatchObject([
      { kind: 'unsubscribe', result: 'applied' },
    ]);
    await erase(prospect.id);
    expect(await tablesWith(word)).toEqual([]);
    expect((await comesBack(bounce, testReturnPath.of(send.sendId))).events).toMatchObject([
      { kind: 'hard_bounce', result: 'applied', diagnostic: null },
    ]);
    await comesBack(`X-Again: yes\r\n${no}`, UNSUBSCRIBE);
    expect(await tablesWith(word)).toEqual([]);
  });

  it.each([
    ['delivered', 'by itself'],
    ['delivered', 'with others'],
    ['hard_bounce', 'by itself'],
  ] as const)(
    'leaves nothing of what a server says afterwards of a message that was in the air: %s, recorded %s',
    async (outcome, way) => {
      const word = `w${randomUUID().replaceAll('-', '')}`;
      const prospect = await create(`${word}@example.net`);
      const send = await account.send(prospect);
      const decision = await gate(account.db, { ...send, trigger: 'schedule', now: NOW });
      if (decision.kind !== 'open') throw new Error(decision.kind);
      await erase(prospect.id);
      const end = {
        outcome,
        category: outcome === 'delivered' ? null : ('user_unknown' as const),
        faultOurs: false,
        holdsBack: false,
        rule: null,
        phase: 'final_dot',
        replyCode: outcome === 'delivered' ? 250 : 550,
        enhancedCode: null,
        replyText: `<${word}@example.net> told`,
        remoteHost: 'mx.example.net',
        hintSeconds: null,
        destination: 'relay:test:25',
      };
      if (way === 'by itself') await recordOutcome(account.db, send, decision.attempt, end, NOW);
      else await recordDeliveries(account.db, NOW, [{ sendId: send.sendId, attempt: decision.attempt, end }]);
      expect(await tablesWith(word)).toEqual([]);
      const rows = await account.db.query(
        plain('select outcome, reply_text from attempt where send_id = $1'),
        [send.sendId],
      );
      expect(rows).toEqual([{ outcome, reply_text: null }]);
    },
  );

  it('finds every address and record of the person: former ones, merged ones, deleted ones of the same address', async () => {
    const word = `w${randomUUID().replaceAll('-', '')}`;
    const earlier = await create(`${word}.1@example.net`, { fields: { lastName: word } });
    await remove(earlier.id);
    const winner = await create(`${word}.1@example.net`);
    await move(winner.id, `${word}.2@example.net`);
    await move(winner.id, `${word}.1@example.net`);
    const loser = await create(`${word}.3@example.net`, { fields: { company: word } });
    await account.db.transaction((tx) => mergeProspects(tx, ORIGIN, NOW, winner.id, loser.id));
    expect(await erase(winner.id)).toEqual({ kind: 'erased', prospects: 3, addresses: 3 });
    expect(await tablesWith(word)).toEqual([]);
  });

  it('leaves an address that somebody else has now, with that prospect', async () => {
    const word = `w${randomUUID().replaceAll('-', '')}`;
    const person = await create(`${word}@example.net`, { fields: { lastName: word } });
    await move(person.id, `w${randomUUID()}@example.net`);
    const next = await create(`${word}@example.net`);
    expect(await erase(person.id)).toEqual({ kind: 'erased', prospects: 1, addresses: 1 });
    expect(await readProspect(account.db, next.id)).toMatchObject({ email: `${word}@example.net` });
    expect(await tablesWith(word)).toEqual(['address', 'prospect']);
  });

  it('works for one deleted before, once again, and not for nobody', async () => {
    const word = `w${randomUUID().replaceAll('-', '')}`;
    const prospect = await create(`${word}@example.net`);
    await remove(prospect.id);
    expect(await tablesWith(word)).toEqual(['address', 'prospect']);
    expect(await erase(prospect.id)).toMatchObject({ kind: 'erased', prospects: 1 });
    expect(await tablesWith(word)).toEqual([]);
    expect(await erase(prospect.id)).toMatchObject({ kind: 'erased' });
    expect(await erase(randomUUID())).toEqual({ kind: 'not_found' });
  });

  it('and creating with the same address at once end in a whole prospect or none', async () => {
    for (let round = 0; round < 20; round += 1) {
      const email = `w${randomUUID()}@example.net`;
      const prospect = await create(email, { emailOptOut: true });
      await remove(prospect.id);
      const [, created] = await Promise.all([erase(prospect.id), create(email)]);
      const [row] = await account.db.query(
        plain(
          'select a.email, a.domain, p.email_opt_out from prospect p join address a on a.id = p.address_id where p.id = $1',
        ),
        [created.id],
      );
      expect(row).toEqual({ email, domain: 'example.net', email_opt_out: true });
    }
  });
});
