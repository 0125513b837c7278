/**
 * `npm run salesforce-simulator -- [--port 8090] [--records 20]`: a Salesforce to try the sync against. The first line is
 * JSON and tells what to configure; `GET /simulator` shows the records, `POST /simulator` makes things happen.
 */
import { parseArgs } from 'node:util';
import { SIMULATED_APP, startSalesforceSimulator } from './simulator.ts';

const { values } = parseArgs({
  options: { port: { type: 'string', default: '8090' }, records: { type: 'string', default: '20' } },
});
const simulator = await startSalesforceSimulator({ port: Number(values.port) });
// Enough to try things for a day, whatever is tried.
simulator.traffic.allowed = 1_000_000;
for (let n = 1; n <= Number(values.records); n += 1) {
  simulator.org.create(n % 4 === 0 ? 'Contact' : 'Lead', {
    FirstName: 'Person',
    LastName: `Number ${n}`,
    Email: `person${n}@example.com`,
    HasOptedOutOfEmail: n % 7 === 0,
    ...(n % 4 === 0 ? {} : { Company: 'Example' }),
  });
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
  process.once(signal, () => void simulator.close().then(() => process.exit(0)));
}
