/** The study page: what the server knows, the images, the review. */

import { Conflict, get, SignedOut } from './api';
import { announce, byId, el } from './dom';
import { listen, showSheet, type Key } from './keys';
import { Panel } from './panel';
import { asked, Review, undo, undoable, type Written } from './review';
import { Stage } from './stage';
import type { Answer, Study } from './types';

const uid = byId('study').dataset.study ?? '';
const address = `/api/v1/studies/${uid}`;

/** Seconds after a review at which the report's way to the PACS is looked at again. */
const LOOK_AGAIN = [11, 13, 16, 20, 30, 60];

let study: Study;
let stage: Stage;
let review: Review;
let panel: Panel;
let selected = 0;
let busy = false;

// -- what is said ------------------------------------------------------------------------------

type Say = { text: string; kind?: 'calm' | 'trouble'; more?: HTMLElement };

function say(what: Say | null): void {
  const box = byId('notice');
  box.hidden = what === null;
  if (what === null) return;
  box.className = what.kind ?? 'calm';
  box.replaceChildren(el('p', {}, what.text), ...(what.more === undefined ? [] : [what.more]));
}

function signedOut(): void {
  const link = el('a', { href: `/sign-in?next=${encodeURIComponent(location.pathname)}` }, 'Sign in again');
  const text = review?.touched
    ? 'Your session has ended. What you have said is kept in this tab and will be here when you are back.'
    : 'Your session has ended.';
  say({ text, kind: 'trouble', more: link });
}

function trouble(error: unknown): void {
  if (error instanceof SignedOut) return signedOut();
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof Conflict) {
    const look = el('button', { type: 'button', onclick: () => void renew().then(() => say({ text: 'This is the study as it is now. What you have said is still here: look at it once more and confirm.' })) }, 'Show what has changed'); // prettier-ignore
    return say({ text: `${text} Nothing that you have said is lost.`, more: look });
  }
  say({ text, kind: 'trouble' });
}

// -- the study ---------------------------------------------------------------------------------

async function renew(background = false): Promise<void> {
  study = await get<Study>(address, background);
  review.renew(study);
  stage.renew(study);
  choose(selected);
}

function draw(): void {
  panel.draw(study, stage.image, selected);
}

function choose(number: number): void {
  const { image } = stage;
  const names = image === undefined ? [] : asked(study, image);
  selected = Math.max(0, Math.min(number, names.length - 1));
  stage.select(study.withheld ? null : (image?.findings[selected] ?? null));
  draw();
}

/** Answer, and go on to the next finding. */
function answer(given: Answer): void {
  const { image } = stage;
  if (image === undefined || !study.may_review) return;
  const names = asked(study, image);
  if (names.length === 0) return;
  review.set(image, names[selected].name, given);
  announce(`${names[selected].meaning}: ${review.answer(image, names[selected].name) ?? 'not answered'}`);
}

async function confirm(): Promise<void> {
  if (busy || !study.may_review) return;
  busy = true;
  const button = byId<HTMLButtonElement>('confirm');
  button.disabled = true;
  try {
    const written = await review.confirm();
    byId<HTMLTextAreaElement>('note').value = '';
    say(null);
    if (written.kind === 'first_read') {
      study = await get<Study>(address);
      review.carry(written, study);
      await renew();
      say({ text: 'Your first read is stored. Beside it stands what the computer found: change what you see otherwise now, and confirm.' });
    } else {
      countDown(written);
      for (const seconds of LOOK_AGAIN) setTimeout(() => void renew(true).catch(() => undefined), 1000 * seconds);
      await renew();
    }
  } catch (error) {
    trouble(error);
  } finally {
    busy = false;
    button.disabled = false;
  }
}

// -- undo ----------------------------------------------------------------------------------------

let ticking = 0;

function countDown(written: Written): void {
  const box = byId('undo');
  const left = (): number => Math.ceil((written.until - Date.now()) / 1000);
  const whose = written.study === uid ? 'Confirmed.' : 'The study before is confirmed.';
  const clock = el('span', { class: 'clock' });
  const meter = el('progress', { max: 10, 'aria-hidden': 'true' });
  const button = el('button', { type: 'button', onclick: () => void takeBack() }, 'Undo ', el('kbd', {}, 'z'));
  box.replaceChildren(el('span', {}, `✓ ${whose}`), button, clock, meter);
  box.hidden = false;
  announce(`${whose} It can be undone for ten seconds with z.`);
  clearInterval(ticking);
  const show = (): void => {
    const seconds = left();
    clock.textContent = `${Math.max(0, seconds)} s`;
    meter.value = (written.until - Date.now()) / 1000;
    if (seconds <= 0) {
      clearInterval(ticking);
      box.hidden = true;
    }
  };
  show();
  ticking = window.setInterval(show, 200);
}

async function takeBack(): Promise<void> {
  const written = undoable();
  if (written === null) return announce('There is nothing to undo.');
  clearInterval(ticking);
  byId('undo').hidden = true;
  try {
    await undo(written);
    if (written.study !== uid) location.assign(`/studies/${written.study}`);
    else {
      review = made();
      await renew();
      byId<HTMLTextAreaElement>('note').value = review.note;
      say({ text: 'Undone. Nothing was sent; your answers are here again.' });
    }
  } catch (error) {
    trouble(error);
  }
}

async function next(): Promise<void> {
  try {
    const found = await get<{ study_instance_uid: string | null }>(`${address}/next`);
    location.assign(found.study_instance_uid === null ? '/worklist' : `/studies/${found.study_instance_uid}`);
  } catch (error) {
    trouble(error);
  }
}

// -- keys ----------------------------------------------------------------------------------------

