/**
 * An error as the REST API answers it: an array of one `{ message, errorCode, fields }` with an HTTP status, or an entry
 * of `errors` with `statusCode` in the result of one record of a collection.
 *
 * Source: REST API Developer Guide, "Status Codes and Error Responses" (errorcodes.htm); SOAP API Developer Guide, "Core
 * Data Types Used in API Calls", StatusCode (sforce_api_calls_concepts_core_data_objects.htm).
 */
export class SalesforceError extends Error {
  readonly errorCode: string;
  readonly status: number;
  readonly fields: readonly string[];

  constructor(errorCode: string, message: string, status = 400, fields: readonly string[] = []) {
    super(message);
    this.errorCode = errorCode;
    this.status = status;
    this.fields = fields;
  }
}

/** A field that the user may not see does not exist for it: REST API, errorcodes.htm; SOQL, INVALID_FIELD. */
export function noSuchColumn(field: string, object: string): SalesforceError {
  return new SalesforceError(
    'INVALID_FIELD',
    `No such column '${field}' on entity '${object}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names.`,
  );
}
