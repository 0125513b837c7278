/**
 * The import rules of the folders, checked on every run of `npm test`. test/tools/importRules.test.ts shows that each is
 * enforced. Files are read with SWC, since dependency-cruiser does not know TypeScript 7 (its warning about
 * that is without meaning here).
 */

const FOLDERS = [
  'domain',
  'workflows',
  'activities',
  'adapters',
  'db',
  'api',
  'worker',
  'config',
  'tools',
  'test',
];

/** What each folder may import besides itself. */
const MAY_IMPORT = {
  domain: [],
  workflows: ['domain', 'activities'],
  activities: ['db', 'adapters', 'domain'],
  adapters: ['domain'],
  db: ['domain'],
  api: ['db', 'adapters', 'domain', 'config'],
  worker: ['workflows', 'activities', 'adapters', 'db', 'domain', 'config'],
  config: [],
};

const PRODUCTION = `^(${Object.keys(MAY_IMPORT).join('|')})/`;

const folderRules = Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
  name: `${folder}-imports`,
  comment: `${folder}/ may import ${['itself', ...allowed.map((name) => `${name}/`)].join(', ')} and nothing else of this project.`,
  severity: 'error',
  from: { path: `^${folder}/` },
  to: { path: `^(${FOLDERS.filter((name) => name !== folder && !allowed.includes(name)).join('|')})/` },
}));

/** Without input, output, clock or chance: domain names, CSV, MIME and HTML are read, and Node's bytes. */
const PURE_PACKAGES = '^(node_modules/(tr46|tldts|csv-parse|postal-mime|html-to-text)/|buffer$)';
const WORKFLOW_PACKAGES = '^node_modules/@temporalio/(workflow|common)/';

module.exports = {
  forbidden: [
    ...folderRules,
    {
      name: 'workflows-activities-types',
      comment:
        'Workflows know activities by their types alone; code of an activity in the sandbox is a mistake.',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { path: '^activities/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'domain-pure',
      comment: 'domain/ has no input or output, no clock and no chance: of packages only pure ones.',
      severity: 'error',
      from: { path: '^domain/' },
      to: { dependencyTypes: ['core', 'npm', 'npm-dev', 'npm-optional', 'npm-peer'], pathNot: PURE_PACKAGES },
    },
    {
      name: 'workflows-sandbox',
      comment:
        'Of packages, workflows use @temporalio/workflow and common; whatever else passes the bundler silently.',
      severity: 'error',
      from: { path: '^workflows/' },
      to: {
        dependencyTypes: ['core', 'npm', 'npm-dev', 'npm-optional', 'npm-peer'],
        pathNot: WORKFLOW_PACKAGES,
      },
    },
    {
      name: 'sql-in-db',
      comment: 'SQL lives in db/ alone.',
      severity: 'error',
      from: { path: '^(domain|workflows|activities|adapters|api|worker|config)/' },
      to: { path: '^node_modules/(pg|pg-copy-streams|drizzle-orm)/' },
    },
    {
      name: 'no-development-packages',
      comment: 'What runs in production must be there without the development packages.',
      severity: 'error',
      from: { path: PRODUCTION },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-cycles',
      comment: 'Files that load each other cannot be understood, or started, one at a time.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'nothing-missing',
      comment: 'Every import leads somewhere.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'listed-in-package-json',
      comment: 'A package that is only there because another one needs it may be gone with the next update.',
      severity: 'error',
      from: { path: `^(${FOLDERS.join('|')})/` },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
  ],
  options: {
    parser: 'swc',
    preserveSymlinks: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^test/workflows/histories/' },
    tsPreCompilationDeps: 'specify',
    detectJSDocImports: false,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.mts', '.js', '.mjs', '.cjs', '.json'],
    },
  },
};
