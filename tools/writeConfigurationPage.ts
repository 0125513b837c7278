import { writeFileSync } from 'node:fs';
import { configurationPage } from '../config/document.ts';

/** Writes docs/configuration.md: `npm run docs:config`. */
writeFileSync(new URL('../docs/configuration.md', import.meta.url), configurationPage());
