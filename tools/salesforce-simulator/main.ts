/**
 * `npm run salesforce-simulator -- [--port 8090] [--records 20] [--data FILE]`: a Salesforce to try the sync against. The
 * first line is JSON and tells what to configure; `GET /simulator` shows the records, `POST /simulator` makes things
 * happen. With a file the records are there again the next time.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { OrgSnapshot } from './org.ts';
import { SIMULATED_APP, startSalesforceSimulator } from './simulator.ts';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8090' },
    records: { type: 'string', default: '20' },
    data: { type: 'string' },
  },
});
const simulator = await startSalesforceSimulator({ port: Number(values.port) });
const { org, traffic } = simulator;
// Enough to try things for a day, whatever is tried.
traffic.allowed = 1_000_000;
if (values.data !== undefined && existsSync(values.data)) {
  org.restore(JSON.parse(readFileSync(values.data, 'utf8')) as OrgSnapshot);
} else {
  for (let n = 1; n <= Number(values.records); n += 1) {
    org.create(n % 4 === 0 ? 'Contact' : 'Lead', {
      FirstName: 'Person',
      LastName: `Number ${n}`,
      Email: `person${n}@example.com`,
      HasOptedOutOfEmail: n % 7 === 0,
      ...(n % 4 === 0 ? {} : { Company: 'Example' }),
    });
  }
}
console.log(
  JSON.stringify({
    loginUrl: simulator.url,
    clientId: SIMULATED_APP.clientId,
    clientSecret: SIMULATED_APP.clientSecret,
    control: `${simulator.url}/simulator`,
  }),
);
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, async () => {
    if (values.data !== undefined) writeFileSync(values.data, JSON.stringify(org.snapshot()));
    await simulator.close();
    process.exit(0);
  });
}
