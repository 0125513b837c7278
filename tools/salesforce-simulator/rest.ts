import { SalesforceError } from './errors.ts';
import type { Traffic } from './faults.ts';
import { OBJECTS, type ObjectName } from './fields.ts';
import type { Org, RecordValues, SaveOptions } from './org.ts';
import { evaluate, parseSoql, type Row, requireFields, type SoqlQuery } from './soql.ts';

/** A request as the resources see it. */
export interface RestRequest {
  readonly method: string;
  /** Behind `/services/data/vXX.X/`, without a slash at the end. */
  readonly path: string;
  readonly version: string;
  readonly parameters: URLSearchParams;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
}

export interface RestAnswer {
  readonly status: number;
  /** `undefined`: no content. */
  readonly body?: unknown;
}

/** Records of one answer: "Change the Batch Size in Queries" (headers_queryoptions.htm). */
const BATCH = { min: 200, default: 2_000 };
/** Records of one collection: resources_composite_sobjects_collections.htm. */
const COLLECTION = 200;

interface OpenQuery {
  readonly query: SoqlQuery;
  readonly rows: readonly Row[];
}

/** The resources of the REST API that the sync uses, and what is around them. */
export class Rest {
  readonly #org: Org;
  readonly #traffic: Traffic;
  readonly #queries = new Map<string, OpenQuery>();
  #locators = 0;

  constructor(org: Org, traffic: Traffic) {
    this.#org = org;
    this.#traffic = traffic;
  }

  /** @throws SalesforceError */
  answer(request: RestRequest): RestAnswer {
    const [resource, ...rest] = request.path.split('/');
    switch (resource) {
      case 'query':
      case 'queryAll':
        return this.#query(request, resource, rest[0]);
      case 'sobjects':
        return this.#sobject(request, rest);
      case 'composite':
        if (rest[0] === 'sobjects') return this.#collection(request);
        break;
      case 'limits':
        // resources_limits.htm
        return ok({
          DailyApiRequests: {
            Max: this.#traffic.allowed,
            Remaining: this.#traffic.allowed - this.#traffic.used,
          },
        });
    }
    throw notFound();
  }

  /**
   * Deleted and merged records are found by queryAll alone (resources_queryall.htm); what does not fit into a batch is
   * fetched with nextRecordsUrl (resources_query.htm).
   */
  #query(request: RestRequest, resource: string, locator: string | undefined): RestAnswer {
    if (locator !== undefined) return this.#more(request, resource, locator);
    const query = parseSoql(request.parameters.get('q') ?? '');
    const object = objectOf(query.object, 'INVALID_TYPE', `sObject type '${query.object}' is not supported.`);
    requireFields(query, this.#org.visibleFields(object));
    const all = this.#org.rows(object);
    const rows = evaluate(query, resource === 'queryAll' ? all : existing(all));
    if (query.fields === null) return ok({ totalSize: rows.length, done: true, records: [] });
    this.#locators += 1;
    const id = `01g${String(this.#locators).padStart(15, '0')}`;
    this.#queries.set(id, { query, rows });
    return this.#batch(request, resource, id, 0);
  }

