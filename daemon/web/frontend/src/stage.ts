/** The images of the study, a prior beside them, and the tools for both. */

import { get, SignedOut } from './api';
import { announce, byId, day, el } from './dom';
import { gestures } from './gestures';
import type { Pane } from './pane';
import { load, Slot } from './slot';
import type { Finding, HeatMap, Prior, Study, StudyImage } from './types';

const STRENGTH = 'hilum.heat-strength';

export class Stage {
  /** Called when another image of the study is shown. */
  onimage: (image: StudyImage) => void = () => {};
  private readonly viewer = import('./viewer');
  private readonly main: Slot;
  private readonly prior: Slot;
  private readonly panes = byId('panes');
  private at = 0;
  private compared: { prior: Prior; study: Study; at: number } | null = null;
  private linked = true;
  private active: Slot;
  private finding: Finding | null = null;
  private heatOn = false;
  private readonly maps = new Map<string, Promise<HeatMap>>();
  private lensOn = false;
  private lens: Slot | null = null;

  constructor(
    private study: Study,
    private readonly onsignedout: () => void,
  ) {
    this.main = new Slot(this.viewer, 'main', onsignedout);
    this.prior = new Slot(this.viewer, 'prior', onsignedout);
    this.active = this.main;
    this.prior.figure.hidden = true;
    this.panes.append(this.main.figure, this.prior.figure);
    this.strength.value = localStorage.getItem(STRENGTH) ?? '60';
    this.strength.addEventListener('input', () => {
      localStorage.setItem(STRENGTH, this.strength.value);
      this.heatOn = Number(this.strength.value) > 0;
      void this.drawHeat();
    });
    byId('presets').addEventListener('change', (event) => {
      this.active.pane?.use(Number((event.target as HTMLSelectElement).value));
    });
  }

  get image(): StudyImage | undefined {
    return this.study.images[this.at];
  }

  /** The study with the results that it has now; what is shown stays. */
  renew(study: Study): void {
    this.study = study;
    this.fillStrip();
  }

  /** Show the first image that was analysed, and fetch the others behind it. */
  async start(): Promise<void> {
    const first = this.study.images.findIndex((image) => image.status === 'analysed');
    await this.go(Math.max(0, first));
    for (const image of this.study.images) {
      await load(this.viewer, image).catch(() => undefined); // told when it is asked for
    }
  }

  async go(number: number): Promise<void> {
    const { images } = this.study;
    if (images.length === 0) {
      byId('panes').replaceChildren(el('p', { class: 'unshown' }, 'No image of this study is kept here.'));
      return;
    }
    this.at = (number + images.length) % images.length;
    const image = images[this.at];
    this.fillStrip();
    this.onimage(image);
    const shown = await this.main.show(image, this.titleOf(image, this.at, images.length));
    if (!shown || this.main.pane === null) return;
    this.bind(this.main, this.main.pane);
    await this.drawHeat();
    this.told(this.main);
  }

  step(by: number): void {
    void this.go(this.at + by);
  }

  private titleOf(image: StudyImage, at: number, of: number): string {
    const view = image.view_position || 'view not stated';
    return of > 1 ? `${view} · ${at + 1} of ${of}` : view;
  }

  private fillStrip(): void {
    const strip = byId('strip');
    const { images } = this.study;
    strip.hidden = images.length < 2;
    strip.replaceChildren(
      ...images.map((image, k) =>
        el(
          'button',
          {
            type: 'button',
            'aria-pressed': String(k === this.at),
            title: image.status === 'analysed' ? 'Analysed' : (image.reason ?? 'Not analysed'),
            onclick: () => void this.go(k),
          },
          `${k + 1} · ${image.view_position || '?'}`,
          image.status === 'analysed' ? null : el('small', {}, 'not analysed'),
        ),
      ),
    );
  }

  // -- tools ---------------------------------------------------------------------------------

