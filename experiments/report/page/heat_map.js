// Heat maps: a colour for each entry of x and y, painted pixel by pixel, so that edges are sharp at any size.

class HeatMap extends Drawing {
  constructor(figure, panel, width, plotHeight) {
    super(figure, panel, width);
    const xAxis = new EntryAxis(figure.x, {cells: true});
    this.yAxis = new EntryAxis(figure.y, {cells: true});
    if (!xAxis.axis || !this.yAxis.axis) return this.drawNothing(plotHeight);
    this.yAxis.place(plotHeight, 0);
    const widest = Math.max(...this.yTicks().map((tick) => Math.min(textWidth(tick.label), width / 4)));
    this.layOut(widest + 12, 10, plotHeight, xAxis);
    this.yAxis.place(this.bottom, this.top);
    this.verticalLabel(figure.y.label);
    const ticks = [];
    for (const tick of this.yTicks()) {
      this.text(this.left - 8, tick.at + 4.5, fitted(tick.label, width / 4), {class: 'tick', 'text-anchor': 'end'});
      ticks.push(`M${rounded(this.left - 4)} ${rounded(tick.at)}H${rounded(this.left)}`);
    }
    this.line(ticks.join(''), 'frame');
    this.drawXTicks(false);
    this.paint();
    this.drawMarks();
    this.drawMarksOfY();
    this.svg.append(this.cursorLayer);
  }

  yTicks() { return this.yAxis.ticks(() => 13); }

  // Pixels by entry of y and x; 0 where there is nothing.
  cellColors() {
    const {x, y, values, diverging} = this.figure;
    const table = colorTable(diverging), scale = this.figure.colorScale();
    const colors = new Uint32Array(x.entries.length * y.entries.length);
    for (let row = 0; row < y.entries.length; ++row) {
      for (let column = 0; column < x.entries.length; ++column) {
        const value = values[this.figure.offset(this.panel, column, row)];
        if (value !== null) colors[row * x.entries.length + column] = table[Math.round(255 * scale.fraction(value))];
      }
    }
    return colors;
  }

  paint() {
    const canvas = html('canvas');
    const width = this.right - this.left, height = this.bottom - this.top;
    canvas.width = Math.round(width * devicePixelRatio);
    canvas.height = Math.round(height * devicePixelRatio);
    Object.assign(canvas.style, {
      left: `${100 * this.left / this.width}%`,
      width: `${100 * width / this.width}%`,
      top: `${100 * this.top / this.height}%`,
      height: `${100 * height / this.height}%`,
    });
    const columns =
        Array.from({length: canvas.width}, (_, i) => this.xAxis.indexAt(this.left + (i + 0.5) / devicePixelRatio));
    const rows =
        Array.from({length: canvas.height}, (_, i) => this.yAxis.indexAt(this.top + (i + 0.5) / devicePixelRatio));
    const context = canvas.getContext('2d');
    const image = context.createImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(image.data.buffer);
    const colors = this.cellColors(), entries = this.figure.x.entries.length;
    let at = 0;
    for (let row = 0; row < canvas.height; ++row) {
      const start = rows[row] * entries;
      for (let column = 0; column < canvas.width; ++column) {
        const color = colors[start + columns[column]];
        // Hatched where there is nothing.
        pixels[at++] = color !== 0 || (row + column) / devicePixelRatio % 8 >= 1 ? color : 0x80808080;
      }
    }
    context.putImageData(image, 0, 0);
    this.element.prepend(canvas);
  }

