/**
 * `npm run bench:filters -- [--json] [--prospects N]`: how long it takes to count the prospects that match a filter of
 * three levels, to read a page of them, and to look at a few. With --json the last line is JSON.
 */
import { parseArgs } from 'node:util';
import { plain, type Session } from '../../db/connection.ts';
import {
  countMatching,
  filterMatching,
  readDynamicLists,
  readMatchingPage,
  readProspectFacts,
} from '../../db/queries/criteria.ts';
import { criteriaSql } from '../../db/queries/criteriaSql.ts';
import { type Criteria, parseCriteria } from '../../domain/criteria/criteria.ts';
import { matches } from '../../domain/criteria/matches.ts';
import { startBenchEnvironment } from './environment.ts';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, prospects: { type: 'string', default: '1000000' } },
});
const prospects = Number(values.prospects);
const say = (text: string) => process.stderr.write(`${text}\n`);
const now = new Date();

const NEWSLETTER = '019a0000-0000-7000-8000-000000000001';
const FAIR = '019a0000-0000-7000-8000-000000000002';
const CHUNK = 50_000;
const PAGE = 1000;
const FEW = 100;
const TIMES = 5;

/** Everything at once: texts, custom fields, times, flags, suppressions, a list and history, on three levels. */
const MIXED = {
  all: [
    { field: 'country', operator: 'in', value: ['germany', 'austria', 'switzerland'] },
    {
      any: [
        { field: 'custom.plan', operator: 'equals', value: 'gold' },
        { list: FAIR, member: true },
        {
          all: [
            { field: 'title', operator: 'contains', value: 'head' },
            { field: 'createdAt', operator: 'withinLast', days: 365 },
          ],
        },
      ],
    },
    {
      none: [
        { field: 'emailOptOut', operator: 'equals', value: true },
        { suppressed: true },
        { history: 'delivered', happened: true, emailId: NEWSLETTER, withinDays: 7 },
      ],
    },
  ],
};

/** What an index answers: a thousandth of all, three levels all the same. */
const SELECTIVE = {
  all: [
    { field: 'company', operator: 'equals', value: 'COMPANY 17' },
    {
      any: [{ field: 'custom.score', operator: 'greaterThan', value: 50 }, { none: [{ suppressed: true }] }],
    },
  ],
};

/** Who soft-bounced again and again lately: history of everybody. */
const HISTORY = {
  all: [{ any: [{ none: [{ history: 'sent', happened: false, atLeast: 2, withinDays: 30 }] }] }],
};

function read(json: unknown): Criteria {
  const parsed = parseCriteria(json, [
    { key: 'plan', label: 'Plan', type: 'choice', choices: ['gold', 'silver', 'bronze'] },
    { key: 'score', label: 'Score', type: 'number', choices: [] },
  ]);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.criteria;
}

const ADDRESSES = plain(`
  insert into address (id, hash, email, domain, created_at)
  select uuidv7(), sha256(n::text::bytea), 'person.' || n || '@' || d, d, $3
  from generate_series($1::int, $2::int) n cross join lateral (select 'mail-' || n % 5000 || '.example.com' as d) x`);
const PROSPECTS = plain(`
  insert into prospect (id, address_id, email, first_name, last_name, company, title, phone, country, city, postal_code,
    custom, email_opt_out, bounced, created_at, updated_at)
  select uuidv7(), a.id, a.email, 'Given ' || n, 'Family ' || n, 'Company ' || n % 1000,
    (array['Head of Things', 'Clerk', 'Buyer', 'Owner'])[1 + n % 4], '+49 30 ' || n,
    (array['Germany', 'France', 'Italy', 'Austria', 'Spain', 'Switzerland', 'Poland', 'Kenya', 'Japan', 'Brazil'])[1 + n % 10],
    'City ' || n % 300, lpad((n % 99999)::text, 5, '0'),
    jsonb_build_object('plan', (array['gold', 'silver', 'bronze'])[1 + n % 3], 'score', n % 100),
    n % 50 = 0, n % 70 = 0, $3::timestamptz - ($4::int - n) * interval '60 seconds', $3::timestamptz
  from generate_series($1::int, $2::int) n join address a on a.hash = sha256(n::text::bytea)`);
const SENDS = plain(`
  insert into send (id, email_id, email_version, kind, prospect_id, address_id, recipient_domain, message_id,
    schedule_seconds, state, outcome, attempt_count, first_attempt_at, created_at, finished_at)
  select uuidv7(), $3, 1, 'marketing', p.id, p.address_id, a.domain, p.id::text, '[0]', 'final',
    case when n % 20 = 0 then 'bounced' else 'delivered' end, 1, at, at, at
  from generate_series($1::int, $2::int, 2) n join address a on a.hash = sha256(n::text::bytea)
    join prospect p on p.address_id = a.id cross join lateral (select $4::timestamptz - (n % 90) * interval '1 day' as at) t`);
