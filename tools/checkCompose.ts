/** Checks docker-compose.yml and the Dockerfile; part of `npm test`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { composeProblems, dockerfileProblems } from './compose.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const problems = [
  ...composeProblems(read('docker-compose.yml'), root).map((problem) => `docker-compose.yml: ${problem}`),
  ...dockerfileProblems(read('Dockerfile'), root).map((problem) => `Dockerfile: ${problem}`),
];
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
