/** One image on the screen: a viewport of Cornerstone, and the heat map on a canvas above it. */

import { Enums, metaData, type RenderingEngine, type StackViewport } from '@cornerstonejs/core';
import type { Types } from '@cornerstonejs/core';
import { linear, sigmoid, type Table, type Voi } from './grey';
import { affine, paint, type Affine } from './heat';
import type { HeatMap } from './types';

export interface Preset {
  name: string;
  centre: number;
  width: number;
  table: Table | null;
}

type Point = [number, number];

/** What Cornerstone's CPU viewport keeps to itself and has no public way to change. */
interface Inner {
  _cpuFallbackEnabledElement: { viewport: { voiLUT?: Table } };
}

const SMALLEST = 0.02;
const LARGEST = 40;

export class Pane {
  readonly viewport: StackViewport;
  /** Called when what is seen has changed: the zoom, the window. */
  onchange: () => void = () => {};
  image: Types.IImage | null = null;
  presets: Preset[] = [];
  preset = 0;
  inverted = false;
  turned = 0;
  private fitted = true;
  private voi: Voi = 'LINEAR';
  private window = { centre: 0, width: 0 };
  private readonly overlay: HTMLCanvasElement;
  private heat: { picture: OffscreenCanvas; map: HeatMap } | null = null;
  private strength = 0;

  constructor(
    private readonly engine: RenderingEngine,
    private readonly id: string,
    readonly host: HTMLDivElement,
  ) {
    engine.enableElement({
      viewportId: id,
      type: Enums.ViewportType.STACK,
      element: host,
      defaultOptions: { background: [0, 0, 0] },
    });
    this.viewport = engine.getViewport(id) as StackViewport;
    this.overlay = document.createElement('canvas');
    this.overlay.className = 'overlay';
    host.append(this.overlay);
    host.addEventListener(Enums.Events.IMAGE_RENDERED, () => this.drawOverlay());
    new ResizeObserver(() => this.resize()).observe(host);
  }

  destroy(): void {
    this.engine.disableElement(this.id);
    this.host.replaceChildren();
  }

  /** Show a decoded image, fitted, as the object says it is to be seen. */
  async show(image: Types.IImage): Promise<void> {
    this.image = image;
    this.heat = null;
    this.presets = presetsOf(image);
    this.voi = voiOf(image);
    // Unsigned, whatever the pixels are: the loader reads them with the pixels' sign
    for (const table of tablesOf(image)) table.lut = table.lut.map((entry) => entry & 0xffff);
    this.size();
    await this.viewport.setStack([image.imageId]);
    this.turned = 0;
    this.reset();
  }

  reset(): void {
    this.inverted = false;
    this.turned = 0;
    this.viewport.setViewPresentation({ rotation: 0 });
    this.invert(false);
    this.use(0);
    this.fit();
  }

