import { createVerify, randomBytes } from 'node:crypto';
import type { Org } from './org.ts';

/** A connected app that may get tokens for the integration user. */
export interface ConnectedApp {
  readonly clientId: string;
  readonly clientSecret: string;
  /** The username that a JWT must name as its subject. */
  readonly username: string;
  /** Certificate or public key in PEM that JWTs are verified with; `null`: no JWT bearer flow. */
  readonly publicKey: string | null;
}

export interface TokenAnswer {
  readonly status: number;
  readonly body: object;
}

/**
 * The token endpoint.
 *
 * Source: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration"
 * (remoteaccess_oauth_client_credentials_flow.htm) and "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration"
 * (remoteaccess_oauth_jwt_flow.htm): the assertion is signed RS256, `iss` is the client id, `sub` the username, `aud`
 * the login server, `exp` within the next minutes.
 */
export class TokenEndpoint {
  readonly #org: Org;
  readonly #app: ConnectedApp;
  #tokens = new Set<string>();
  /** How many tokens were given out. */
  issued = 0;

  constructor(org: Org, app: ConnectedApp) {
    this.#org = org;
    this.#app = app;
  }

  /** Every session ends, as after its timeout. */
  expireSessions(): void {
    this.#tokens = new Set();
  }

  isValid(token: string): boolean {
    return this.#tokens.has(token);
  }

  answer(form: URLSearchParams, instanceUrl: string): TokenAnswer {
    const grant = form.get('grant_type');
    if (grant === 'client_credentials') {
      const known =
        form.get('client_id') === this.#app.clientId && form.get('client_secret') === this.#app.clientSecret;
      return known ? this.#issue(instanceUrl) : refused('invalid_client', 'invalid client credentials');
    }
    if (grant === 'urn:ietf:params:oauth:grant-type:jwt-bearer') {
      const wrong = this.#refuseAssertion(form.get('assertion') ?? '', instanceUrl);
      return wrong === null ? this.#issue(instanceUrl) : refused('invalid_grant', wrong);
    }
    return refused('unsupported_grant_type', 'grant type not supported');
  }

  #issue(instanceUrl: string): TokenAnswer {
    const token = `${this.#org.id.slice(0, 15)}!${randomBytes(40).toString('base64url')}`;
    this.#tokens.add(token);
    this.issued += 1;
    const id = `${instanceUrl}/id/${this.#org.id}/${this.#org.users.integration}`;
    const body = {
      access_token: token,
      signature: randomBytes(32).toString('base64'),
      scope: 'api',
      instance_url: instanceUrl,
      id,
      token_type: 'Bearer',
      issued_at: String(Date.now()),
    };
    return { status: 200, body };
  }

  #refuseAssertion(assertion: string, audience: string): string | null {
    const [header, payload, signature] = assertion.split('.');
    if (!header || !payload || !signature || this.#app.publicKey === null) return 'invalid assertion';
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Record<string, unknown>;
    const verifies = createVerify('RSA-SHA256')
      .update(`${header}.${payload}`)
      .verify(this.#app.publicKey, signature, 'base64url');
    if (!verifies) return 'invalid assertion';
    if (claims.iss !== this.#app.clientId) return 'invalid client id';
    if (claims.aud !== audience) return 'audience is invalid';
    const ahead = Number(claims.exp) - Date.now() / 1_000;
    if (!(ahead > 0 && ahead <= 300)) return 'expired authorization code';
    return claims.sub === this.#app.username ? null : "user hasn't approved this consumer";
  }
}

function refused(error: string, description: string): TokenAnswer {
  return { status: 400, body: { error, error_description: description } };
}
