import type { ErrorKind } from '../../domain/salesforce/errorKind.ts';

/** A request that Salesforce did not carry out as a whole. Messages name no person. */
export class SalesforceTrouble extends Error {
  override readonly name = 'SalesforceTrouble';
  readonly kind: ErrorKind;
  /** As Salesforce calls it, or what happened to the connection. */
  readonly code: string;

  constructor(kind: ErrorKind, code: string, message: string) {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}
