import type { CustomField, CustomValue, StandardValues } from '../prospectFields.ts';
import type { StandardField } from '../words.ts';
import { type FieldMapping, fromSalesforce, isStandard, type SalesforceValue } from './mapping.ts';
import { bounceFields, type SalesforceRecord } from './record.ts';
import { type OptOutRules, resolveBounced, resolveOptOut, resolveValue } from './resolve.ts';
import type { FailureSide, SalesforceObject } from './words.ts';

/** What both sides last had in common, as far as they had anything. */
export interface KnownBase {
  readonly optOut?: boolean;
  readonly bounced?: boolean;
  /** Keyed hash of each mapped field, by its name in Salesforce. */
  readonly fields?: Readonly<Record<string, string>>;
}

/** What Heed knows of the address that a record has, and of the prospect who has it. */
export interface OurSide {
  readonly optedOut: boolean;
  /** When Email Opt Out was given; milliseconds of the epoch, 0 where it was not. */
  readonly optedOutAt: number;
  /** Given by the person, by link or mail. */
  readonly byPerson: boolean;
  readonly bounce: { readonly reason: string | null; readonly at: Date } | null;
  readonly prospect: {
    readonly fields: Readonly<Record<StandardField, string | null>>;
    readonly custom: Readonly<Record<string, CustomValue>>;
    readonly updatedAt: Date;
  } | null;
}

/** How the account syncs. */
export interface SyncRules extends OptOutRules {
  readonly mappings: readonly FieldMapping[];
  readonly customFields: ReadonlyMap<string, CustomField>;
  /** Id of the user that Heed writes as. */
  readonly ownUserId: string | null;
  /** Recognises a value without keeping it. */
  readonly hash: (value: CustomValue | null) => string;
}

/** A field that could not be taken over. */
export interface PlanProblem {
  readonly field: string;
  readonly code: string;
  readonly message: string;
}

/** What is to be changed on each side for one record; what is not named stays. */
export interface Plan {
  readonly heed: {
    readonly optOut?: boolean;
    readonly bounced?: boolean;
    readonly fields: StandardValues;
    readonly custom: Readonly<Record<string, CustomValue | null>>;
  };
  readonly salesforce: {
    readonly optOut?: boolean;
    readonly bounced?: boolean;
    /** By their names in Salesforce. */
    readonly fields: Readonly<Record<string, SalesforceValue>>;
  };
  /** The base once Heed's side is changed. What is still to be written to Salesforce keeps its old one. */
  readonly base: KnownBase;
  readonly problems: readonly PlanProblem[];
}

/** One record and everything that decides about it. */
export interface PlanInput {
  readonly record: SalesforceRecord;
  readonly base: KnownBase;
  /** What was about to be written when its result was lost. */
  readonly written: KnownBase | null;
  /** When the base was taken; milliseconds of the epoch. */
  readonly syncedAt: number;
  readonly ours: OurSide;
  /** Another record of the same address says Yes to Email Opt Out. */
  readonly otherRecordSaysYes: boolean;
}

/** Works out what one record needs on both sides. What is so already on both needs nothing, so an echo ends here. */
export function planRecord(input: PlanInput, rules: SyncRules): Plan {
  const { record, ours } = input;
  const known = withWritten(input, rules);
  const optOut = resolveOptOut(
    {
      base: known.optOut ?? null,
      ours: ours.optedOut,
      theirs: record.optedOut,
      givenSince: ours.optedOutAt > input.syncedAt,
      byPerson: ours.byPerson,
      otherRecordSaysYes: input.otherRecordSaysYes,
    },
    rules,
  );
  const bounced = resolveBounced({
    base: known.bounced ?? null,
    ours: ours.bounce !== null,
    theirs: record.bounced,
  });
  const writesOptOut = optOut.theirs !== record.optedOut;
  const writesBounced = bounced.theirs !== record.bounced || (bounced.theirs && record.bounceIncomplete);
  const mapped = planFields(input, known, rules);
  return {
    heed: {
      ...(optOut.ours === ours.optedOut ? {} : { optOut: optOut.ours }),
      ...(bounced.ours === (ours.bounce !== null) ? {} : { bounced: bounced.ours }),
      fields: mapped.fields,
      custom: mapped.custom,
    },
    salesforce: {
      ...(writesOptOut ? { optOut: optOut.theirs } : {}),
      ...(writesBounced ? { bounced: bounced.theirs } : {}),
      fields: mapped.written,
    },
    base: {
      ...kept('optOut', writesOptOut ? pendingBase(known.optOut, optOut.theirs) : optOut.base),
      ...kept('bounced', writesBounced ? known.bounced : bounced.base),
      ...kept('fields', mapped.base),
    },
    problems: mapped.problems,
  };
}

