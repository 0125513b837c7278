/** SPEC.md's words about automations as types. */

/** A draft does nothing; a paused one holds everybody where they are; a stopped one is over for good. */
export const AUTOMATION_STATES = ['draft', 'active', 'paused', 'stopped'] as const;
export type AutomationState = (typeof AUTOMATION_STATES)[number];

/** Whether those who come to match later are enrolled, too. */
export const AUTOMATION_MODES = ['once', 'continuous'] as const;
export type AutomationMode = (typeof AUTOMATION_MODES)[number];

/**
 * Where an enrollment stands. `suspended` is held by a paused automation; `left` went by a step, `done` through all of
 * them; `removed` was taken out and can be put back; `stopped` ended with its automation, `ended` with its prospect.
 */
export const ENROLLMENT_STATES = [
  'running',
  'suspended',
  'left',
  'done',
  'removed',
  'stopped',
  'ended',
] as const;
export type EnrollmentState = (typeof ENROLLMENT_STATES)[number];

export const STEP_STATES = ['applied', 'skipped', 'waiting', 'suspended'] as const;
export type StepState = (typeof STEP_STATES)[number];