  /** The size of the canvas in device pixels, so that 1:1 is one pixel of the image on one. */
  private size(): void {
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.viewport.canvas, this.overlay]) {
      const width = Math.max(1, Math.round(this.host.clientWidth * ratio));
      const height = Math.max(1, Math.round(this.host.clientHeight * ratio));
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
      }
    }
    // Averages where the image is made smaller: fine lines do not break up
    const context = this.viewport.canvas.getContext('2d');
    if (context !== null) context.imageSmoothingQuality = 'high';
  }

  private resize(): void {
    this.size();
    if (this.image === null) return;
    if (this.fitted) this.fit();
    else this.render();
  }

  render(): void {
    this.viewport.render();
    this.onchange();
  }

  // -- where the image lies ------------------------------------------------------------------

  /** Device pixels per pixel of the image. */
  get zoom(): number {
    return this.viewport.getZoom();
  }

  fit(): void {
    if (this.image === null) return;
    const { width, height } = this.viewport.canvas;
    const { columns, rows, columnPixelSpacing: x = 1, rowPixelSpacing: y = 1 } = this.image;
    const [wide, high] = [columns * Math.max(1, (x || 1) / (y || 1)), rows * Math.max(1, (y || 1) / (x || 1))];
    const [across, down] = this.turned % 180 === 0 ? [wide, high] : [high, wide];
    this.viewport.resetCamera();
    this.viewport.setZoom(Math.min(width / across, height / down));
    this.fitted = true;
    this.render();
  }

  /** One pixel of the image on one of the screen, where it is looked at. */
  actual(): void {
    this.zoomTo(1, this.middle());
  }

  private middle(): Point {
    return [this.host.clientWidth / 2, this.host.clientHeight / 2];
  }

  /** Zoom, with the image's point under `at` (CSS pixels in the pane) staying there. */
  zoomTo(scale: number, at: Point = this.middle()): void {
    if (this.image === null) return;
    const before = this.viewport.canvasToWorld(at);
    this.viewport.setZoom(Math.min(LARGEST, Math.max(SMALLEST, scale)));
    const after = this.viewport.canvasToWorld(at);
    this.shift([before[0] - after[0], before[1] - after[1], before[2] - after[2]]);
  }

  /** Move the image by so many CSS pixels. */
  pan(dx: number, dy: number): void {
    if (this.image === null) return;
    const [x, y] = this.middle();
    const from = this.viewport.canvasToWorld([x, y]);
    const to = this.viewport.canvasToWorld([x + dx, y + dy]);
    this.shift([from[0] - to[0], from[1] - to[1], from[2] - to[2]]);
  }

  private shift(by: [number, number, number]): void {
    const { focalPoint } = this.viewport.getCamera();
    if (focalPoint === undefined) return;
    const [a, b, c] = focalPoint;
    this.viewport.setCamera({ focalPoint: [a + by[0], b + by[1], c + by[2]] });
    this.fitted = false;
    this.render();
  }

  turn(): void {
    this.turned = (this.turned + 90) % 360;
    this.viewport.setViewPresentation({ rotation: this.turned });
    this.fit();
  }

  /** What is in the middle, as shares of the image, and the zoom against the fitted one. */
  get view(): { at: Point; zoom: number } {
    const { columns = 1, rows = 1 } = this.image ?? {};
    const [a, b, c, d, e, f] = this.placed();
    const [x, y] = [this.overlay.width / 2 - e, this.overlay.height / 2 - f];
    const area = a * d - b * c;
    return {
      at: [(d * x - c * y) / area / columns, (a * y - b * x) / area / rows],
      zoom: this.zoom / this.fittedZoom(),
    };
  }

  set view({ at, zoom }: { at: Point; zoom: number }) {
    if (this.image === null) return;
    this.viewport.setZoom(zoom * this.fittedZoom());
    const [a, b, c, d, e, f] = this.placed();
    const [x, y] = [at[0] * this.image.columns, at[1] * this.image.rows];
    const ratio = window.devicePixelRatio || 1;
    const [px, py] = [a * x + c * y + e, b * x + d * y + f];
    this.pan((this.overlay.width / 2 - px) / ratio, (this.overlay.height / 2 - py) / ratio);
  }

  private fittedZoom(): number {
    const { columns = 1, rows = 1 } = this.image ?? {};
    const [across, down] = this.turned % 180 === 0 ? [columns, rows] : [rows, columns];
    return Math.min(this.overlay.width / across, this.overlay.height / down);
  }

  // -- grey ----------------------------------------------------------------------------------

  get level(): { centre: number; width: number } {
    return this.window;
  }

  /** Use the window of this number among the object's. */
  use(number: number): void {
    if (this.presets.length === 0) return;
    this.preset = number % this.presets.length;
    const { centre, width, table } = this.presets[this.preset];
    this.setWindow(centre, width, table);
  }

  /** Change the window as a drag does: across for the width, down for the centre. */
  adjust(dx: number, dy: number): void {
    const range = this.image === null ? 1 : this.image.maxPixelValue - this.image.minPixelValue;
    const step = Math.max(range, 1) / 800;
    const { centre, width } = this.window;
    this.preset = -1;
    this.setWindow(centre + dy * step, Math.max(1, width + dx * step), null);
  }

  private setWindow(centre: number, width: number, table: Table | null): void {
    if (this.image === null || this.image.color) return;
    this.window = { centre, width };
    const { minPixelValue: low, maxPixelValue: high } = this.image;
    const inner = (this.viewport as unknown as Inner)._cpuFallbackEnabledElement.viewport;
    inner.voiLUT =
      table ?? (this.voi === 'SIGMOID' ? sigmoid(centre, width, low, high) : undefined);
    this.viewport.setProperties({ voiRange: linear(centre, width, this.voi) });
    this.render();
  }

  /** Black for white; an object of MONOCHROME1 is the right way round when not inverted. */
  invert(inverted: boolean): void {
    this.inverted = inverted;
    if (this.image === null) return;
    this.viewport.setProperties({ invert: this.image.invert !== inverted });
    this.render();
  }

  /** Show what another pane shows at `at` (CSS pixels in it), so many times larger. */
  copy(other: Pane, at: Point, times: number): void {
    const world = other.viewport.canvasToWorld(at);
    this.voi = other.voi;
    this.turned = other.turned;
    this.viewport.setViewPresentation({ rotation: other.turned });
    const { table = null } = other.presets[other.preset] ?? {};
    this.setWindow(other.window.centre, other.window.width, table);
    this.invert(other.inverted);
    this.viewport.setZoom(Math.min(LARGEST, times * other.zoom));
    const here = this.viewport.canvasToWorld(this.middle());
    this.shift([world[0] - here[0], world[1] - here[1], world[2] - here[2]]);
  }

  // -- the heat map --------------------------------------------------------------------------

  /** Lay a map over the image; null for none. `strength` is 0 to 1. */
  setHeat(map: HeatMap | null, strength: number): void {
    this.strength = strength;
    if (map === null) this.heat = null;
    else if (this.heat?.map !== map) {
      const painted = paint(map);
      if (painted === null) this.heat = null;
      else {
        const picture = new OffscreenCanvas(painted.width, painted.height);
        picture.getContext('2d')?.putImageData(painted, 0, 0);
        this.heat = { picture, map };
      }
    }
    this.drawOverlay();
  }

  /** From pixels of the image to device pixels of the canvas. */
  placed(): Affine {
    const data = this.viewport.getImageData() as Types.CPUIImageData | undefined;
    if (data === undefined || this.image === null) return [1, 0, 0, 1, 0, 0];
    const { origin, spacing, direction } = data;
    const ratio = window.devicePixelRatio || 1;
    const at = (x: number, y: number): Point => {
      const world = [0, 1, 2].map(
        (k) => origin[k] + direction[k] * x * spacing[0] + direction[3 + k] * y * spacing[1],
      ) as Types.Point3;
      const [u, v] = this.viewport.worldToCanvas(world);
      return [u * ratio, v * ratio];
    };
    const { columns, rows } = this.image;
    return affine(at(0, 0), at(columns, 0), at(0, rows), columns, rows);
  }

  private drawOverlay(): void {
    const context = this.overlay.getContext('2d');
    if (context === null) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    if (this.heat === null || this.image === null || this.strength === 0) return;
    const { left, top, scale, side } = this.heat.map.placement;
    context.setTransform(...this.placed());
    context.save();
    context.beginPath();
    context.rect(0, 0, this.image.columns, this.image.rows);
    context.clip();
    context.globalAlpha = this.strength;
    context.imageSmoothingQuality = 'high';
    context.drawImage(this.heat.picture, left, top, scale * side, scale * side);
    context.restore();
  }
}

