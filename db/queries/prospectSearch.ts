import { fold } from '../../domain/criteria/fold.ts';
import { plain, type Session } from '../connection.ts';
import { readDynamicLists } from './criteria.ts';
import { criteriaSql, folded } from './criteriaSql.ts';
import { beginsWith, Conditions, type Page } from './keyset.ts';
import { PROSPECT_COLUMNS, type Prospect, toProspect } from './prospectRows.ts';

/** Which prospects; whatever is absent does not narrow the search. */
export interface ProspectFilter {
  /** Beginning of the email address, the last name or the company, without regard to letter case. */
  readonly prefix?: string;
  readonly addressId?: string;
  readonly emailOptOut?: boolean;
  readonly bounced?: boolean;
  /** Members of this list, static or dynamic. */
  readonly listId?: string;
  /** Each range holds its beginning and not its end. */
  readonly createdFrom?: Date;
  readonly createdBefore?: Date;
  readonly updatedFrom?: Date;
  readonly updatedBefore?: Date;
}

/**
 * Current prospects, the newest first.
 *
 * @param now when dynamic lists are worked out
 * @returns a full page, or fewer where there are no more
 */
export async function searchProspects(
  on: Session,
  filter: ProspectFilter,
  page: Page,
  now: Date,
): Promise<Prospect[]> {
  const conditions = new Conditions('p.deleted_at is null');
  const prefix = fold(filter.prefix?.normalize('NFC').trim() ?? '');
  conditions.add('p.id < ?', page.after);
  // Three index scans; with "or" across the tables there would be none.
  conditions.add(
    `p.id in (
      select q.id from address a join prospect q on q.address_id = a.id where a.email like ?
      union all select id from prospect where ${folded('last_name')} like ?
      union all select id from prospect where ${folded('company')} like ?)`,
    prefix ? beginsWith(prefix) : undefined,
  );
  conditions.add('p.address_id = ?', filter.addressId);
  conditions.add('p.email_opt_out = ?', filter.emailOptOut);
  conditions.add('p.bounced = ?', filter.bounced);
  conditions.add('p.created_at >= ?', filter.createdFrom);
  conditions.add('p.created_at < ?', filter.createdBefore);
  conditions.add('p.updated_at >= ?', filter.updatedFrom);
  conditions.add('p.updated_at < ?', filter.updatedBefore);
  let from = 'prospect p';
  if (filter.listId !== undefined) {
    const member = { list: filter.listId, member: true };
    const lists = await readDynamicLists(on, member);
    const sql = criteriaSql(member, lists, now, 'few', {
      valuesBefore: conditions.values.length,
      beyond: page.after === undefined ? undefined : { id: page.after, operator: '<' },
    });
    conditions.addNumbered(sql.where, sql.values);
    from = sql.from;
  }
  const rows = await on.query(
    plain(
      `select ${PROSPECT_COLUMNS} from ${from} ${conditions.where} order by p.id desc ${conditions.limit(page.limit)}`,
    ),
    conditions.values,
  );
  return rows.map(toProspect);
}