/**
 * The base until what is to be written has been. An opt-out that stands against a No from Salesforce has none, so that it
 * stands the next time too, when what decided for it may be older than the base.
 */
function pendingBase(base: boolean | undefined, written: boolean): boolean | undefined {
  return written && base === true ? undefined : base;
}

function kept<Key extends keyof KnownBase>(
  key: Key,
  value: KnownBase[Key] | undefined,
): Pick<KnownBase, Key> | object {
  return value === undefined ? {} : { [key]: value };
}

/** The base, with what we have written since as far as the record shows that it arrived. */
function withWritten({ record, base, written }: PlanInput, rules: SyncRules): KnownBase {
  if (written === null || record.modifiedBy !== rules.ownUserId) return base;
  const arrived = rules.mappings.filter(({ object, salesforceField }) => {
    const mark = written.fields?.[salesforceField];
    return object === record.object && mark !== undefined && mark === markOf(record, salesforceField, rules);
  });
  const fields = arrived.map(
    ({ salesforceField }) => [salesforceField, written.fields![salesforceField]!] as const,
  );
  return {
    ...base,
    ...(written.optOut === record.optedOut ? { optOut: record.optedOut } : {}),
    ...(written.bounced === record.bounced ? { bounced: record.bounced } : {}),
    ...(fields.length === 0 ? {} : { fields: { ...base.fields, ...Object.fromEntries(fields) } }),
  };
}

function markOf(record: SalesforceRecord, salesforceField: string, rules: SyncRules): string | null {
  const mapping = rules.mappings.find(
    (each) => each.object === record.object && each.salesforceField === salesforceField,
  );
  if (mapping === undefined) return null;
  const read = fromSalesforce(mapping.field, rules.customFields, record.values[salesforceField] ?? null);
  return 'problem' in read ? null : rules.hash(read.value);
}

function ourValue({ fields, custom }: NonNullable<OurSide['prospect']>, field: string): CustomValue | null {
  return isStandard(field) ? fields[field] : (custom[field.slice('custom.'.length)] ?? null);
}

interface MappedPlan {
  readonly fields: StandardValues;
  readonly custom: Record<string, CustomValue | null>;
  readonly written: Record<string, SalesforceValue>;
  readonly base: Readonly<Record<string, string>> | undefined;
  readonly problems: PlanProblem[];
}

function planFields(
  { record, ours: { prospect } }: PlanInput,
  known: KnownBase,
  rules: SyncRules,
): MappedPlan {
  const plan: MappedPlan = { fields: {}, custom: {}, written: {}, base: known.fields, problems: [] };
  if (prospect === null) return plan;
  const base: Record<string, string> = { ...known.fields };
  for (const { object, salesforceField, field, direction, empty } of rules.mappings) {
    if (object !== record.object) continue;
    const read = fromSalesforce(field, rules.customFields, record.values[salesforceField] ?? null);
    if ('problem' in read) {
      plan.problems.push({ field: salesforceField, ...read.problem });
      continue;
    }
    const theirs = read.value;
    const ours = ourValue(prospect, field);
    const before = base[salesforceField];
    const resolved = resolveValue<CustomValue>({
      direction,
      empty,
      ours,
      theirs,
      oursChanged: before !== rules.hash(ours),
      theirsChanged: before !== rules.hash(theirs),
      oursNewer: prospect.updatedAt.getTime() > record.modifiedAt,
    });
    if (resolved.ours !== ours) {
      if (isStandard(field)) plan.fields[field] = resolved.ours as string | null;
      else plan.custom[field.slice('custom.'.length)] = resolved.ours;
    }
    if (resolved.theirs !== theirs) plan.written[salesforceField] = resolved.theirs;
    else base[salesforceField] = rules.hash(direction === 'to_salesforce' ? resolved.ours : theirs);
  }
  return { ...plan, base };
}

/**
 * Whether our side has changed since the base, in anything that goes to Salesforce: only then is there something to push,
 * and a reason to ask for the record.
 */
export function hasChanged(
  object: SalesforceObject,
  base: KnownBase,
  syncedAt: number,
  ours: OurSide,
  rules: SyncRules,
): boolean {
  if (base.optOut !== ours.optedOut || ours.optedOutAt > syncedAt) return true;
  if (base.bounced !== (ours.bounce !== null)) return true;
  const { prospect } = ours;
  if (prospect === null) return false;
  return rules.mappings.some(({ object: of, salesforceField, field, direction }) => {
    if (of !== object || direction === 'from_salesforce') return false;
    return base.fields?.[salesforceField] !== rules.hash(ourValue(prospect, field));
  });
}

