import { docsOf, embeddedVariables, serviceVariables } from './variables.ts';

/** The text of docs/configuration.md. */
export function configurationPage(): string {
  const { PATH: _path, ...embedded } = embeddedVariables;
  return [
    '# Configuration',
    '',
    'Heed is configured by environment variables alone. A wrong value stops the start with one line that names it; a',
    'variable set to nothing counts as not set. This page is written from `config/variables.ts` by',
    '`npm run docs:config`.',
    '',
    '## API and worker',
    ...tableOf(serviceVariables),
    '',
    '## Services that `npm start` and `npm test` start themselves',
    ...tableOf(embedded),
    '',
  ].join('\n');
}

function tableOf(variables: Readonly<Record<string, Parameters<typeof docsOf>[0]>>): string[] {
  const rows = Object.entries(variables).map(([name, schema]) => {
    const { meaning, unset } = docsOf(schema);
    return `| \`${name}\` | ${meaning.replaceAll('|', '\\|')} | ${unset} |`;
  });
  return ['| variable | meaning | when not set |', '|---|---|---|', ...rows];
}
