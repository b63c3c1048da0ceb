// Controls that change something. A viewer sees them, cannot use them, and learns why; the service
// refuses such requests anyway.

import { h } from '../dom.js';
import { t } from '../i18n.js';
import { hint, notify } from './notice.js';

// A button for an editor. A viewer can still focus it, so that keyboard users find the reason too.
// While its action runs, it ignores further clicks.
export function writeButton(canWrite, label, action, { kind = '', name, type = 'button' } = {}) {
  const run = async (event) => {
    const button = event.currentTarget;
    if (!canWrite) return notify(t('viewer.reason'), 'warn');
    if (button.getAttribute('aria-busy')) return undefined;
    button.setAttribute('aria-busy', 'true');
    try {
      return await action(event);
    } finally {
      button.removeAttribute('aria-busy');
    }
  };
  return h('button', {
    type, class: kind, 'aria-label': name,
    'aria-disabled': canWrite ? null : 'true',
    title: canWrite ? null : t('viewer.reason'),
    on: { click: run },
  }, label);
}

export const viewerHint = (canWrite) => (canWrite ? null : hint(t('viewer.reason'), 'rest'));
