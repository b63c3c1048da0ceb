// Asks before a change that cannot be undone.

import { h, uniqueId } from '../dom.js';
import { t } from '../i18n.js';

// Resolves to whether the answer is yes. The browser keeps the focus inside, closes the dialog on
// Escape, and restores the focus.
export function confirm(title, text, yes, { kind = 'danger' } = {}) {
  const [titleId, textId] = [uniqueId('ask'), uniqueId('ask')];
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-labelledby': titleId, 'aria-describedby': textId },
      h('h2', { id: titleId }, title),
      h('div', { id: textId }, text.map((one) => (one instanceof Node ? one : h('p', {}, one)))),
      h('div', { class: 'actions' },
        h('button', { type: 'button', class: 'quiet', autofocus: true, on: { click: () => dialog.close('no') } }, t('ask.no')),
        h('button', { type: 'button', class: kind, on: { click: () => dialog.close('yes') } }, yes)));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
