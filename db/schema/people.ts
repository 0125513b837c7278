import { sql } from 'drizzle-orm';
import {
  type AnyPgColumn,
  boolean,
  customType,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import type { Criteria } from '../../domain/criteria/criteria.ts';
import { CUSTOM_FIELD_TYPES } from '../../domain/words.ts';

export const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' });
export const at = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

/** The form by which texts are compared without regard to letter case: `folded` in db/queries/criteriaSql.ts. */
const folded = (column: AnyPgColumn) => sql`replace(lower(${column} collate "pg_c_utf8"), 'ς', 'σ')`;

/**
 * An email address that Heed has met. Everything else names it by id. `hash` (HMAC-SHA256 of the comparison form)
 * identifies it for good; `email` and `domain` are cleared when the person is erased (I6).
 */
export const address = pgTable(
  'address',
  {
    id: uuid('id').primaryKey(),
    hash: bytea('hash').notNull(),
    email: text('email'),
    domain: text('domain'),
    createdAt: at('created_at').notNull(),
    erasedAt: at('erased_at'),
  },
  (t) => [
    uniqueIndex('address_hash').on(t.hash),
    index('address_email_prefix').using('btree', t.email.op('text_pattern_ops')),
    index('address_domain').on(t.domain),
    // What is below a domain stands side by side when it is read backwards.
    index('address_domain_reversed').using('btree', sql`(reverse(${t.domain}) collate "C")`),
  ],
);

/** A person who may be emailed; `email` is as it was given, `addressId` is what it is compared by. */
export const prospect = pgTable(
  'prospect',
  {
    id: uuid('id').primaryKey(),
    addressId: uuid('address_id')
      .notNull()
      .references(() => address.id),
    email: text('email').notNull(),
    firstName: text('first_name'),
    lastName: text('last_name'),
    company: text('company'),
    title: text('title'),
    phone: text('phone'),
    country: text('country'),
    state: text('state'),
    city: text('city'),
    postalCode: text('postal_code'),
    website: text('website'),
    leadSource: text('lead_source'),
    timeZone: text('time_zone'),
    custom: jsonb('custom').$type<Record<string, string | number | boolean>>().notNull().default({}),
    emailOptOut: boolean('email_opt_out').notNull().default(false),
    bounced: boolean('bounced').notNull().default(false),
    version: integer('version').notNull().default(1),
    createdAt: at('created_at').notNull(),
    updatedAt: at('updated_at').notNull(),
    deletedAt: at('deleted_at'),
    mergedInto: uuid('merged_into'),
  },
  (t) => [
    uniqueIndex('prospect_address').on(t.addressId).where(sql`deleted_at is null`),
    // Earlier records of a person, for erasing all of them.
    index('prospect_deleted_address').on(t.addressId).where(sql`deleted_at is not null`),
    index('prospect_merged_into').on(t.mergedInto).where(sql`merged_into is not null`),
    index('prospect_last_name').using('btree', sql`${folded(t.lastName)} text_pattern_ops`),
    index('prospect_company').using('btree', sql`${folded(t.company)} text_pattern_ops`),
    index('prospect_country').using('btree', sql`${folded(t.country)} text_pattern_ops`),
    index('prospect_opted_out').on(t.id).where(sql`email_opt_out and deleted_at is null`),
    index('prospect_bounced').on(t.id).where(sql`bounced and deleted_at is null`),
    // Prospects are created in the order of time, which is what a BRIN index is small for.
    index('prospect_created').using('brin', t.createdAt),
  ],
);

/** A typed field that the account added to its prospects. */
export const customField = pgTable('custom_field', {
  key: text('key').primaryKey(),
  label: text('label').notNull(),
  type: text('type', { enum: CUSTOM_FIELD_TYPES }).notNull(),
  /** The allowed values of a `choice`, else empty. */
  choices: text('choices').array().notNull().default([]),
  createdAt: at('created_at').notNull(),
});

export const list = pgTable(
  'list',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    /** Its name is shown to nobody who unsubscribes, except from mail that was sent to it. */
    private: boolean('private').notNull().default(false),
    /** Who stands in a dynamic list; `null` for one of static members. */
    criteria: jsonb('criteria').$type<Criteria>(),
    createdAt: at('created_at').notNull(),
  },
  (t) => [uniqueIndex('list_name').on(sql`lower(${t.name})`)],
);

/** A static member; a prospect stands in a list once. */
export const listMember = pgTable(
  'list_member',
  {
    listId: uuid('list_id')
      .notNull()
      .references(() => list.id),
    prospectId: uuid('prospect_id')
      .notNull()
      .references(() => prospect.id),
    addedAt: at('added_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.listId, t.prospectId] }), index('list_member_prospect').on(t.prospectId)],
);
