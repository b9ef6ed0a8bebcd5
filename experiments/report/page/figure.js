// A figure of the page: its numbers, what of them is shown, its controls and drawings.

const narrowestPanel = 300;  // pixels

class Figure {
  constructor(article) {
    Object.assign(this, JSON.parse(article.querySelector('script').textContent));
    const unit = (value) => value === null ? null : value * 10 ** this.exponent;
    this.values = this.values.map(unit);
    this.halfWidths = this.halfWidths.map(unit);
    let stride = 1;
    for (const dimension of this.dimensions.slice().reverse()) {
      dimension.stride = stride;
      stride *= dimension.entries.length;
    }
    const withRole = (role) => this.dimensions.find((dimension) => dimension.role === role);
    [this.x, this.y, this.series, this.panel] = ['x', 'y', 'series', 'panel'].map(withRole);
    this.controls = this.dimensions.filter(({role}) => role === 'choice' || role === 'slider');
    this.panelCount = this.panel ? this.panel.entries.length : 1;
    this.title = article.querySelector('h3').textContent;
    this.build(article.querySelector('.stage'));
  }

  build(stage) {
    this.state = html('p', {className: 'state'});
    this.legend = html('div', {className: 'legend'});
    this.panels = html('div', {className: 'panels'});
    this.numbers = html('details', {className: 'numbers'}, html('summary', {textContent: 'Numbers'}));
    this.numbers.addEventListener('toggle', () => this.fillNumbers());
    stage.append(
        html('div', {className: 'controls'}, ...controlsOf(this)), this.state, this.legend, this.panels, this.numbers);
    this.draw();
  }

  // Of the value at an entry of the panel, of x, and of y or the series, for what the controls show.
  offset(panel, x, other) {
    let offset = this.x.stride * x;
    if (this.panel) offset += this.panel.stride * panel;
    const across = this.y ?? this.series;
    if (across) offset += across.stride * other;
    for (const dimension of this.controls) offset += dimension.stride * dimension.shown;
    return offset;
  }

  // The smallest and the largest value that the present choices can show, in curves with the ends of their intervals:
  // panels and the steps of a slider have one scale. Infinity and -Infinity where there is none.
  extent() {
    const choices = this.controls.filter(({role}) => role === 'choice');
    const x = new EntryAxis(this.x);
    const isDrawn = x.values.map((value) => Boolean(x.axis?.shows(value)));
    const entry = (offset, {stride, entries}) => Math.floor(offset / stride) % entries.length;
    let low = Infinity, high = -Infinity;
    const include = (value) => {
      if (this.logarithmic && value <= 0) return;
      low = Math.min(low, value);
      high = Math.max(high, value);
    };
    this.values.forEach((value, offset) => {
      if (value === null || choices.some((choice) => entry(offset, choice) !== choice.shown)) return;
      if (!isDrawn[entry(offset, this.x)]) return;
      include(value);
      const half = this.halfWidths[offset] ?? null;
      if (this.y || half === null) return;
      include(value - half);
      include(value + half);
    });
    return [low, high];
  }

  colorScale() {
    let [low, high] = this.range[0] <= this.range[1] ? this.range : [0, 1];
    if (this.diverging) {
      high = Math.max(Math.abs(low), Math.abs(high));
      low = -high;
    }
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    return {low, high, fraction: (value) => Math.min(1, Math.max(0, (value - low) / (high - low)))};
  }

  marksOf(dimension) { return dimension && dimension.name === this.markDimension ? this.marks : []; }

  // "step 900"; words say themselves what they are.
  entryLabel(dimension, index) {
    const entry = dimension.entries[index];
    return typeof entry === 'number' ? `${dimension.label} ${entry}` : entry;
  }

  valueText(offset) {
    const half = this.halfWidths[offset] ?? null;
    return numberText(this.values[offset]) + (half === null ? '' : ` ± ${Number(half.toPrecision(2))}`);
  }

  // What is chosen, and the panel, as [label, entry].
  coordinates(panel) {
    const chosen = this.controls.map((dimension) => [dimension.label, entryText(dimension.entries[dimension.shown])]);
    if (this.panel) chosen.push([this.panel.label, entryText(this.panel.entries[panel])]);
    return chosen;
  }

  description(panel) { return [this.title, ...this.coordinates(panel).map((pair) => pair.join(' '))].join(', '); }

  // One drawing with few curves names them at their ends; for others this is empty, and they have a legend.
  namesAtEnds(width, plotHeight) {
    if (!this.series || this.panel || this.hasWords() || this.series.entries.length * labelStep > plotHeight) return [];
    const names = this.series.entries.map((_, index) => this.entryLabel(this.series, index));
    return names.every((name) => textWidth(name, boldFont) < 0.27 * width) ? names : [];
  }

  // Points without lines, along the bottom.
  hasWords() { return typeof this.x.entries[0] !== 'number'; }

  // A name under the pointer picks its curve in all drawings.
  drawLegend(drawings) {
    const hasWords = this.hasWords();
    const hasMarkers = hasWords || this.series.entries.length <= paletteSize && this.x.entries.length <= mostMarkers;
    this.legend.replaceChildren(...this.series.entries.map((_, index) => {
      const {color, dashes} = seriesStyle(this.series, index);
      const swatch = svg('svg', {viewBox: '0 0 30 12', class: 'key', 'aria-hidden': 'true'});
      if (!hasWords)
        swatch.append(svg('path', {d: 'M1 6H29', stroke: color, 'stroke-width': 2, 'stroke-dasharray': dashes}));
      if (hasMarkers) swatch.append(svg('path', {d: markerPath(index), fill: color, transform: 'translate(15 6)'}));
      const name = html('span', {}, swatch, this.entryLabel(this.series, index));
      name.addEventListener('pointerenter', () => drawings.forEach((drawing) => drawing.pick(index)));
      name.addEventListener('pointerleave', () => drawings.forEach((drawing) => drawing.pick(null)));
      return name;
    }));
  }

  draw() {
    hideTooltip();
    const room = this.panels.clientWidth;
    if (room === 0) return;
    const gap = 24;
    const fitting = Math.max(1, Math.floor((room + gap) / (narrowestPanel + gap)));
    // As many rows as needed, evenly filled.
    const columns = Math.ceil(this.panelCount / Math.ceil(this.panelCount / fitting));
    const width = (room - gap * (columns - 1)) / columns;
    this.panels.style.gridTemplateColumns = `repeat(${columns},minmax(0,1fr))`;
    const clamped = (value, low, high) => Math.min(Math.max(value, low), high);
    const plotHeight = this.y ? clamped(22 * this.y.entries.length, 120, clamped(0.5 * width, 220, 400)) :
                                clamped(0.5 * width, 200, 340);
    this.range = this.extent();
    const Kind = this.y ? HeatMap : Curves;
    const drawings = Array.from({length: this.panelCount}, (_, panel) => new Kind(this, panel, width, plotHeight));
    this.panels.replaceChildren(...drawings.map((drawing) => drawing.element));
    if (this.y)
      this.legend.replaceChildren(colorBar(this, room));
    else if (this.series && this.namesAtEnds(width, plotHeight).length === 0)
      this.drawLegend(drawings);
    else
      this.legend.replaceChildren();
    this.state.textContent =
        this.controls.map(({label, entries, shown}) => `${label} ${entryText(entries[shown])}`).join(' · ');
    this.fillNumbers();
  }

  fillNumbers() {
    this.numbers.querySelector('.wide')?.remove();
    if (this.numbers.open) this.numbers.append(html('div', {className: 'wide'}, numberTable(this)));
  }
}
