/** A longer piece costs less shared than copied. */
const SHARED_LENGTH = 512;

/**
 * Puts a text together whose long pieces many texts share. The short ones between them are copied into one: concatenated
 * one by one, each leaves an object for the garbage collector as long as the message waits for its turn.
 */
export class TextBuilder {
  #text = '';
  readonly #short: string[] = [];

  add(piece: string): void {
    if (piece.length < SHARED_LENGTH) this.#short.push(piece);
    else this.#text += this.#joined() + piece;
  }

  end(): string {
    return this.#text + this.#joined();
  }

  #joined(): string {
    const joined = this.#short.join('');
    this.#short.length = 0;
    return joined;
  }
}
