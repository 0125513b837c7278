import { z } from 'zod';
import { FAULT_KINDS, type Traffic } from './faults.ts';
import { OBJECTS, type ObjectName } from './fields.ts';
import type { TokenEndpoint } from './oauth.ts';
import type { Org } from './org.ts';

const object = z.enum(Object.keys(OBJECTS) as [ObjectName, ...ObjectName[]]);
const values = z.record(z.string(), z.unknown());

/** What a person, or a test in another process, can make happen: `POST /simulator` with one of these. */
const COMMAND = z.discriminatedUnion('do', [
  z.strictObject({ do: z.literal('create'), object, values }),
  z.strictObject({ do: z.literal('update'), object, id: z.string(), values }),
  z.strictObject({ do: z.literal('delete'), object, id: z.string() }),
  z.strictObject({ do: z.literal('undelete'), object, id: z.string() }),
  z.strictObject({ do: z.literal('purge'), object, id: z.string() }),
  z.strictObject({
    do: z.literal('merge'),
    object,
    id: z.string(),
    others: z.array(z.string()).min(1).max(2),
  }),
  z.strictObject({ do: z.literal('convert'), id: z.string(), contactId: z.string().optional() }),
  z.strictObject({
    do: z.literal('fail'),
    kind: z.enum(FAULT_KINDS),
    times: z.int().min(1),
    path: z.string().optional(),
  }),
  z.strictObject({ do: z.literal('latency'), milliseconds: z.int().min(0).max(60_000) }),
  z.strictObject({ do: z.literal('limit'), used: z.int().min(0), allowed: z.int().min(1) }),
  z.strictObject({ do: z.literal('calm') }),
  z.strictObject({ do: z.literal('expireSessions') }),
  z.strictObject({ do: z.literal('lock'), id: z.string(), times: z.int().min(1) }),
  z.strictObject({
    do: z.literal('access'),
    object,
    field: z.string(),
    access: z.enum(['hidden', 'readonly', 'edit']),
  }),
  z.strictObject({
    do: z.literal('validate'),
    object,
    field: z.string(),
    refuses: z.union([z.string(), z.number(), z.boolean(), z.null()]),
    message: z.string(),
  }),
  z.strictObject({ do: z.literal('duplicateRule'), rule: z.enum(['none', 'alert', 'block']) }),
]);

/** Parts that the control endpoint acts on. */
export interface Controlled {
  readonly org: Org;
  readonly traffic: Traffic;
  readonly tokens: TokenEndpoint;
}

/** Does what is asked for. @throws ZodError for what is no command, SalesforceError for what cannot be done */
export function control({ org, traffic, tokens }: Controlled, body: unknown): object {
  const command = COMMAND.parse(body);
  switch (command.do) {
    case 'create':
      return { id: org.create(command.object, command.values) };
    case 'update':
      org.update(command.object, command.id, command.values);
      break;
    case 'delete':
    case 'undelete':
    case 'purge':
      org[command.do](command.object, command.id);
      break;
    case 'merge':
      org.merge(command.object, command.id, command.others);
      break;
    case 'convert':
      return { contactId: org.convert(command.id, command.contactId) };
    case 'fail':
      traffic.add({
        kind: command.kind,
        times: command.times,
        ...(command.path === undefined ? {} : { path: command.path }),
      });
      break;
    case 'latency':
      traffic.latencyMs = command.milliseconds;
      break;
    case 'limit':
      Object.assign(traffic, { used: command.used, allowed: command.allowed });
      break;
    case 'calm':
      traffic.calm();
      break;
    case 'expireSessions':
      tokens.expireSessions();
      break;
    case 'lock':
      org.lock(command.id, command.times);
      break;
    case 'access':
      org.setAccess(command.object, command.field, command.access);
      break;
    case 'validate':
      org.validationRules.push(command);
      break;
    case 'duplicateRule':
      org.duplicateRule = command.rule;
  }
  return { done: command.do };
}

/** What there is: `GET /simulator`. */
export function overview({ org, traffic }: Controlled): object {
  const records = (Object.keys(OBJECTS) as ObjectName[]).flatMap((name) =>
    [...org.rows(name)].slice(0, 200).map((row) => ({
      object: name,
      ...Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)),
    })),
  );
  return { requests: Object.fromEntries(traffic.counts), limitInfo: traffic.limitInfo, records };
}
