import { isAddressProblem, type ParsedAddress, parseAddress, parseDomain } from '../../domain/address.ts';
import { ApiProblem, bodyProblem } from '../problems.ts';

/**
 * Reads an address out of a body.
 *
 * @param field JSON Pointer of the field
 * @throws ApiProblem naming the field
 */
export function bodyAddress(field: string, value: string): ParsedAddress {
  const parsed = parseAddress(value);
  if (isAddressProblem(parsed)) throw bodyProblem('invalid-request', field, parsed.message);
  return parsed;
}

/** Like {@link bodyAddress}, out of the query. */
export function queryAddress(field: string, value: string): ParsedAddress {
  const parsed = parseAddress(value);
  if (isAddressProblem(parsed)) {
    throw new ApiProblem('invalid-request', parsed.message, {
      errors: [{ in: 'query', field, message: parsed.message }],
    });
  }
  return parsed;
}

/** Reads a domain to be suppressed out of a body, in A-labels. */
export function bodyDomain(field: string, value: string): string {
  const parsed = parseDomain(value);
  if (isAddressProblem(parsed)) throw bodyProblem('invalid-request', field, parsed.message);
  return parsed.domain;
}
