/** Beside the image: the findings as bars, what was not analysed, the review, the report. */

import { byId, el, percent } from './dom';
import { asked, type Review } from './review';
import type { Answer, Finding, Study, StudyImage } from './types';

const ANSWERS: { answer: Answer; key: string; seen: string; first: string; sign: string }[] = [
  { answer: 'agree', key: 'a', seen: 'Agree', first: 'Present', sign: '✓' },
  { answer: 'disagree', key: 'd', seen: 'Disagree', first: 'Absent', sign: '✗' },
  { answer: 'unsure', key: 'u', seen: 'Unsure', first: 'Unsure', sign: '?' },
];

export interface PanelEvents {
  select: (number: number) => void;
  confirm: () => void;
}

type Named = { name: string; meaning: string } & Partial<Finding>;

export class Panel {
  private addable: Study['vocabulary'] = [];

  constructor(
    private readonly review: Review,
    private readonly on: PanelEvents,
  ) {}

  draw(study: Study, image: StudyImage | undefined, selected: number): void {
    this.drawFindings(study, image, selected);
    this.drawAdded(study, image);
    this.drawConfirm(study);
    this.drawReport(study);
  }

  private drawFindings(study: Study, image: StudyImage | undefined, selected: number): void {
    const box = byId('findings');
    if (image === undefined) return box.replaceChildren();
    const notice = study.withheld
      ? el('p', { class: 'withheld' }, 'First read: the computer’s result is withheld until you have stated what you see.')
      : null;
    const named: Named[] = asked(study, image);
    const model = image.model === null ? null : el('p', { class: 'model' }, `Model ${image.model}`);
    const refused =
      image.status === 'analysed'
        ? null
        : el('div', { class: 'refused' },
            el('strong', {}, '⊘ Not analysed'),
            el('p', {}, image.reason ?? 'No reason is given.'),
            image.reason_code === null ? null : el('code', {}, image.reason_code)); // prettier-ignore
    const rows = named.map((finding, k) => this.row(study, image, finding, k, k === selected));
    box.replaceChildren(
      ...[notice, refused, named.length > 0 ? el('ol', {}, ...rows) : null, model].filter((one) => one !== null),
    );
  }

  private row(study: Study, image: StudyImage, finding: Named, k: number, selected: boolean): HTMLElement {
    const said = this.review.answer(image, finding.name);
    const sign = ANSWERS.find((one) => one.answer === said);
    const measured = finding.probability !== undefined && finding.threshold !== undefined;
    const answers = study.may_review
      ? el('div', { class: 'answers', role: 'group', 'aria-label': `${finding.meaning}: your answer` },
          ...ANSWERS.map((one) =>
            el('button', {
                type: 'button',
                'aria-pressed': String(said === one.answer),
                'data-answer': one.answer,
                onclick: () => this.review.set(image, finding.name, one.answer),
              },
              `${one.sign} ${study.withheld ? one.first : one.seen} `, el('kbd', {}, one.key)))) // prettier-ignore
      : null;
    const head = el('button', {
        type: 'button', class: 'head', 'aria-expanded': String(selected), 'data-finding': finding.name,
        onclick: () => this.on.select(k),
      },
      el('kbd', {}, String(k + 1)),
      el('span', { class: 'name' }, finding.meaning),
      sign === undefined
        ? null
        : el('span', { class: 'said', 'data-answer': sign.answer }, `${sign.sign} ${study.withheld ? sign.first : sign.seen}`),
      measured ? el('span', { class: 'value' }, `${percent(finding.probability!)} %`) : null,
    ); // prettier-ignore
    const row = el('li', { class: selected ? 'finding selected' : 'finding' }, head);
    if (measured) row.append(...bar(finding as Finding, selected));
    if (selected && answers !== null) row.append(answers);
    return row;
  }

  private drawAdded(study: Study, image: StudyImage | undefined): void {
    byId('review').hidden = !study.may_review;
    const there = new Set(image === undefined ? [] : asked(study, image).map((one) => one.name));
    const left = study.vocabulary.filter((one) => !there.has(one.name));
    const wanted = left.map((one) => one.name).join();
    const names = byId('addable');
    if (names.dataset.of !== wanted) {
      names.dataset.of = wanted;
      names.replaceChildren(...left.map((one) => el('option', { value: one.meaning })));
    }
    byId('adding').hidden = left.length === 0 || image === undefined;
    this.addable = left;
    byId('added').replaceChildren(
      ...this.review.added.map((one) => {
        const number = study.images.findIndex((other) => other.sop_instance_uid === one.sop_instance_uid);
        const meaning = study.vocabulary.find((known) => known.name === one.finding)?.meaning ?? one.finding;
        const where = study.images.length > 1 ? ` (image ${number + 1})` : '';
        return el('li', {}, `+ ${meaning}${where} `,
          el('button', { type: 'button', 'aria-label': `Take back ${meaning}`, onclick: () => this.review.take(one) }, '×')); // prettier-ignore
      }),
    );
  }

