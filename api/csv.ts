/** What a spreadsheet would take for the beginning of a formula, also behind apostrophes, so that an import can undo it. */
const FORMULA = /^'*[=+\-@\t\r]/;

/**
 * One line of CSV (RFC 4180). A cell that a spreadsheet would run as a formula gets an apostrophe in front, which
 * spreadsheets read as "this is text" (OWASP, CSV Injection); imports take it away again.
 */
export function csvLine(cells: readonly (string | null)[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`;
}

function csvCell(cell: string | null): string {
  const text = cell ?? '';
  const harmless = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
