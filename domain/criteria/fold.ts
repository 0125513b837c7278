/**
 * Upper-case letters that came with Unicode 17: the newer of this runtime and PostgreSQL knows them, the other does not.
 * They stay as they are on both sides.
 */
const LATER = /[\uA7CE\uA7D2\uA7D4\u{16EA0}-\u{16EB8}]/u;

/**
 * The form by which criteria compare texts without regard to letter case: each code point by itself becomes its simple
 * lower-case mapping of Unicode 16, and a final sigma becomes a sigma. There is no locale (I becomes i, İ becomes i, ı
 * stays), nothing grows or shrinks (ß stays, ẞ becomes ß), accents and their encoding stay as they are. `folded` in
 * db/queries/criteriaSql.ts is the same in SQL; a test compares the two for every code point there is.
 */
export function fold(text: string): string {
  if (/^[\0-\x7F]*$/.test(text)) return text.toLowerCase();
  return Array.from(text, foldCodePoint).join('');
}

function foldCodePoint(character: string): string {
  if (character === 'ς') return 'σ';
  // The only one whose full lower case has two code points; its simple mapping is the plain letter.
  if (character === 'İ') return 'i';
  return LATER.test(character) ? character : character.toLowerCase();
}
