/** I1: MAIL FROM follows the gate's decision within this time, else the gate is asked anew. */
export const GATE_HOLDS_MS = 2_000;