  #more(request: RestRequest, resource: string, locator: string): RestAnswer {
    const [, id, start] = /^(01g\d{15})-(\d+)$/.exec(locator) ?? [];
    if (id === undefined || !this.#queries.has(id)) {
      throw new SalesforceError('INVALID_QUERY_LOCATOR', 'invalid query locator', 400);
    }
    return this.#batch(request, resource, id, Number(start));
  }

  #batch(request: RestRequest, resource: string, id: string, start: number): RestAnswer {
    const { query, rows } = this.#queries.get(id)!;
    const asked = /batchSize=(\d+)/i.exec(String(request.headers['sforce-query-options'] ?? ''))?.[1];
    const size = Math.min(Math.max(Number(asked ?? BATCH.default), BATCH.min), BATCH.default);
    const end = start + size;
    const done = end >= rows.length;
    if (done) this.#queries.delete(id);
    const records = rows.slice(start, end).map((row) => ({
      attributes: {
        type: query.object,
        url: `/services/data/v${request.version}/sobjects/${query.object}/${row.Id}`,
      },
      ...Object.fromEntries(
        query.fields!.map((field) => [field, this.#shown(query.object as ObjectName, row, field)]),
      ),
    }));
    return ok({
      totalSize: rows.length,
      done,
      ...(done ? {} : { nextRecordsUrl: `/services/data/v${request.version}/${resource}/${id}-${end}` }),
      records,
    });
  }

  /** A compound field is an object of its parts, named without what they have in common. */
  #shown(object: ObjectName, row: Row, name: string): unknown {
    const fields = this.#org.visibleFields(object);
    if (fields.get(name)?.type !== 'address') return row[name] ?? null;
    const prefix = name.slice(0, -'Address'.length);
    const parts = [...fields.values()].filter((field) => field.compoundFieldName === name);
    const shown = parts.map((part) => {
      const short = part.name.slice(prefix.length);
      return [`${short[0]!.toLowerCase()}${short.slice(1)}`, row[part.name] ?? null] as const;
    });
    return shown.every(([, value]) => value === null) ? null : Object.fromEntries(shown);
  }

  #sobject(request: RestRequest, [name, id]: readonly string[]): RestAnswer {
    if (name === undefined) return ok({ sobjects: Object.keys(OBJECTS).map((each) => ({ name: each })) });
    const object = objectOf(name, 'NOT_FOUND', 'The requested resource does not exist');
    const { method } = request;
    // resources_sobject_describe.htm: fields that are hidden from the user are not among them.
    if (id === 'describe') {
      const fields = [...this.#org.visibleFields(object).values()];
      return ok({
        name: object,
        keyPrefix: OBJECTS[object],
        queryable: true,
        updateable: true,
        createable: true,
        fields,
      });
    }
    if (id === 'updated' || id === 'deleted') return this.#changed(object, id, request.parameters);
    if (id === undefined && method === 'POST') {
      const made = this.#org.create(object, valuesOf(request.body), this.#saving(request));
      return { status: 201, body: { id: made, success: true, errors: [] } };
    }
    if (id === undefined) throw notFound();
    if (method === 'GET') return ok(this.#visible(object, id));
    if (method === 'PATCH') this.#org.update(object, id, valuesOf(request.body), this.#saving(request));
    else if (method === 'DELETE') this.#org.delete(object, id, this.#saving(request));
    else throw new SalesforceError('METHOD_NOT_ALLOWED', `HTTP Method '${method}' not allowed.`, 405);
    return { status: 204 };
  }

  /** resources_sobject_retrieve_get.htm */
  #visible(object: ObjectName, id: string): object {
    const row = this.#org.find(object, id);
    if (row === null) throw notFound();
    if (row.IsDeleted === true) throw new SalesforceError('ENTITY_IS_DELETED', 'entity is deleted', 404);
    const names = [...this.#org.visibleFields(object).keys()];
    return Object.fromEntries(names.map((name) => [name, row[name] ?? null]));
  }

  /** Ids that were changed or deleted in a span: resources_getupdated.htm, resources_getdeleted.htm. */
  #changed(object: ObjectName, what: 'updated' | 'deleted', parameters: URLSearchParams): RestAnswer {
    const [start, end] = [parameters.get('start'), parameters.get('end')].map((each) =>
      Date.parse(each ?? ''),
    );
    if (!(start! < end!))
      throw new SalesforceError('INVALID_REPLICATION_DATE', 'startDate must be before endDate');
    const found = [...this.#org.rows(object)].filter((row) => {
      const at = Date.parse(String(row.SystemModstamp).replace('+0000', 'Z'));
      return at >= start! && at < end! && (row.IsDeleted === true) === (what === 'deleted');
    });
    const latestDateCovered = this.#org.now();
    if (what === 'updated') return ok({ ids: found.map((row) => row.Id), latestDateCovered });
    const deletedRecords = found.map((row) => ({ id: row.Id, deletedDate: row.SystemModstamp }));
    return ok({ deletedRecords, earliestDateAvailable: '2000-01-01T00:00:00.000+0000', latestDateCovered });
  }

  /**
   * Up to 200 records at once, each with a result of its own and all of it undone with allOrNone
   * (resources_composite_sobjects_collections_update.htm, …_create.htm). All or nothing is refused here: the sync never
   * asks for it.
   */
  #collection(request: RestRequest): RestAnswer {
    const { allOrNone, records } = request.body as { allOrNone?: boolean; records?: readonly RecordValues[] };
    if (records === undefined || records.length > COLLECTION) {
      throw new SalesforceError(
        'EXCEEDED_ID_LIMIT',
        `record limit reached. cannot submit more than ${COLLECTION} records into this call`,
      );
    }
    if (allOrNone === true) throw new SalesforceError('NOT_SIMULATED', 'allOrNone is not simulated');
    const options = this.#saving(request);
    // A value that cannot be read into the type of its field makes the body as a whole unreadable (errorcodes.htm,
    // JSON_PARSER_ERROR): none of the records is looked at.
    for (const record of records) {
      const { type = '' } = (record.attributes ?? {}) as { type?: string };
      if (Object.hasOwn(OBJECTS, type)) this.#org.parse(type as ObjectName, record);
    }
    return ok(records.map((record) => this.#saveOne(request.method, record, options)));
  }

  #saveOne(method: string, record: RecordValues, options: SaveOptions): object {
    const type = (record.attributes as { type?: string } | undefined)?.type ?? '';
    const given = record.id ?? record.Id;
    try {
      const object = objectOf(type, 'INVALID_TYPE', `sObject type '${type}' is not supported.`);
      let id = String(given);
      if (method === 'POST') id = this.#org.create(object, record, options);
      else if (method === 'PATCH') this.#org.update(object, id, record, options);
      else throw new SalesforceError('METHOD_NOT_ALLOWED', `HTTP Method '${method}' not allowed.`, 405);
      return { id, success: true, errors: [] };
    } catch (error) {
      if (!(error instanceof SalesforceError)) throw error;
      const { errorCode: statusCode, message, fields } = error;
      return {
        ...(given === undefined ? {} : { id: given }),
        success: false,
        errors: [{ statusCode, message, fields }],
      };
    }
  }

  #saving(request: RestRequest): SaveOptions {
    const rule = String(request.headers['sforce-duplicate-rule-header'] ?? '');
    return { by: this.#org.users.integration, allowDuplicates: /allowSave\s*=\s*true/i.test(rule) };
  }
}

function* existing(rows: Iterable<Row>): Iterable<Row> {
  for (const row of rows) if (row.IsDeleted !== true) yield row;
}

function ok(body: unknown): RestAnswer {
  return { status: 200, body };
}

function notFound(): SalesforceError {
  return new SalesforceError('NOT_FOUND', 'The requested resource does not exist', 404);
}

function objectOf(name: string, errorCode: string, message: string): ObjectName {
  const known = Object.keys(OBJECTS).find((each) => each.toLowerCase() === name.toLowerCase());
  if (known === undefined)
    throw new SalesforceError(errorCode, message, errorCode === 'NOT_FOUND' ? 404 : 400);
  return known as ObjectName;
}

function valuesOf(body: unknown): RecordValues {
  if (typeof body === 'object' && body !== null) return body as RecordValues;
  throw new SalesforceError('JSON_PARSER_ERROR', 'The HTTP entity body is required');
}
