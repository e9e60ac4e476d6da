/** Stands for a writer of XML, which nothing here writes. */
export function create(): never {
  throw new Error('This page writes no XML.');
}
