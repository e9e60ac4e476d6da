/** The mouse, a pen or fingers on a pane. */

import type { Pane } from './pane';

export interface Gestures {
  /** The pane that is worked on. */
  touched: (pane: Pane) => void;
  /** Where it was moved or zoomed, so that a linked one follows. */
  moved: (pane: Pane) => void;
  /** The magnifier, in CSS pixels in the pane; null takes it away. */
  lens: (pane: Pane, at: [number, number] | null) => void;
  /** Whether the magnifier is on. */
  magnifies: () => boolean;
}

type Drag = 'level' | 'pan' | 'zoom';

function kind(event: PointerEvent): Drag {
  if (event.button === 1 || (event.button === 0 && event.shiftKey)) return 'pan';
  if (event.button === 2 || (event.button === 0 && event.ctrlKey)) return 'zoom';
  return 'level';
}

export function gestures(pane: Pane, on: Gestures): void {
  const { host } = pane;
  const fingers = new Map<number, [number, number]>();
  let drag: Drag | null = null;
  let start: [number, number] = [0, 0];

  const at = (event: MouseEvent): [number, number] => {
    const box = host.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  const pinch = (event: PointerEvent): void => {
    const before = [...fingers.values()];
    fingers.set(event.pointerId, at(event));
    const after = [...fingers.values()];
    const apart = ([a, b]: [number, number][]): number => Math.hypot(a[0] - b[0], a[1] - b[1]);
    const middle = ([a, b]: [number, number][]): [number, number] => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const [from, to] = [middle(before), middle(after)];
    pane.pan(to[0] - from[0], to[1] - from[1]);
    pane.zoomTo((pane.zoom * apart(after)) / Math.max(1, apart(before)), to);
    on.moved(pane);
  };

  host.addEventListener('pointerdown', (event) => {
    on.touched(pane);
    if (pane.image === null) return;
    host.setPointerCapture(event.pointerId);
    start = at(event);
    if (event.pointerType === 'touch') fingers.set(event.pointerId, start);
    drag = fingers.size > 1 ? null : kind(event);
    event.preventDefault();
  });
  host.addEventListener('pointermove', (event) => {
    const here = at(event);
    if (fingers.size === 2 && fingers.has(event.pointerId)) return pinch(event);
    if (drag === null) {
      if (on.magnifies()) on.lens(pane, here);
      return;
    }
    const [dx, dy] = [here[0] - start[0], here[1] - start[1]];
    if (drag === 'level') pane.adjust(dx, dy);
    else {
      if (drag === 'pan') pane.pan(dx, dy);
      else pane.zoomTo(pane.zoom * Math.exp(-dy / 150));
      on.moved(pane);
    }
    start = here;
    if (on.magnifies()) on.lens(pane, here);
  });
  const end = (event: PointerEvent): void => {
    fingers.delete(event.pointerId);
    drag = null;
  };
  host.addEventListener('pointerup', end);
  host.addEventListener('pointercancel', end);
  host.addEventListener('pointerleave', () => on.lens(pane, null));
  host.addEventListener('contextmenu', (event) => event.preventDefault());
  host.addEventListener(
    'wheel',
    (event) => {
      event.preventDefault();
      on.touched(pane);
      pane.zoomTo(pane.zoom * Math.exp(-Math.sign(event.deltaY) * 0.15), at(event));
      on.moved(pane);
    },
    { passive: false },
  );
  host.addEventListener('dblclick', () => {
    pane.fit();
    on.moved(pane);
  });
}
