import { DefaultLogger, type LogEntry } from '@temporalio/worker';

/** The worker for pages of broadcasts has activities alone, on purpose. */
const MEANT = 'No workflows registered, not polling for workflow tasks';

/** What the SDK says that somebody should know of. */
export function createSdkLogger(write: (entry: LogEntry) => void): DefaultLogger {
  return new DefaultLogger('WARN', (entry) => {
    if (entry.message !== MEANT) write(entry);
  });
}
