/** What the reader has said so far, kept in this tab until it is stored. */

import { ask, Conflict } from './api';
import type { Answer, Study, StudyImage } from './types';

export interface Added {
  sop_instance_uid: string;
  finding: string;
}

interface Draft {
  answers: Record<string, Answer>;
  added: Added[];
  note: string;
}

export interface Written {
  id: number;
  study: string;
  until: number; // milliseconds, by this machine's clock
  draft: Draft;
  kind: string;
}

const UNDO_MS = 10_000;
const UNDO = 'hilum.undo';
const KEPT = 'hilum.draft.';

// Of a first read, made before the computer's result is shown
const STATED: Record<Answer, string> = { agree: 'present', disagree: 'absent', unsure: 'unsure' };

const empty = (): Draft => ({ answers: {}, added: [], note: '' });

function stored<T>(key: string): T | null {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? 'null') as T | null;
  } catch {
    return null;
  }
}

export class Review {
  /** Called after each change. */
  onchange: () => void = () => {};
  restored = false;
  /** Whether what was said here is stored, and nothing was said since. */
  stored = false;
  private draft: Draft;

  constructor(private study: Study) {
    const kept = stored<Draft>(this.key);
    this.draft = { ...empty(), ...kept };
    this.restored = kept !== null;
  }

  /** The study as it is now; what was said stays. */
  renew(study: Study): void {
    this.study = study;
  }

  /** After a first read: what it stated, as answers to what the computer has now shown. */
  carry({ draft }: Written, study: Study): void {
    this.study = study;
    this.draft = { ...draft, answers: {}, note: '' };
    for (const image of study.images) {
      for (const { name, present } of image.findings) {
        const stated = draft.answers[`${image.sop_instance_uid}/${name}`] ?? 'disagree';
        const same = (stated === 'agree') === present;
        const answer = stated === 'unsure' ? 'unsure' : same ? 'agree' : 'disagree';
        this.draft.answers[`${image.sop_instance_uid}/${name}`] = answer;
      }
    }
    this.changed();
  }

  /** Without patient data: the study's UID, and nothing of the patient beside what was typed. */
  private get key(): string {
    return `${KEPT}${this.study.withheld ? 'first.' : ''}${this.study.study_instance_uid}`;
  }

  get first(): boolean {
    return this.study.withheld;
  }

  answer(image: StudyImage, finding: string): Answer | undefined {
    return this.draft.answers[`${image.sop_instance_uid}/${finding}`];
  }

  /** Answer, or take the same answer back. */
  set(image: StudyImage, finding: string, answer: Answer): void {
    const key = `${image.sop_instance_uid}/${finding}`;
    if (this.draft.answers[key] === answer) delete this.draft.answers[key];
    else this.draft.answers[key] = answer;
    this.changed();
  }

  get added(): readonly Added[] {
    return this.draft.added;
  }

  add(sop: string, finding: string): void {
    const known = this.draft.added.some((one) => one.sop_instance_uid === sop && one.finding === finding);
    if (!known) this.draft.added.push({ sop_instance_uid: sop, finding });
    this.changed();
  }

  take(added: Added): void {
    this.draft.added = this.draft.added.filter((one) => one !== added);
    this.changed();
  }

  get note(): string {
    return this.draft.note;
  }

  set note(text: string) {
    this.draft.note = text;
    this.keep();
  }

  /** How often each answer stands, and how many findings have none. */
  get counts(): Record<Answer | 'silent', number> {
    const counts = { agree: 0, disagree: 0, unsure: 0, silent: 0 };
    for (const { answer } of this.answers()) counts[answer] += 1;
    const all = this.study.images.flatMap((image) => asked(this.study, image));
    counts.silent = all.length - counts.agree - counts.disagree - counts.unsure;
    return counts;
  }

  get touched(): boolean {
    const { answers, added, note } = this.draft;
    return Object.keys(answers).length > 0 || added.length > 0 || note.trim() !== '';
  }

  private answers(): { sop_instance_uid: string; finding: string; answer: Answer }[] {
    // Who reads first states each finding. A review answers what it wants to: what it leaves is
    // confirmed as the report has it, and teaches the model nothing.
    return this.study.images.flatMap((image) =>
      asked(this.study, image).flatMap(({ name }) => {
        const answer = this.answer(image, name) ?? (this.first ? 'disagree' : undefined);
        const at = { sop_instance_uid: image.sop_instance_uid, finding: name };
        return answer === undefined ? [] : [{ ...at, answer }];
      }),
    );
  }

  private changed(): void {
    this.keep();
    this.onchange();
  }

  private keep(): void {
    if (this.touched) this.stored = false;
    if (this.touched) sessionStorage.setItem(this.key, JSON.stringify(this.draft));
    else sessionStorage.removeItem(this.key);
  }

  /** Store it. Raises what `ask` raises; the draft is kept unless it was stored. */
  async confirm(): Promise<Written> {
    const kind = this.first ? 'first_read' : 'review';
    const sent = Date.now();
    const response = await ask(
      `/api/v1/studies/${this.study.study_instance_uid}/reviews`,
      'POST',
      {
        kind,
        seen_version: this.study.version,
        answers: this.answers().map((one) =>
          this.first ? { ...one, answer: STATED[one.answer] } : one,
        ),
        added: this.draft.added,
        note: this.draft.note.trim(),
      },
    );
    const { id } = (await response.json()) as { id: number };
    const written: Written = {
      id,
      study: this.study.study_instance_uid,
      until: sent + UNDO_MS,
      draft: this.draft,
      kind,
    };
    sessionStorage.removeItem(this.key);
    if (!this.first) sessionStorage.setItem(UNDO, JSON.stringify(written));
    this.draft = empty();
    this.stored = !this.first;
    this.onchange();
    return written;
  }
}

/** The findings that a reader is asked about in an image. */
export function asked(study: Study, image: StudyImage): { name: string; meaning: string }[] {
  if (image.status !== 'analysed') return [];
  return study.withheld ? image.looked_for : image.findings;
}

/** The review that can still be taken back, of this study or of the one before. */
export function undoable(): Written | null {
  const written = stored<Written>(UNDO);
  if (written === null || written.until <= Date.now()) {
    sessionStorage.removeItem(UNDO);
    return null;
  }
  return written;
}

/** Take it back: what it said is a draft again. Raises Conflict where it is too late. */
export async function undo(written: Written): Promise<void> {
  sessionStorage.removeItem(UNDO);
  if (written.until <= Date.now()) throw new Conflict('The ten seconds are over: it is stored.');
  await ask(`/api/v1/reviews/${written.id}`, 'DELETE');
  const { answers, added, note } = written.draft;
  if (Object.keys(answers).length + added.length + note.length > 0) {
    sessionStorage.setItem(KEPT + written.study, JSON.stringify(written.draft));
  }
}