function tablesOf(image: Types.IImage): Table[] {
  const held = image as unknown as { voiLUT?: Table; modalityLUT?: Table };
  return [held.voiLUT, held.modalityLUT].filter((one) => one !== undefined);
}

function voiOf(image: Types.IImage): Voi {
  // Not the image's own: the loader takes the first letter of the text for the function
  const { voiLUTFunction } = metaData.get(Enums.MetadataModules.VOI_LUT, image.imageId) ?? {};
  const said = String([voiLUTFunction].flat()[0] ?? 'LINEAR').trim().toUpperCase();
  return said === 'SIGMOID' || said === 'LINEAR_EXACT' ? said : 'LINEAR';
}

/** The windows of the object in its order, its table first, and the whole range at the end. */
function presetsOf(image: Types.IImage): Preset[] {
  if (image.color) return [];
  const module = metaData.get(Enums.MetadataModules.VOI_LUT, image.imageId) ?? {};
  const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : value == null ? [] : [value]);
  const centres = list(module.windowCenter).map(Number);
  const widths = list(module.windowWidth).map(Number);
  const names = list(module.windowCenterWidthExplanation ?? module.windowWidthExplanation);
  const { minPixelValue: low, maxPixelValue: high } = image;
  const whole = { centre: (low + high + 1) / 2, width: Math.max(1, high - low + 1) };
  const table = (image as unknown as { voiLUT?: Table }).voiLUT;
  const presets: Preset[] = table === undefined ? [] : [{ name: 'Table', ...whole, table }];
  centres.forEach((centre, k) => {
    const width = widths[k];
    if (!Number.isFinite(centre) || !(width > 0)) return;
    const name = typeof names[k] === 'string' && names[k] !== '' ? String(names[k]) : '';
    presets.push({ name: name || `Window ${k + 1}`, centre, width, table: null });
  });
  presets.push({ name: 'Full range', ...whole, table: null });
  return presets;
}