  private bind(slot: Slot, pane: Pane): void {
    if (slot.host.dataset.bound === 'yes') return;
    slot.host.dataset.bound = 'yes';
    pane.onchange = () => this.told(slot);
    gestures(pane, {
      touched: () => this.activate(slot),
      moved: (moved) => this.follow(moved),
      lens: (over, at) => void this.magnify(over, at),
      magnifies: () => this.lensOn,
    });
  }

  private activate(slot: Slot): void {
    if (this.active === slot) return;
    this.active = slot;
    this.told(slot);
  }

  private follow(moved: Pane): void {
    if (!this.linked || this.compared === null) return;
    const other = moved === this.main.pane ? this.prior.pane : this.main.pane;
    if (other?.image != null) other.view = moved.view;
  }

  /** Do something to the image that is worked on, and to a linked one. */
  act(what: (pane: Pane) => void, moves = false): void {
    const { pane } = this.active;
    if (pane?.image == null) return;
    what(pane);
    if (moves) this.follow(pane);
    this.told(this.active);
  }

  both(what: (pane: Pane) => void): void {
    for (const slot of [this.main, this.prior]) {
      if (slot.pane?.image != null) what(slot.pane);
    }
    this.told(this.active);
  }

  cycle(): void {
    this.act((pane) => pane.use(pane.preset + 1));
  }

  private told(slot: Slot): void {
    const { pane } = slot;
    if (pane?.image == null) return;
    const { centre, width } = pane.level;
    const window = pane.image.color ? '' : `C ${Math.round(centre)} W ${Math.round(width)} · `;
    slot.tell(`${window}${Math.round(100 * pane.zoom)} %${pane.inverted ? ' · inverted' : ''}`);
    if (slot !== this.active) return;
    const presets = byId<HTMLSelectElement>('presets');
    const wanted = pane.presets.map((preset) => preset.name).join('\n');
    if (presets.dataset.of !== wanted) {
      presets.dataset.of = wanted;
      presets.replaceChildren(
        ...pane.presets.map((preset, k) => el('option', { value: k }, preset.name)),
        el('option', { value: -1, hidden: true }, 'By hand'),
      );
    }
    presets.disabled = pane.presets.length === 0;
    presets.value = String(pane.preset);
    byId('tool-invert').setAttribute('aria-pressed', String(pane.inverted));
  }

  // -- the magnifier -------------------------------------------------------------------------

  toggleLens(): void {
    this.lensOn = !this.lensOn;
    byId('tool-lens').setAttribute('aria-pressed', String(this.lensOn));
    announce(this.lensOn ? 'Magnifier on: move over the image.' : 'Magnifier off.');
    if (!this.lensOn) void this.magnify(null, null);
  }

  private async magnify(over: Pane | null, at: [number, number] | null): Promise<void> {
    if (over?.image == null || at === null) {
      if (this.lens !== null) this.lens.figure.hidden = true;
      return;
    }
    if (this.lens === null) {
      this.lens = new Slot(this.viewer, 'lens', this.onsignedout);
      this.lens.figure.className = 'lens';
      document.body.append(this.lens.figure);
    }
    const { figure, host } = this.lens;
    const box = over.host.getBoundingClientRect();
    figure.hidden = false;
    figure.style.left = `${box.left + at[0] - host.clientWidth / 2}px`;
    figure.style.top = `${box.top + at[1] - host.clientHeight / 2}px`;
    if (this.lens.pane === null) {
      const { Pane, rendering } = await this.viewer;
      this.lens.pane ??= new Pane(rendering(), 'lens', host);
    }
    const { pane } = this.lens;
    if (pane.image !== over.image) await pane.show(over.image);
    pane.copy(over, at, 2.5);
  }

  // -- heat maps -----------------------------------------------------------------------------

  private get strength(): HTMLInputElement {
    return byId<HTMLInputElement>('heat-strength');
  }

  /** The finding whose map is shown while maps are. */
  select(finding: Finding | null): void {
    this.finding = finding;
    void this.drawHeat();
  }

  toggleHeat(): void {
    this.heatOn = !this.heatOn;
    if (this.heatOn && this.strength.value === '0') this.strength.value = '60';
    void this.drawHeat();
  }

