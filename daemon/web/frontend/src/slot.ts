/** A place for an image: its pane, how far it has come, and what is said when it cannot be shown. */

import type { Types } from '@cornerstonejs/core';
import { bytes, Failed, SignedOut } from './api';
import { el } from './dom';
import type { Pane } from './pane';
import type { StudyImage } from './types';

type Viewer = typeof import('./viewer');

const decoded = new Map<string, Promise<Types.IImage>>();
const progress = new Map<string, Set<(share: number) => void>>();

/** Fetch and decode an image once; `told` hears how far it is. */
export function load(
  viewer: Promise<Viewer>,
  image: StudyImage,
  told: (share: number) => void = () => {},
): Promise<Types.IImage> {
  const key = image.sop_instance_uid;
  const hear = progress.get(key) ?? new Set();
  hear.add(told);
  progress.set(key, hear);
  let made = decoded.get(key);
  if (made === undefined) {
    const { file } = image;
    const fetched =
      file === null
        ? Promise.reject(new Failed('', 410))
        : bytes(file, (share) => hear.forEach((one) => one(share)));
    made = fetched
      .then(async (data) => (await viewer).decode(data))
      .finally(() => progress.delete(key));
    decoded.set(key, made);
    made.catch(() => decoded.delete(key)); // it may be tried again
  }
  return made;
}

export class Slot {
  readonly figure: HTMLElement;
  readonly host: HTMLDivElement;
  pane: Pane | null = null;
  image: StudyImage | null = null;
  private readonly bar = el('progress', { max: 1, 'aria-label': 'Loading the image' });
  private readonly message = el('div', { class: 'unshown', role: 'status' });
  private readonly title = el('figcaption', {});
  private readonly state = el('output', { class: 'reading' });
  private asked = 0;

  constructor(
    private readonly viewer: Promise<Viewer>,
    private readonly name: string,
    private readonly onsignedout: () => void,
  ) {
    this.host = el('div', { class: 'pane' });
    this.figure = el('figure', { class: 'slot', id: `slot-${name}` },
      this.host, this.title, this.state, this.bar, this.message); // prettier-ignore
    this.bar.hidden = this.message.hidden = true;
  }

  /** Show an image; true once it is seen, false where it cannot be or another was asked for. */
  async show(image: StudyImage, title: string): Promise<boolean> {
    const turn = ++this.asked;
    this.image = image;
    this.title.textContent = title;
    this.message.hidden = true;
    this.state.textContent = '';
    this.figure.dataset.state = 'loading';
    this.bar.hidden = false;
    this.bar.removeAttribute('value');
    try {
      const pixels = await load(this.viewer, image, (share) => {
        if (turn === this.asked && share >= 0) this.bar.value = share;
      });
      const { Pane, rendering } = await this.viewer;
      if (turn !== this.asked) return false;
      this.host.hidden = false;
      this.pane ??= new Pane(rendering(), this.name, this.host);
      await this.pane.show(pixels);
      this.figure.dataset.state = 'shown';
      performance.mark(`hilum-shown-${this.name}`);
      return true;
    } catch (error) {
      if (turn === this.asked) this.fail(image, title, error);
      return false;
    } finally {
      if (turn === this.asked) this.bar.hidden = true;
    }
  }

  /** What is seen: the window and the zoom. */
  tell(text: string): void {
    this.state.textContent = text;
  }

  private fail(image: StudyImage, title: string, error: unknown): void {
    this.figure.dataset.state = 'failed';
    this.host.hidden = true;
    if (error instanceof SignedOut) return this.onsignedout();
    const server = error instanceof Failed;
    const gone = server && (error.status === 404 || error.status === 410);
    const why = gone
      ? 'Its file is no longer kept here. The PACS may still have it.'
      : server
        ? error.message
        : 'What is stored is not what its header says: the object is damaged. It was not changed; the sender may have the original.';
    const again = el('button', { type: 'button', onclick: () => void this.show(image, title) }, 'Try again');
    this.message.replaceChildren(
      el('strong', {}, `The image ${title} cannot be shown.`),
      el('p', {}, why),
      el('p', {}, 'The other images and the review are not affected. To report it, give your administrator this number:'),
      el('code', {}, image.sop_instance_uid),
      el('p', {}, again),
    );
    this.message.hidden = false;
  }
}
