/** A heat map as a picture and where it lies on the image. Nothing here needs the viewer. */

import type { HeatMap } from './types';

export type Affine = [number, number, number, number, number, number];

/** A cell is drawn as so many picture cells in each direction. */
export const FINE = 16;

/** Cubic convolution (Keys 1981, a = -1/2): smooth, and exact at the cells' centres. */
function cubic(t: number): number {
  const x = Math.abs(t);
  if (x <= 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

/** Weights of the four cells around the centre of each fine cell; the border is repeated. */
function taps(n: number): { cells: number[]; weights: number[] }[] {
  return Array.from({ length: n * FINE }, (_, fine) => {
    const at = (fine + 0.5) / FINE - 0.5;
    const first = Math.floor(at) - 1;
    const all = [0, 1, 2, 3].map((k) => first + k);
    return {
      cells: all.map((cell) => Math.min(n - 1, Math.max(0, cell))),
      weights: all.map((cell) => cubic(at - cell)),
    };
  });
}

/** The map (n, n) at (n * FINE, n * FINE), at least 0. */
export function resample(values: ArrayLike<number>, n: number): Float32Array {
  const steps = taps(n);
  const fine = n * FINE;
  const across = new Float32Array(n * fine);
  for (let y = 0; y < n; y++) {
    steps.forEach(({ cells, weights }, x) => {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += weights[k] * values[y * n + cells[k]];
      across[y * fine + x] = sum;
    });
  }
  const whole = new Float32Array(fine * fine);
  steps.forEach(({ cells, weights }, y) => {
    for (let x = 0; x < fine; x++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += weights[k] * across[cells[k] * fine + x];
      whole[y * fine + x] = Math.max(0, sum);
    }
  });
  return whole;
}

/** Largest value within the image: what lies on the padding beside it does not count. */
export function highest(field: Float32Array, map: HeatMap): number {
  const { placement: place, grid } = map;
  const fine = grid * FINE;
  const step = (place.scale * place.side) / fine;
  const inside = (start: number, end: number, k: number): boolean => {
    const at = start + step * (k + 0.5);
    return at >= 0 && at <= end;
  };
  let top = 0;
  for (let y = 0; y < fine; y++) {
    if (!inside(place.top, place.rows, y)) continue;
    for (let x = 0; x < fine; x++) {
      if (inside(place.left, place.columns, x)) top = Math.max(top, field[y * fine + x]);
    }
  }
  return top;
}

// Plasma (Smith and van der Walt 2015, CC0): perceptually uniform, and nowhere grey, so that it
// is told from the radiograph at every height.
const PLASMA: [number, number, number][] = [
  [13, 8, 135], [75, 3, 161], [125, 3, 168], [168, 34, 150], [203, 70, 121],
  [229, 107, 93], [248, 148, 65], [253, 195, 40], [240, 249, 33],
]; // prettier-ignore

/** Colour of a share 0 to 1 of the maximum. */
export function colour(share: number): [number, number, number] {
  const at = Math.min(1, Math.max(0, share)) * (PLASMA.length - 1);
  const low = Math.min(PLASMA.length - 2, Math.floor(at));
  const part = at - low;
  const mixed = PLASMA[low].map((one, k) => Math.round(one + part * (PLASMA[low + 1][k] - one)));
  return mixed as [number, number, number];
}

/** Opacity 0 to 1: nothing where the map is nothing, and rising smoothly. */
export function opacity(share: number): number {
  const t = Math.min(1, Math.max(0, (share - 0.06) / 0.6));
  return t * t * (3 - 2 * t);
}

/** RGBA of the map, (grid * FINE) squared; null where it is 0 all over the image. */
export function paint(map: HeatMap): ImageData | null {
  const field = resample(map.values, map.grid);
  const top = highest(field, map);
  if (top <= 1e-6) return null;
  const fine = map.grid * FINE;
  const picture = new ImageData(fine, fine);
  for (let k = 0; k < field.length; k++) {
    const share = Math.min(1, field[k] / top);
    const [r, g, b] = colour(share);
    picture.data.set([r, g, b, Math.round(255 * opacity(share))], 4 * k);
  }
  return picture;
}

/** From pixels of the image, its upper left corner (0, 0), to the canvas: by three corners. */
export function affine(
  corner: [number, number],
  right: [number, number],
  below: [number, number],
  columns: number,
  rows: number,
): Affine {
  return [
    (right[0] - corner[0]) / columns,
    (right[1] - corner[1]) / columns,
    (below[0] - corner[0]) / rows,
    (below[1] - corner[1]) / rows,
    corner[0],
    corner[1],
  ];
}
