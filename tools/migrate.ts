/**
 * `npm run db:migrate`: brings the database to the newest schema, before the API and the worker of a new version start.
 * `npm start` does it by itself.
 */
import { configOrExit, loadConfig } from '../config/config.ts';
import { migrate } from '../db/migrate.ts';

const { database } = configOrExit(() => loadConfig());
await migrate(database.url);
console.log('The database has the newest schema.');
