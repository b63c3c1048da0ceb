// Builds the page out of elements and text. Data becomes text nodes and attributes, never markup.

const SVG = 'http://www.w3.org/2000/svg';

const nodes = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

// An element. Properties: `class`, `on` (handlers by event), `data` (data attributes), and
// attributes by name; false, null and undefined leave one out, true sets it without a value.
export const h = (name, properties, ...children) =>
  fill(document.createElement(name), properties, children);

// The same for SVG.
export const svg = (name, properties, ...children) =>
  fill(document.createElementNS(SVG, name), properties, children);

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === 'on') {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else if (name === 'data') {
      Object.assign(element.dataset, value);
    } else if (value === true) {
      element.setAttribute(name, '');
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...nodes(children));
  return element;
}

let counter = 0;

export const uniqueId = (stem) => `${stem}-${(counter += 1)}`;

// Replaces the content of an element.
export function show(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}