  // Horizontal lines at values of y. The label of a single one stands above the map, of which it hides nothing; those of
  // several on their lines at the right end, left of one that they would touch, or below all where there is no room.
  drawMarksOfY() {
    const plates = [], marks = this.figure.marksOf(this.figure.y).filter((mark) => this.yAxis.axis.contains(mark.at));
    for (const mark of marks)
      this.markLine(`M${rounded(this.left)} ${rounded(this.yAxis.axis.at(mark.at))}H${rounded(this.right)}`);
    if (marks.length === 1) {
      this.text(this.right, this.top - 6, fitted(`┄ ${marks[0].label}`, (this.right - this.left) / 2), {'text-anchor': 'end'});
      return;
    }
    for (const mark of marks) {
      const y = this.yAxis.axis.at(mark.at);
      const label = fitted(mark.label, this.right - this.left - 16), width = textWidth(label) + 8;
      const plate = {x: this.right - 4 - width, y: y - this.top < 24 ? y + 4 : y - 21, width, height: 17, rx: 3};
      for (const other of plates)
        if (Math.abs(other.y - plate.y) <= plate.height) plate.x = Math.min(plate.x, other.x - 6 - width);
      if (plate.x < this.left) {
        plate.x = this.right - 4 - width;
        plate.y = Math.max(...plates.map((other) => other.y)) + plate.height + 2;
      }
      plates.push(plate);
      this.svg.append(svg('rect', {...plate, class: 'plate'}));
      this.text(plate.x + width - 4, plate.y + 13, label, {'text-anchor': 'end'});
    }
  }

  // A cursor is an entry of x and one of y.
  cursorAt(x, y) { return {x: this.xAxis.indexAt(x), y: this.yAxis.indexAt(y)}; }

  moved(cursor, key) {
    if (key === 'ArrowLeft') return {...cursor, x: this.xAxis.moved(cursor.x, -1)};
    if (key === 'ArrowRight') return {...cursor, x: this.xAxis.moved(cursor.x, 1)};
    if (key === 'ArrowUp') return {...cursor, y: this.yAxis.moved(cursor.y, 1)};
    return {...cursor, y: this.yAxis.moved(cursor.y, -1)};
  }

  show({x, y}) {
    const [left, right] = this.xAxis.cell(x), [bottom, top] = this.yAxis.cell(y);
    const cell = {x: left, y: top, width: right - left, height: bottom - top};
    this.cursorLayer.append(svg('rect', {...cell, class: 'cell-halo'}), svg('rect', {...cell, class: 'cell'}));
    const figure = this.figure;
    const rows = figure.coordinates(this.panel).concat([
      [figure.y.label, entryText(figure.y.entries[y])],
      [figure.x.label, entryText(figure.x.entries[x])],
      [figure.valueLabel, figure.valueText(figure.offset(this.panel, x, y)), {strong: true}],
    ]);
    return {x: (left + right) / 2, y: (top + bottom) / 2, rows};
  }
}

// A bar of the colours with numbers, for all maps of a figure.
function colorBar(figure, width) {
  const scale = figure.colorScale(), map = colorMap(figure.diverging);
  const barWidth = Math.min(width, 360), left = 1, right = barWidth - 24;
  const bar = svg('svg', {
    viewBox: `0 0 ${barWidth} 52`,
    class: 'color-bar',
    role: 'img',
    'aria-label': figure.valueLabel,
    style: `max-width:${barWidth}px`
  });
  bar.append(svg('text', {x: left, y: 13, class: 'label'}, fitted(figure.valueLabel, barWidth - left)));
  const steps = 64;
  for (let i = 0; i < steps; ++i) {
    bar.append(svg('rect', {
      x: left + (right - left) * i / steps,
      y: 20,
      width: (right - left) / steps + 0.5,
      height: 12,
      fill: cssColor(map((i + 0.5) / steps))
    }));
  }
  const axis = new Axis('linear', scale.low, scale.high).place(left, right);
  for (const tick of axis.ticks(5)) {
    const center = Math.max(tick.at, textWidth(tick.label) / 2);
    bar.append(
        svg('path', {d: `M${rounded(tick.at)} 32v4`, class: 'frame'}),
        svg('text', {x: center, y: 49, class: 'tick', 'text-anchor': 'middle'}, tick.label));
  }
  return bar;
}
