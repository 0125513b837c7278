import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { ActivityExecuteInput, ActivityInboundCallsInterceptor, Next } from '@temporalio/worker';
import { maskAddresses } from '../domain/address.ts';

/**
 * No personal data in Temporal: whatever an activity throws reaches it with email addresses masked, and without the
 * causes behind it, whose texts nobody has looked at.
 */
export const maskFailures: ActivityInboundCallsInterceptor = {
  async execute(input: ActivityExecuteInput, next: Next<ActivityInboundCallsInterceptor, 'execute'>) {
    try {
      return await next(input);
    } catch (error) {
      if (error instanceof CancelledFailure) throw error;
      throw masked(error);
    }
  },
};

function masked(error: unknown): ApplicationFailure {
  const failure = ApplicationFailure.fromError(error instanceof Error ? error : new Error(String(error)));
  const copy = ApplicationFailure.create({
    message: maskAddresses(failure.message ?? ''),
    type: failure.type ?? 'Error',
    nonRetryable: failure.nonRetryable ?? false,
  });
  copy.stack = maskAddresses(failure.stack ?? '');
  return copy;
}
