/** The viewer: Cornerstone3D set up once, and objects as images that it can show.
 *
 * Cornerstone draws on the CPU everywhere. The same pixels then come out on a reading room's PC
 * without a graphics card as on any other, at their full 16 bits, with the VOI and modality tables
 * that its WebGL rendering leaves out; a radiograph is one image, not a volume.
 */

import { cache, Enums, imageLoader, init, RenderingEngine, setUseCPURendering } from '@cornerstonejs/core';
import type { Types } from '@cornerstonejs/core';
import loader, { wadouri } from '@cornerstonejs/dicom-image-loader';
import { logging } from '@cornerstonejs/metadata';

export { Pane } from './pane';

/** An object that is no image that can be shown. */
export class Damaged extends Error {}

let engine: RenderingEngine | undefined;

function start(): RenderingEngine {
  if (engine === undefined) {
    setUseCPURendering(true);
    init({ rendering: { useCPURendering: true } } as Parameters<typeof init>[0]);
    setUseCPURendering(true);
    cache.setMaxCacheSize(1 << 30);
    // Its older reader of headers, which tells a damaged object apart, warns at each start
    for (const name of ['wadouri', 'wadors']) logging.loaderLog.getLogger(name).setLevel('error');
    loader.init({ maxWebWorkers: 1, useLegacyMetadataProvider: true });
    engine = new RenderingEngine('study');
  }
  return engine;
}

/** The engine of all panes; its workers start with it. */
export const rendering = start;

/** Decode the bytes of a Part 10 file. Raises Damaged. */
export async function decode(bytes: Uint8Array<ArrayBuffer>): Promise<Types.IImage> {
  start();
  const imageId = wadouri.fileManager.add(new Blob([bytes]) as File);
  try {
    const options = { useRGBA: true, requestType: Enums.RequestType.Interaction, priority: 0 };
    const image = await imageLoader.loadAndCacheImage(imageId, options);
    const { rows, columns } = image;
    const cells = image.getPixelData().length;
    if (!(rows > 0 && columns > 0) || cells < rows * columns) {
      throw new Damaged('fewer pixels than its header says');
    }
    return image;
  } catch (error) {
    if (error instanceof Damaged) throw error;
    const inner = (error as { error?: unknown })?.error ?? error;
    throw new Damaged(inner instanceof Error ? inner.message : String(inner));
  } finally {
    wadouri.fileManager.remove(Number(imageId.split(':')[1]));
  }
}