const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [40, 0],
  ArrowRight: [-40, 0],
  ArrowUp: [0, 40],
  ArrowDown: [0, -40],
};

function focus(id: string): void {
  byId(id).focus();
}

const KEYS: Key[] = [
  { group: 'Review', keys: [...'123456789'], shown: '1 – 9', does: 'pick a finding', run: ({ key }) => choose(Number(key) - 1) },
  { group: 'Review', keys: ['a'], shown: 'a', does: 'agree (first read: present)', run: () => answer('agree') },
  { group: 'Review', keys: ['d'], shown: 'd', does: 'disagree (first read: absent)', run: () => answer('disagree') },
  { group: 'Review', keys: ['u'], shown: 'u', does: 'unsure', run: () => answer('unsure') },
  { group: 'Review', keys: ['x'], shown: 'x', does: 'add a missed finding', run: () => focus('add') },
  { group: 'Review', keys: ['e'], shown: 'e', does: 'write a note (Esc leaves it)', run: () => focus('note') },
  { group: 'Review', keys: ['Enter'], shown: 'Enter', does: 'confirm', run: () => void confirm() },
  { group: 'Review', keys: ['z'], shown: 'z', does: 'undo, for 10 s', run: () => void takeBack() },
  { group: 'Review', keys: ['n'], shown: 'n', does: 'next study', run: () => void next() },
  { group: 'Image', keys: ['h'], shown: 'h', does: 'heat map of the finding', run: () => stage.toggleHeat() },
  { group: 'Image', keys: ['i'], shown: 'i', does: 'invert', run: () => stage.act((pane) => pane.invert(!pane.inverted)) },
  { group: 'Image', keys: ['w'], shown: 'w', does: 'next window of the image', run: () => stage.cycle() },
  { group: 'Image', keys: ['f'], shown: 'f', does: 'fit', run: () => stage.act((pane) => pane.fit(), true) },
  { group: 'Image', keys: ['o'], shown: 'o', does: 'one to one', run: () => stage.act((pane) => pane.actual(), true) },
  { group: 'Image', keys: ['m'], shown: 'm', does: 'magnifier', run: () => stage.toggleLens() },
  { group: 'Image', keys: ['t'], shown: 't', does: 'turn by 90°', run: () => stage.act((pane) => pane.turn()) },
  { group: 'Image', keys: ['+', '='], shown: '+', does: 'larger', run: () => stage.act((pane) => pane.zoomTo(1.2 * pane.zoom), true), repeats: true },
  { group: 'Image', keys: ['-'], shown: '−', does: 'smaller', run: () => stage.act((pane) => pane.zoomTo(pane.zoom / 1.2), true), repeats: true },
  { group: 'Image', keys: Object.keys(ARROWS), shown: '← ↑ ↓ →', does: 'move', run: ({ key }) => stage.act((pane) => pane.pan(...ARROWS[key]), true), repeats: true },
  { group: 'Image', keys: ['r'], shown: 'r', does: 'reset', run: () => stage.both((pane) => pane.reset()) },
  { group: 'Image', keys: [',', '.'], shown: ', .', does: 'image before, image after', run: ({ key }) => stage.step(key === '.' ? 1 : -1) },
  { group: 'Page', keys: ['p'], shown: 'p', does: 'earlier study beside it', run: () => void stage.togglePrior() },
  { group: 'Page', keys: ['l'], shown: 'l', does: 'link both images', run: () => stage.toggleLink() },
  { group: 'Page', keys: ['b'], shown: 'b', does: 'back to the worklist', run: () => location.assign('/worklist') },
  { group: 'Page', keys: ['?'], shown: '?', does: 'this sheet', run: showSheet },
]; // prettier-ignore

/** Buttons name the key that they stand for. */
function bindTools(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>('button[data-key]')) {
    const key = KEYS.find((one) => one.keys.includes(button.dataset.key ?? ''));
    button.title = key === undefined ? '' : `${key.does} (${key.shown})`;
    button.addEventListener('click', () => {
      key?.run(new KeyboardEvent('keydown', { key: button.dataset.key }));
      button.blur(); // so that Enter confirms and does not press it again
    });
  }
}

/** Type a part of the name and press Enter, or choose from the list. */
function bindAdd(): void {
  const add = byId<HTMLInputElement>('add');
  const take = (): void => {
    const finding = panel.meant(add.value);
    if (stage.image === undefined || add.value.trim() === '') return;
    if (finding === undefined) return announce('No finding, or more than one, is called so.');
    review.add(stage.image.sop_instance_uid, finding);
    add.value = '';
    add.blur();
  };
  add.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    event.stopPropagation();
    if (add.value.trim() === '') add.blur();
    else take();
  });
  add.addEventListener('change', take);
}

function made(): Review {
  const one = new Review(study);
  one.onchange = draw;
  panel = new Panel(one, { select: choose, confirm: () => void confirm() });
  return one;
}

async function start(): Promise<void> {
  try {
    study = await get<Study>(address);
  } catch (error) {
    return trouble(error);
  }
  review = made();
  stage = new Stage(study, signedOut);
  stage.onimage = () => choose(0);
  stage.fillPriors();
  const note = byId<HTMLTextAreaElement>('note');
  note.value = review.note;
  note.addEventListener('input', () => (review.note = note.value));
  bindAdd();
  bindTools();
  listen(KEYS);
  if (review.restored) say({ text: 'What you had said of this study is here again.' });
  const pending = undoable();
  if (pending !== null) countDown(pending);
  await stage.start();
  // The report is made some seconds after the last image
  const wait = setInterval(() => {
    if (study.report !== null || study.withheld) clearInterval(wait);
    else void renew(true).catch(() => undefined);
  }, 3000);
}

void start();