/** Whether nothing is to be changed on either side. */
export function isQuiet(plan: Plan): boolean {
  return !changesHeed(plan) && !changesSalesforce(plan);
}

export function changesHeed({ heed }: Plan): boolean {
  const mapped = Object.keys(heed.fields).length + Object.keys(heed.custom).length;
  return heed.optOut !== undefined || heed.bounced !== undefined || mapped > 0;
}

export function changesSalesforce({ salesforce }: Plan): boolean {
  const mapped = Object.keys(salesforce.fields).length;
  return salesforce.optOut !== undefined || salesforce.bounced !== undefined || mapped > 0;
}

/** The fields that a record is updated with. */
export function writtenFields(plan: Plan, ours: OurSide): Record<string, SalesforceValue> {
  const { optOut, bounced, fields } = plan.salesforce;
  return {
    ...fields,
    ...(optOut === undefined ? {} : { HasOptedOutOfEmail: optOut }),
    ...(bounced === undefined ? {} : bounceFields(bounced ? ours.bounce : null)),
  };
}

/** The base that a record has once Salesforce has taken what the plan writes. */
export function baseAfterWriting(
  plan: Plan,
  record: Pick<SalesforceRecord, 'object'>,
  rules: SyncRules,
): KnownBase {
  const { optOut, bounced } = plan.salesforce;
  const fields = Object.entries(plan.salesforce.fields).map(
    ([name, value]) => [name, rules.hash(value)] as const,
  );
  const mapped = rules.mappings.some((each) => each.object === record.object);
  return {
    ...plan.base,
    ...(optOut === undefined ? {} : { optOut }),
    ...(bounced === undefined ? {} : { bounced }),
    ...(mapped ? { fields: { ...plan.base.fields, ...Object.fromEntries(fields) } } : {}),
  };
}

/** What a reconciliation has found, or would do. */
export const PLAN_COUNTS = [
  /** Records that were read. */
  'records',
  /** Records that were met for the first time. */
  'newRecords',
  /** Records without an address that can be read. */
  'withoutAddress',
  /** Records that were deleted, merged or converted. */
  'gone',
  'heedOptOutsSet',
  'heedOptOutsCleared',
  'heedBouncesSet',
  'heedBouncesCleared',
  'heedFields',
  'heedAddresses',
  'heedProspects',
  'salesforceOptOutsSet',
  'salesforceOptOutsCleared',
  'salesforceBouncesSet',
  'salesforceBouncesCleared',
  'salesforceFields',
  'salesforceAddresses',
  'salesforceLeads',
  /** Fields that could not be taken over. */
  'problems',
] as const;
export type PlanCounts = Partial<Record<(typeof PLAN_COUNTS)[number], number>>;

/** One change that a dry run found. */
export interface PlanSample {
  readonly recordId: string;
  readonly object: SalesforceObject;
  readonly side: FailureSide;
  /** `emailOptOut`, `bounced`, `address`, `prospect`, `lead` or the name of a field. */
  readonly subject: string;
  readonly change: 'set' | 'clear' | 'change' | 'create';
}

/** What a plan comes to, one entry a change. */
export function changesOf({ heed, salesforce }: Plan): Omit<PlanSample, 'recordId' | 'object'>[] {
  const flag = (side: FailureSide, subject: string, value: boolean | undefined) =>
    value === undefined ? [] : [{ side, subject, change: value ? ('set' as const) : ('clear' as const) }];
  const changed = (side: FailureSide, names: readonly string[]) =>
    names.map((subject) => ({ side, subject, change: 'change' as const }));
  return [
    ...flag('heed', 'emailOptOut', heed.optOut),
    ...flag('heed', 'bounced', heed.bounced),
    ...changed('heed', [
      ...Object.keys(heed.fields),
      ...Object.keys(heed.custom).map((key) => `custom.${key}`),
    ]),
    ...flag('salesforce', 'emailOptOut', salesforce.optOut),
    ...flag('salesforce', 'bounced', salesforce.bounced),
    ...changed('salesforce', Object.keys(salesforce.fields)),
  ];
}

/** The count that a change belongs to. */
export function countOf({
  side,
  subject,
  change,
}: Pick<PlanSample, 'side' | 'subject' | 'change'>): keyof PlanCounts {
  if (subject === 'emailOptOut') return change === 'set' ? `${side}OptOutsSet` : `${side}OptOutsCleared`;
  if (subject === 'bounced') return change === 'set' ? `${side}BouncesSet` : `${side}BouncesCleared`;
  if (subject === 'address') return `${side}Addresses`;
  if (change === 'create') return side === 'heed' ? 'heedProspects' : 'salesforceLeads';
  return `${side}Fields`;
}