const SUPPRESSIONS = plain(`
  insert into suppression (id, address_id, reason, way, actor, created_at)
  select uuidv7(), p.address_id, case when p.bounced then 'bounced' else 'opt_out' end, 'import', 'bench', $1
  from prospect p where p.bounced or p.email_opt_out`);
const DOMAINS = plain(`
  insert into domain_suppression (id, domain, way, actor, created_at)
  select uuidv7(), 'mail-' || n * 7 || '.example.com', 'import', 'bench', $1 from generate_series(1, 100) n`);
const MEMBERS = plain(`
  insert into list_member (list_id, prospect_id, added_at)
  select $1, id, $2 from prospect where right(email, 15) = '11.example.com' or company = 'Company 5'`);

async function load(on: Session): Promise<void> {
  await on.query(plain(`insert into list (id, name, created_at) values ($1, 'Trade fair', $2)`), [FAIR, now]);
  for (let first = 1; first <= prospects; first += CHUNK) {
    const last = Math.min(first + CHUNK - 1, prospects);
    await on.query(ADDRESSES, [first, last, now]);
    await on.query(PROSPECTS, [first, last, now, prospects]);
    await on.query(SENDS, [first, last, NEWSLETTER, now]);
    if (last % (CHUNK * 4) === 0) say(`${last} prospects`);
  }
  await on.query(SUPPRESSIONS, [now]);
  await on.query(DOMAINS, [now]);
  await on.query(MEMBERS, [FAIR, now]);
  await on.query(plain('vacuum analyze'));
}

/** Middle of some tries in milliseconds, after one that warms up. */
async function timed<T>(work: () => Promise<T>): Promise<{ result: T; milliseconds: number }> {
  const result = await work();
  const times: number[] = [];
  for (let time = 0; time < TIMES; time += 1) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  return {
    result,
    milliseconds: Math.round(times.toSorted((a, b) => a - b)[Math.floor(TIMES / 2)]! * 10) / 10,
  };
}

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Workers Planned'?: number;
  Plans?: PlanNode[];
}

/** Scans of a plan in the order of the tree. */
async function planOf(on: Session, criteria: Criteria): Promise<string[]> {
  const sql = criteriaSql(criteria, await readDynamicLists(on, criteria), now, 'everybody');
  const [row] = await on.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
    plain(
      `explain (format json) select count(*) from ${sql.from} where p.deleted_at is null and ${sql.where}`,
    ),
    sql.values,
  );
  const scans: string[] = [];
  const visit = (node: PlanNode): void => {
    const workers = node['Workers Planned'];
    if (workers !== undefined) scans.push(`${workers} workers`);
    if (/Scan/.test(node['Node Type'])) {
      scans.push([node['Node Type'], node['Relation Name'], node['Index Name']].filter(Boolean).join(' '));
    }
    for (const child of node.Plans ?? []) visit(child);
  };
  visit(row!['QUERY PLAN'][0].Plan);
  return scans;
}

const environment = await startBenchEnvironment({ temporal: false });
try {
  const { db } = environment;
  const began = performance.now();
  await load(db);
  const loadSeconds = Math.round((performance.now() - began) / 1000);
  say(`loaded in ${loadSeconds} s`);

  const mixed = read(MIXED);
  const count = await timed(() => countMatching(db, mixed, now));
  const firstPage = await timed(() => readMatchingPage(db, mixed, now, null, PAGE));
  const middle = (
    await db.query<{ id: string }>(plain('select id from prospect order by id offset $1 limit 1'), [
      Math.floor(prospects / 2),
    ])
  )[0]!.id;
  const laterPage = await timed(() => readMatchingPage(db, mixed, now, middle, PAGE));
  const few = (
    await db.query<{ id: string }>(plain('select id from prospect where id > $1 order by id limit $2'), [
      middle,
      FEW,
    ])
  ).map((row) => row.id);
  const filtered = await timed(() => filterMatching(db, mixed, now, few));
  const inCode = await timed(async () => {
    const facts = await readProspectFacts(db, few, mixed, now);
    return few.filter((id) => matches(mixed, facts.get(id)!, now));
  });
  if (inCode.result.join() !== few.filter((id) => filtered.result.has(id)).join()) {
    throw new Error('code and SQL do not agree');
  }
  const selective = await timed(() => countMatching(db, read(SELECTIVE), now));
  const history = await timed(() => countMatching(db, read(HISTORY), now));

  const figures = {
    prospects,
    loadSeconds,
    matching: count.result,
    countMs: count.milliseconds,
    pageMs: firstPage.milliseconds,
    laterPageMs: laterPage.milliseconds,
    filterFewMs: filtered.milliseconds,
    filterFewInCodeMs: inCode.milliseconds,
    selectiveMatching: selective.result,
    selectiveCountMs: selective.milliseconds,
    historyCountMs: history.milliseconds,
    plan: await planOf(db, mixed),
    selectivePlan: await planOf(db, read(SELECTIVE)),
  };
  if (values.json) console.log(JSON.stringify(figures));
  else
    console.table(Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, String(value)])));
} finally {
  await environment.close();
}
