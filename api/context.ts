import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { SalesforceClient } from '../adapters/salesforce/client.ts';
import type { UnsubscribeTokens } from '../adapters/tokens/unsubscribeTokens.ts';
import type { Webhook } from '../adapters/webhooks/webhook.ts';
import type { Database } from '../db/connection.ts';
import type { AddressHasher } from '../db/queries/addresses.ts';
import type { AuthenticatedKey } from '../db/queries/apiKeys.ts';
import type { Origin } from '../domain/words.ts';

/** What the API is made of; nothing in `api/` reads the environment or a clock of its own. */
export interface ApiDeps {
  readonly db: Database;
  readonly hasher: AddressHasher;
  /** Tokens of unsubscribe links. */
  readonly tokens: UnsubscribeTokens;
  /** Webhooks of the providers that are configured. */
  readonly webhooks: readonly Webhook[];
  readonly config: {
    /** Right side of every Message-ID. */
    readonly messageIdDomain: string;
    /** Largest file that an import takes, in bytes. */
    readonly maxImportBytes: number;
    /** Beginning of links for recipients, without a slash at the end. */
    readonly publicUrl: string;
  };
  readonly temporal: {
    /** Where a person sees the workflow in the Temporal UI; `null` where no UI is configured. */
    uiLinkOf(workflowId: string): string | null;
    /** Whether the Temporal server answers. */
    ready(): Promise<boolean>;
  };
  /** What is asked of Salesforce itself, as long as it answers; `null` where none is configured. */
  readonly salesforce: Pick<SalesforceClient, 'describe'> | null;
  readonly log: Log;
  readonly now: () => Date;
}

/** What is asked of a logger; a pino logger is one. */
export interface Log {
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What the middleware leaves for the handlers. */
export interface ApiEnv {
  Variables: { requestId: string; key: AuthenticatedKey };
}

export type Api = OpenAPIHono<ApiEnv>;

/**
 * Who changes something through the API, for the audit trail (I6).
 *
 * @param reason in the words of the caller, where some were given
 */
export function originOf(c: Context<ApiEnv>, reason: string | null = null): Origin {
  return { way: 'api', actor: c.get('key').name, reason, requestId: c.get('requestId') };
}
