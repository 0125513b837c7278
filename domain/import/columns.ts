import type { CustomField } from '../prospectFields.ts';
import { STANDARD_FIELDS } from '../words.ts';

/** What a file brings: prospects, or entries of the Global Suppression List. */
export type ImportKind = 'prospects' | 'suppressions';

/** Which column of a file is which field, by the column's name; columns without an entry are left out. */
export type Mapping = Readonly<Record<string, string>>;

/** What is wrong with the columns of a file as a whole. `column` is empty where none in particular is meant. */
export interface ColumnProblem {
  readonly column: string;
  readonly code:
    | 'no_address_column'
    | 'unknown_field'
    | 'unknown_column'
    | 'duplicate_column'
    | 'field_twice';
  readonly message: string;
}

/** Names that columns go by in common exports, as {@link plainName} makes them. */
const WELL_KNOWN: Record<ImportKind, Readonly<Record<string, readonly string[]>>> = {
  prospects: {
    email: ['email', 'emailaddress', 'mail', 'mailaddress'],
    firstName: ['firstname', 'givenname', 'forename'],
    lastName: ['lastname', 'surname', 'familyname'],
    company: ['company', 'companyname', 'organisation', 'organization', 'account', 'accountname'],
    title: ['title', 'jobtitle', 'position'],
    phone: ['phone', 'phonenumber', 'telephone', 'businessphone'],
    country: ['country', 'countryregion', 'mailingcountry'],
    state: ['state', 'province', 'stateprovince', 'stateregion', 'mailingstate'],
    city: ['city', 'town', 'mailingcity'],
    postalCode: ['postalcode', 'postcode', 'zip', 'zipcode', 'mailingpostalcode', 'mailingzip'],
    website: ['website', 'websiteurl', 'url', 'homepage'],
    leadSource: ['leadsource', 'source'],
    timeZone: ['timezone'],
    emailOptOut: [
      'emailoptout',
      'emailoptedout',
      'optout',
      'optedout',
      'optedoutofemail',
      'hasoptedoutofemail',
      'unsubscribed',
      'unsubscribedfromallemail',
      'donotemail',
    ],
    bounced: ['bounced', 'emailbounced', 'hardbounced', 'isemailbounced'],
  },
  suppressions: {
    email: ['email', 'emailaddress', 'mail', 'mailaddress', 'address'],
    domain: ['domain', 'domainname', 'emaildomain'],
    reason: ['reason', 'suppressionreason', 'type'],
    note: ['note', 'notes', 'comment'],
  },
};

function plainName(name: string): string {
  return name
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]/gu, '');
}

/**
 * Decides which column is which field: as the person says, and otherwise by well-known names, a custom field by its key
 * or label. The first column that goes by a field's name gets it.
 *
 * @param overrides column name to field, or to `null` for a column to be left out
 */
export function resolveMapping(
  kind: ImportKind,
  header: readonly string[],
  overrides: Readonly<Record<string, string | null>>,
  customFields: readonly CustomField[],
): { readonly mapping: Mapping } | { readonly problems: readonly ColumnProblem[] } {
  const names = namesOfFields(kind, customFields);
  const problems: ColumnProblem[] = [];
  const mapping = new Map<string, string>();
  for (const [column, field] of Object.entries(overrides)) {
    if (!header.includes(column)) {
      problems.push({ column, code: 'unknown_column', message: 'The file has no such column.' });
    } else if (field !== null && !names.has(field)) {
      problems.push({
        column,
        code: 'unknown_field',
        message: `There is no field ${JSON.stringify(field)}.`,
      });
    } else if (field !== null) {
      mapping.set(column, field);
    }
  }
  const taken = new Set(mapping.values());
  for (const column of header) {
    if (column === '' || Object.hasOwn(overrides, column)) continue;
    const plain = plainName(column);
    const field = [...names].find(([name, known]) => known.includes(plain) && !taken.has(name))?.[0];
    if (field === undefined) continue;
    taken.add(field);
    mapping.set(column, field);
  }
  problems.push(...repetitions(header, mapping));
  if (!taken.has('email') && !(kind === 'suppressions' && taken.has('domain'))) {
    const wanted = kind === 'prospects' ? 'the email address' : 'an email address or a domain';
    problems.push({ column: '', code: 'no_address_column', message: `No column holds ${wanted}.` });
  }
  return problems.length > 0 ? { problems } : { mapping: Object.fromEntries(mapping) };
}

/** Every field that a column can be, with the plain names that it goes by. */
function namesOfFields(
  kind: ImportKind,
  customFields: readonly CustomField[],
): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, readonly string[]>(Object.entries(WELL_KNOWN[kind]));
  if (kind === 'prospects') {
    for (const { key, label } of customFields) {
      names.set(`custom.${key}`, [plainName(`custom.${key}`), plainName(key), plainName(label)]);
    }
  }
  return names;
}

function repetitions(header: readonly string[], mapping: ReadonlyMap<string, string>): ColumnProblem[] {
  const problems: ColumnProblem[] = [];
  const fields = new Set<string>();
  for (const [column, field] of mapping) {
    if (header.filter((name) => name === column).length > 1) {
      problems.push({
        column,
        code: 'duplicate_column',
        message: 'The file has several columns of this name.',
      });
    }
    if (fields.has(field)) {
      problems.push({ column, code: 'field_twice', message: `Another column is ${field} too.` });
    }
    fields.add(field);
  }
  return problems;
}

/** A column that is taken in. */
export interface Column {
  readonly index: number;
  /** As the file writes it. */
  readonly name: string;
  readonly field: string;
}

/** The columns of a file that are taken in, in their order. */
export function columnsOf(
  header: readonly string[],
  mapping: Readonly<Record<string, string | null>>,
): readonly Column[] {
  return header.flatMap((name, index) => {
    const field = Object.hasOwn(mapping, name) ? mapping[name] : null;
    return field ? [{ index, name, field }] : [];
  });
}

/** Tells a standard field from the other names that a column can be mapped to. */
export function isStandardField(field: string): field is (typeof STANDARD_FIELDS)[number] {
  return (STANDARD_FIELDS as readonly string[]).includes(field);
}
