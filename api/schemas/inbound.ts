import { z } from '@hono/zod-openapi';
import type { InboundView } from '../../db/queries/inbound.ts';
import { CATEGORIES } from '../../domain/bounce/verdict.ts';
import { DELIVERY_EVENT_KINDS } from '../../domain/deliveryEvent.ts';
import { EVENT_RESULTS, INBOUND_SOURCES, INBOUND_STATES } from '../../domain/inbound.ts';
import { id, time, timeOf, timeOrNull } from './common.ts';

export const inboundSource = z.enum(INBOUND_SOURCES);
export const inboundState = z.enum(INBOUND_STATES);
export const eventResult = z.enum(EVENT_RESULTS);

const DeliveryEventSchema = z
  .object({
    n: z.int(),
    kind: z.enum(DELIVERY_EVENT_KINDS).openapi({
      description:
        '`gave_up`: somebody on the way stopped trying. `unsubscribe`: the recipient said no by a link of the provider’s own. `none`: not about a delivery, or not understood.',
    }),
    category: z.enum(CATEGORIES).nullable(),
    faultOurs: z.boolean().openapi({ description: 'A fault of ours, never counted against the address.' }),
    status: z.string().nullable().openapi({ description: 'RFC 3463.', example: '5.1.1' }),
    replyCode: z.int().nullable().openapi({ description: 'RFC 5321 section 4.2.', example: 550 }),
    diagnostic: z.string().nullable().openapi({ description: 'The words that were judged.' }),
    rule: z.string().openapi({ description: 'Which rule said so.' }),
    sendId: id.nullable().openapi({ description: 'null where it is about none of our sends.' }),
    result: eventResult.openapi({ description: '`unmatched` changed nothing.' }),
  })
  .openapi('DeliveryEvent');

export const InboundSchema = z
  .object({
    id,
    source: inboundSource.openapi({ description: 'Which way it came in.' }),
    state: inboundState.openapi({
      description: '`received`: not applied yet. `failed`: it could not be read; `failure` says why.',
    }),
    failure: z.string().nullable(),
    size: z.int().openapi({ description: 'Octets of all of it; at most a megabyte is kept.' }),
    recipients: z.array(z.string()).openapi({ description: 'Addresses that it came to, where known.' }),
    receivedAt: time,
    appliedAt: time.nullable(),
    events: z.array(DeliveryEventSchema).openapi({ description: 'What was understood, one a recipient.' }),
  })
  .openapi('Inbound');

export function inboundView(item: InboundView): z.input<typeof InboundSchema> {
  return {
    ...item,
    recipients: [...item.recipients],
    events: [...item.events],
    receivedAt: timeOf(item.receivedAt),
    appliedAt: timeOrNull(item.appliedAt),
  };
}
