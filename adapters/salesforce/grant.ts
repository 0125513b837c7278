import { createSign, type KeyObject } from 'node:crypto';

/** How Heed proves who it is, without a person. */
export type SalesforceCredentials =
  | { readonly flow: 'client_credentials'; readonly clientSecret: string }
  | {
      readonly flow: 'jwt_bearer';
      /** RSA. */
      readonly privateKey: KeyObject;
      readonly username: string;
      /** The login server as Salesforce calls it; the login URL where it is another. */
      readonly audience: string;
    };

/** Seconds that an assertion is good for; Salesforce takes up to 5 minutes. */
const ASSERTION_SECONDS = 180;

/**
 * Parameters of a token request.
 *
 * Source: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration" and "OAuth 2.0 JWT
 * Bearer Flow for Server-to-Server Integration"; RFC 6749 section 4.4, RFC 7523 section 2.1.
 *
 * @param now milliseconds of the epoch
 */
export function tokenRequest(
  clientId: string,
  credentials: SalesforceCredentials,
  now: number,
): { grant_type: string } & Record<string, string> {
  if (credentials.flow === 'client_credentials') {
    return { grant_type: 'client_credentials', client_secret: credentials.clientSecret };
  }
  const { privateKey, username, audience } = credentials;
  const exp = Math.floor(now / 1_000) + ASSERTION_SECONDS;
  const signed = [{ alg: 'RS256' }, { iss: clientId, sub: username, aud: audience, exp }]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const signature = createSign('RSA-SHA256').update(signed).sign(privateKey, 'base64url');
  return { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: `${signed}.${signature}` };
}
