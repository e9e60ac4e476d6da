/** The steps from stored values to grey that Cornerstone's CPU rendering lacks (PS3.3 C.11.2). */

export interface Table {
  firstValueMapped: number;
  numBitsPerEntry: number;
  lut: number[];
}

/** What an object may ask for. */
export type Voi = 'LINEAR' | 'LINEAR_EXACT' | 'SIGMOID';

/** The sigmoid of C.11.2.1.3.1 as a table over the values that the image holds. */
export function sigmoid(centre: number, width: number, low: number, high: number): Table {
  const first = Math.floor(low);
  const entries = Math.max(2, Math.ceil(high) - first + 1);
  const lut = Array.from({ length: entries }, (_, k) =>
    Math.round(65535 / (1 + Math.exp((-4 * (first + k - centre)) / width))),
  );
  // The reader takes the number of bits from the largest entry
  lut[entries - 1] = Math.max(lut[entries - 1], 32768);
  return { firstValueMapped: first, numBitsPerEntry: 16, lut };
}

/** A window as the reader of LINEAR takes it; LINEAR_EXACT has no half value of its own. */
export function linear(centre: number, width: number, voi: Voi): { lower: number; upper: number } {
  return voi === 'LINEAR_EXACT'
    ? { lower: centre - width / 2, upper: centre + width / 2 }
    : { lower: centre - 0.5 - (width - 1) / 2, upper: centre - 0.5 + (width - 1) / 2 };
}
