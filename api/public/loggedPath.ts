/** Folder of the pages for recipients; the rest of the path is a token. */
export const PUBLIC_FOLDER = '/u';

/** A path as logs may show it: a token lets its holder change what somebody gets, so none is ever written down. */
export function loggedPath(path: string): string {
  return path.startsWith(`${PUBLIC_FOLDER}/`) ? `${PUBLIC_FOLDER}/…` : path;
}
