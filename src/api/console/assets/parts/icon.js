// Icons beside words; they add nothing to the words.

import { svg } from '../dom.js';

const PATHS = {
  overview: 'M3 12h4l3-8 4 16 3-8h4',
  rules: 'M5 6h14M5 12h14M5 18h9',
  import: 'M12 4v11m0 0 4-4m-4 4-4-4M5 20h14',
  explain: 'M9 9a3 3 0 1 1 4.500 2.600C12.500 12.200 12 13 12 14m0 3.500v.1',
  rooms: 'M4 20V8l8-4 8 4v12M4 20h16M10 20v-6h4v6',
  members: 'M16 20v-1a4 4 0 0 0-8 0v1m4-8a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7',
  stage: 'M4 5h16v11H4zM12 16v4m-4 0h8',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  good: 'm5 12.500 4.500 4.500L19 7.500',
  warn: 'M12 5v9m0 4v.1',
  bad: 'm7 7 10 10M17 7 7 17',
  rest: 'M9 7v10m6-10v10',
};

const BRAND = ['M6 3h12a3 3 0 0 1 3 3v9l-6 6H6a3 3 0 0 1-3-3V6a3 3 0 0 1 3-3z', 'm7.500 11.500 3 3 5.500-6'];

export function icon(name) {
  const paths = name === 'brand' ? BRAND : [PATHS[name]];
  return svg('svg', { class: `icon icon-${name}`, viewBox: '0 0 24 24', 'aria-hidden': 'true', focusable: 'false' },
    paths.map((d) => svg('path', { d })));
}
