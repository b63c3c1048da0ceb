// Controls that change something. A viewer sees them, cannot use them, and is told why; the service
// would refuse him anyway.

import { h } from '../dom.js';
import { t } from '../i18n.js';
import { hint, tell } from './notice.js';

// A button for an editor. It stays in the order of the keyboard for a viewer, so that the reason is
// found there too. While it works it takes no second click.
export function writeButton(canWrite, label, action, { kind = '', name, type = 'button' } = {}) {
  const run = async (event) => {
    const button = event.currentTarget;
    if (!canWrite) return tell(t('viewer.reason'), 'warn');
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

// Said once at the top of a page that writes.
export const viewerHint = (canWrite) => (canWrite ? null : hint(t('viewer.reason'), 'rest'));