  /** The finding that is meant by what was typed: its name, else the only one with it in its name. */
  meant(typed: string): string | undefined {
    const text = typed.trim().toLowerCase();
    if (text === '') return undefined;
    const like = (test: (meaning: string) => boolean): Study['vocabulary'] =>
      this.addable.filter((one) => test(one.meaning.toLowerCase()));
    const [exact] = like((meaning) => meaning === text);
    const begun = like((meaning) => meaning.startsWith(text));
    const found = begun.length > 0 ? begun : like((meaning) => meaning.includes(text));
    return exact?.name ?? (found.length === 1 ? found[0].name : undefined);
  }

  private drawConfirm(study: Study): void {
    const { agree, disagree, unsure, silent } = this.review.counts;
    const added = this.review.added.length;
    const first = study.withheld;
    const parts = [
      [agree, first ? 'present' : 'agreed'],
      [disagree, first ? 'absent' : 'disagreed'],
      [unsure, 'unsure'],
      [added, 'added'],
      [silent, 'confirmed as reported'],
    ].filter(([count]) => count !== 0);
    const what = parts.map(([count, word]) => `${count} ${word}`).join(', ');
    byId('confirm-does').textContent = first ? 'Store first read' : 'Confirm';
    // The counts are of what would be stored: once it is, they would speak of a second review
    byId('confirm-says').textContent = this.review.stored ? 'Your review is stored. What you answer now becomes another.' : what;
  }

  private drawReport(study: Study): void {
    const lines: (HTMLElement | null)[] = [];
    for (const review of study.reviews.slice(-3)) {
      const at = new Date(1000 * review.created_at).toLocaleString('sv-SE').slice(0, 16);
      const what = review.kind === 'first_read' ? 'First read' : 'Reviewed';
      lines.push(el('p', {}, `${what} by ${review.reviewer}, ${at}`));
    }
    if (study.report !== null) {
      const { version, verified, deliveries } = study.report;
      const form = verified ? '✓ verified' : 'not verified';
      lines.push(el('p', {}, `Report version ${version}, ${form}`));
      for (const { pacs, state } of deliveries) {
        const there = ['stored', 'committing', 'committed'].includes(state);
        const text = there ? `stored in ${pacs}` : `on its way to ${pacs}; it is sent as soon as ${pacs} answers`;
        const dead = state === 'dead';
        lines.push(
          el('p', { class: there ? 'there' : 'waiting', 'data-delivery': state },
            `${there ? '✓' : dead ? '!' : '…'} ${dead ? `refused by ${pacs}: the administrator is told` : text}`), // prettier-ignore
        );
      }
    } else {
      lines.push(el('p', {}, study.withheld ? 'Withheld, with the result.' : 'The report is being made.'));
    }
    byId('report').replaceChildren(...lines.filter((one) => one !== null));
  }
}

/** The probability as a bar with a tick at the threshold, and both in words. */
function bar(finding: Finding, selected: boolean): HTMLElement[] {
  const { probability, threshold, present, doubt } = finding;
  const reached = probability >= threshold;
  const fill = el('i', { class: present ? 'fill above' : 'fill' });
  fill.style.width = `${100 * probability}%`;
  const tick = el('i', { class: 'tick' });
  tick.style.left = `${100 * threshold}%`;
  const track = el('div', { class: 'track', 'aria-hidden': 'true' }, fill, tick);
  const limit = `${percent(threshold)} %`;
  const side = el('span', { class: present ? 'side above' : 'side' },
    reached ? '▲ above ' : '▽ below ', el('span', { class: 'visually-hidden' }, 'threshold '), limit); // prettier-ignore
  const row = el('div', { class: 'measure' }, track, side);
  const meaning = selected
    ? el('p', { class: 'meaning' }, `Of 100 such images about ${percent(probability)} show it. Threshold ${limit}.`)
    : null;
  const doubted = doubt
    ? el('p', { class: 'meaning', 'data-doubt': doubt },
        `Calibration in doubt: by reviews, this probability does not hold here.${doubt === 'stopped' ? ' It does not flag.' : ''}`) // prettier-ignore
    : null;
  return [row, doubted, meaning].filter((one) => one !== null);
}
