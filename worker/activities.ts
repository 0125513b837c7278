import { createDeliveryActivities } from '../activities/delivery.ts';
import { createImportActivities } from '../activities/import.ts';
import { createSweepActivities } from '../activities/sweep.ts';
import type { EmailComposer } from '../adapters/mailer/composer.ts';
import type { Mailer } from '../adapters/mailer/mailer.ts';
import type { WorkflowProcesses } from '../adapters/temporal/processes.ts';
import type { Database } from '../db/connection.ts';
import type { AddressHasher } from '../db/queries/addresses.ts';

/** All activities, by the worker that runs them. */
export function createActivities(parts: {
  db: Database;
  hasher: AddressHasher;
  mailer: Mailer;
  composer: EmailComposer;
  processes: WorkflowProcesses;
}) {
  return {
    sends: createDeliveryActivities(parts),
    operations: { ...createImportActivities(parts), ...createSweepActivities(parts) },
  };
}

export type Activities = ReturnType<typeof createActivities>;