  private async drawHeat(): Promise<void> {
    const { pane } = this.main;
    const legend = byId('legend');
    const { finding, image } = this;
    const url = finding?.map ?? null;
    const on = this.heatOn && !this.study.withheld;
    byId('tool-heat').setAttribute('aria-pressed', String(on));
    byId<HTMLButtonElement>('tool-heat').disabled = this.study.withheld;
    legend.hidden = !on || finding === null;
    if (!on || finding === null || pane?.image == null) {
      pane?.setHeat(null, 0);
      return;
    }
    byId('legend-text').textContent =
      url === null ? `${finding.meaning}: no map is kept` : `${finding.meaning}: where the model looked, low to high`;
    if (url === null) return pane.setHeat(null, 0);
    let made = this.maps.get(url);
    if (made === undefined) {
      made = get<HeatMap>(url);
      this.maps.set(url, made);
    }
    try {
      const map = await made;
      // Another finding or image may have been asked for meanwhile
      if (this.finding === finding && this.image === image && this.heatOn) {
        pane.setHeat(map, Number(this.strength.value) / 100);
        this.main.figure.dataset.heat = finding.name;
      }
    } catch (error) {
      this.maps.delete(url);
      if (error instanceof SignedOut) this.onsignedout();
      else byId('legend-text').textContent = `${finding.meaning}: its map cannot be shown.`;
    }
  }

  // -- priors --------------------------------------------------------------------------------

  /** Show a prior beside the study, the latest where none is named; once more takes it away. */
  async togglePrior(): Promise<void> {
    if (this.compared !== null) return this.endPrior();
    const [latest] = this.study.priors;
    if (latest === undefined) return announce('No earlier study of this patient is here.');
    await this.showPrior(latest);
  }

  async showPrior(prior: Prior): Promise<void> {
    let study: Study;
    try {
      study = await get<Study>(prior.url);
    } catch (error) {
      if (error instanceof SignedOut) this.onsignedout();
      else announce('The earlier study cannot be shown.');
      return;
    }
    const at = Math.max(0, study.images.findIndex((image) => image.status === 'analysed'));
    if (study.images.length === 0) return announce('No image of the earlier study is kept here.');
    this.compared = { prior, study, at };
    this.prior.figure.hidden = false;
    this.panes.classList.add('two');
    byId('tool-prior').setAttribute('aria-pressed', 'true');
    byId<HTMLSelectElement>('priors').value = prior.study_instance_uid;
    const shown = await this.prior.show(study.images[at], `Prior ${day(prior.study_date)} · ${study.images[at].view_position || 'view not stated'}`); // prettier-ignore
    if (!shown || this.prior.pane === null) return;
    this.bind(this.prior, this.prior.pane);
    this.main.pane?.fit();
    this.told(this.prior);
  }

  private endPrior(): void {
    this.compared = null;
    this.active = this.main;
    this.prior.figure.hidden = true;
    this.panes.classList.remove('two');
    byId('tool-prior').setAttribute('aria-pressed', 'false');
    this.main.pane?.fit();
  }

  toggleLink(): void {
    this.linked = !this.linked;
    byId('tool-link').setAttribute('aria-pressed', String(this.linked));
    announce(this.linked ? 'Both images move together.' : 'Each image moves by itself.');
    if (this.linked && this.main.pane !== null) this.follow(this.main.pane);
  }

  /** The choice of priors, in the tools. */
  fillPriors(): void {
    const { priors } = this.study;
    const choice = byId<HTMLSelectElement>('priors');
    for (const id of ['priors', 'tool-prior', 'tool-link']) byId(id).hidden = priors.length === 0;
    choice.replaceChildren(
      ...priors.map((prior) =>
        el('option', { value: prior.study_instance_uid }, day(prior.study_date) || 'no date'),
      ),
    );
    choice.addEventListener('change', () => {
      const chosen = priors.find((prior) => prior.study_instance_uid === choice.value);
      if (chosen !== undefined) void this.showPrior(chosen);
    });
  }
}
