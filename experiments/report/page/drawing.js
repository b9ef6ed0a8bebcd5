// Drawings: SVG elements, and what curves and heat maps have in common - frame, ticks, labels and marks.

const svgNamespace = 'http://www.w3.org/2000/svg';

const rounded = (value) => typeof value === 'number' ? String(Math.round(value * 100) / 100) : value;

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(svgNamespace, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, rounded(value));
  element.append(...children);
  return element;
}

// `properties` are the element's own: textContent, className, ...
function html(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

const plainFont = '13px system-ui,sans-serif', boldFont = '600 ' + plainFont;
const measuring = document.createElement('canvas').getContext('2d');
function textWidth(text, font = plainFont) {
  measuring.font = font;
  return measuring.measureText(text).width;
}

// Cut with an ellipsis where it is wider than `room` pixels.
function fitted(text, room) {
  if (textWidth(text) <= room) return text;
  const characters = [...text];
  while (characters.length > 1 && textWidth(characters.join('') + '…') > room) characters.pop();
  return characters.join('') + '…';
}

// The plot lies inside margins of one SVG, whose viewBox is in pixels of the page, so that it scales on paper.
// A kind of drawing has: the constructor, which draws; cursorAt(x, y), of a point of the plot; moved(cursor, key),
// where an arrow key leads; show(cursor), which marks it, and returns where, and what the tooltip says; hide().
class Drawing {
  constructor(figure, panel, width) {
    this.figure = figure;
    this.panel = panel;
    this.width = width;
    this.svg = svg('svg', {role: 'img', 'aria-label': figure.description(panel)});
    this.cursorLayer = svg('g', {class: 'cursor'});
    this.element = html('div', {className: 'drawing', tabIndex: 0}, this.svg);
    this.element.drawing = this;
  }

  // Lays the plot out: margins left and right, the height of the plot, and the axis of x between them.
  layOut(left, right, plotHeight, xAxis) {
    this.left = left;
    this.right = this.width - right;
    this.xAxis = xAxis.place(this.left, this.right);
    const titleHeight = this.figure.panel ? 22 : 0, labelHeight = 18;
    this.placeMarks();
    this.top = titleHeight + labelHeight + 15 * this.markLines + 8;
    this.bottom = this.top + plotHeight;
    this.height = this.bottom + 44;
    this.svg.setAttribute('viewBox', `0 0 ${rounded(this.width)} ${rounded(this.height)}`);
    if (titleHeight) {
      const title = this.figure.entryLabel(this.figure.panel, this.panel);
      this.text(0, 15, fitted(title, this.width), {class: 'panel-title'});
    }
    this.labelHeight = titleHeight + 13;
  }

  // Takes the cursor away.
  hide() { this.cursorLayer.replaceChildren(); }

  // In place of everything, where no value can be drawn.
  drawNothing(plotHeight) {
    this.svg.setAttribute('viewBox', `0 0 ${rounded(this.width)} ${plotHeight}`);
    this.text(this.width / 2, plotHeight / 2, 'nothing to draw', {class: 'label', 'text-anchor': 'middle'});
  }

  text(x, y, content, attributes = {}) { this.svg.append(svg('text', {x, y, ...attributes}, content)); }

  line(path, className) { this.svg.append(svg('path', {d: path, class: className})); }

  // What stands along the vertical axis, above the plot.
  verticalLabel(label) { this.text(0, this.labelHeight, fitted('↑ ' + label, this.width), {class: 'label'}); }

  // Ticks below the plot; with lines across it where `grid` is true.
  drawXTicks(grid) {
    const path = [];
    const widest = Math.max(60, (this.right - this.left) / this.xAxis.indices.length - 8);
    for (const tick of this.xAxis.ticks((label) => Math.min(textWidth(label), widest))) {
      this.text(tick.at, this.bottom + 18, fitted(tick.label, widest), {class: 'tick', 'text-anchor': 'middle'});
      path.push(`M${rounded(tick.at)} ${rounded(grid ? this.top : this.bottom)}V${rounded(this.bottom + 4)}`);
    }
    this.line(path.join(''), grid ? 'grid' : 'frame');
    this.text(
        (this.left + this.right) / 2, this.bottom + 38, fitted(this.figure.x.label, this.width),
        {class: 'label', 'text-anchor': 'middle'});
  }

  // Marks are lines across the plot at values of x, with labels above it: one that has no room goes a line higher.
  placeMarks() {
    const axis = this.xAxis.axis;
    this.marks = this.figure.marksOf(this.figure.x)
                     .filter((mark) => axis.contains(mark.at))
                     .map((mark) => ({label: fitted(mark.label, this.width), x: axis.at(mark.at)}))
                     .sort((a, b) => a.x - b.x);
    const ends = [];
    for (const mark of this.marks) {
      const half = textWidth(mark.label) / 2;
      mark.center = Math.min(Math.max(mark.x, half), this.width - half);
      mark.line = ends.findIndex((end) => mark.center - half > end + 8);
      if (mark.line < 0) mark.line = ends.length;
      ends[mark.line] = mark.center + half;
    }
    this.markLines = ends.length;
  }

  // Seen on every colour: dashes on a pale line.
  markLine(path) {
    this.line(path, 'mark-ground');
    this.line(path, 'mark');
  }

  drawMarks() {
    for (const mark of this.marks) {
      this.markLine(`M${rounded(mark.x)} ${rounded(this.top - 3 - 15 * mark.line)}V${rounded(this.bottom)}`);
      this.text(mark.center, this.top - 6 - 15 * mark.line, mark.label, {'text-anchor': 'middle'});
    }
  }
}
