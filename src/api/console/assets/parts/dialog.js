// Asks before something that cannot be taken back.

import { h, uniqueId } from '../dom.js';
import { t } from '../i18n.js';

// True if the answer is yes. The browser keeps the focus inside, closes on Escape, and gives the
// focus back.
export function confirm(title, text, yes, { kind = 'danger' } = {}) {
  const [titleId, textId] = [uniqueId('ask'), uniqueId('ask')];
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-labelledby': titleId, 'aria-describedby': textId },
      h('h2', { id: titleId }, title),
      h('div', { id: textId }, text.map((one) => h('p', {}, one))),
      h('div', { class: 'actions' },
        h('button', { type: 'button', class: kind, on: { click: () => dialog.close('yes') } }, yes),
        h('button', { type: 'button', class: 'quiet', autofocus: true, on: { click: () => dialog.close('no') } }, t('ask.no'))));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
