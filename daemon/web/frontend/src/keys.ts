/** The keys of the page: one table, which the sheet shows too. */

import { byId, el } from './dom';

export interface Key {
  keys: string[]; // as in KeyboardEvent.key
  shown: string;
  does: string;
  run: (event: KeyboardEvent) => void;
  group: 'Review' | 'Image' | 'Page';
  repeats?: boolean; // while it is held down
}

function typing(event: KeyboardEvent): boolean {
  const at = event.target as HTMLElement;
  return at.matches('input:not([type=range]), textarea, select') || at.isContentEditable;
}

/** Whether a key press already does something where the focus is. */
function native(event: KeyboardEvent): boolean {
  const at = event.target as HTMLElement;
  if (event.key === 'Enter' || event.key === ' ') return at.matches('button, a[href], summary');
  return event.key.startsWith('Arrow') && at.matches('input[type=range]');
}

export function listen(keys: Key[]): void {
  const sheet = byId<HTMLDialogElement>('keys');
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.key === 'Escape') {
      (document.activeElement as HTMLElement | null)?.blur();
      return;
    }
    if (sheet.open) {
      if (event.key === '?') sheet.close();
      return;
    }
    if (typing(event) || native(event)) return;
    const key = keys.find((one) => one.keys.includes(event.key));
    if (key === undefined || (event.repeat && key.repeats !== true)) return;
    event.preventDefault();
    key.run(event);
  });
  const groups = ['Review', 'Image', 'Page'] as const;
  byId('keys-list').replaceChildren(
    ...groups.map((group) =>
      el(
        'section',
        {},
        el('h3', {}, group),
        el(
          'dl',
          {},
          ...keys
            .filter((key) => key.group === group)
            .flatMap((key) => [el('dt', {}, el('kbd', {}, key.shown)), el('dd', {}, key.does)]),
        ),
      ),
    ),
  );
}

export function showSheet(): void {
  byId<HTMLDialogElement>('keys').showModal();
}
