import { loadEmbeddedConfig } from '../config/config.ts';
import { loadWorkflowBundle } from './workflowBundle.ts';

// Bundles the workflows ahead, for an image whose workers are then up sooner.
await loadWorkflowBundle(loadEmbeddedConfig().cacheDir);
