// Curves: the value against x, one for each entry of the series, with bands of mean -+ half width. Between words there
// is nothing to join: there each curve is points with error bars, beside those of the others.

const mostMarkers = 24;    // points of a curve that get a marker each
const mostDescribed = 10;  // curves whose values the tooltip lists
const widestShift = 18;    // pixels between points beside each other

const markerPaths =
    ['M0 -4A4 4 0 1 0 0 4A4 4 0 1 0 0 -4Z', 'M-3.5 -3.5H3.5V3.5H-3.5Z', 'M0 -5L4.8 3.6H-4.8Z', 'M0 -5L5 0L0 5L-5 0Z'];

// Another shape where the palette begins again.
const markerPath = (series) => markerPaths[(series + Math.floor(series / paletteSize)) % markerPaths.length];

// A path through points that are not null; a point between two gaps is a dot.
function pathOf(points) {
  let path = '', length = 0;
  for (const point of points.concat([null])) {
    if (point)
      path += `${length++ ? 'L' : 'M'}${rounded(point.x)} ${rounded(point.y)}`;
    else {
      if (length === 1) path += 'h0';
      length = 0;
    }
  }
  return path;
}

// Runs of entries that are not null.
function runsOf(points) {
  const runs = [[]];
  for (const point of points) {
    if (point)
      runs.at(-1).push(point);
    else if (runs.at(-1).length)
      runs.push([]);
  }
  return runs.filter((run) => run.length);
}

class Curves extends Drawing {
  constructor(figure, panel, width, plotHeight) {
    super(figure, panel, width);
    const xAxis = new EntryAxis(figure.x, {alsoAt: figure.marksOf(figure.x).map((mark) => mark.at)});
    this.yAxis = Axis.around(figure.logarithmic ? 'log10' : 'linear', figure.range);
    if (!xAxis.axis || !this.yAxis) return this.drawNothing(plotHeight);
    this.yAxis.place(plotHeight, 0);
    this.tickCount = plotHeight / 42;
    const widest = Math.max(...this.yAxis.ticks(this.tickCount).map((tick) => textWidth(tick.label)));
    const names = figure.namesAtEnds(width, plotHeight);
    const room = names.length ? Math.max(...names.map((name) => textWidth(name, boldFont))) + 12 : 10;
    this.layOut(widest + 10, room, plotHeight, xAxis);
    this.yAxis.place(this.bottom, this.top);
    this.drawGrid();
    this.curves = this.points();
    for (const curve of this.curves) curve.parts = [this.interval(curve), this.curve(curve)];
    for (const layer of [0, 1]) this.svg.append(...this.curves.map(({parts}) => parts[layer]));
    this.drawMarks();
    this.nameEnds(names);
    this.svg.append(this.cursorLayer);
  }

  drawGrid() {
    this.verticalLabel(this.figure.valueLabel);
    const path = [];
    for (const tick of this.yAxis.ticks(this.tickCount)) {
      this.text(this.left - 8, tick.at + 4.5, tick.label, {class: 'tick', 'text-anchor': 'end'});
      path.push(`M${rounded(this.left)} ${rounded(tick.at)}H${rounded(this.right)}`);
    }
    this.line(path.join(''), 'grid');
    this.drawXTicks(true);
    this.line(`M${rounded(this.left)} ${rounded(this.bottom)}H${rounded(this.right)}`, 'frame');
    if (this.yAxis.scale === 'linear' && this.yAxis.contains(0)) {
      this.line(`M${rounded(this.left)} ${rounded(this.yAxis.at(0))}H${rounded(this.right)}`, 'frame');
    }
  }

  // For each series the points by entry of x; null where there is nothing.
  points() {
    const count = this.figure.series ? this.figure.series.entries.length : 1;
    return Array.from({length: count}, (_, series) => {
      const points = this.xAxis.indices.map((index) => {
        const offset = this.figure.offset(this.panel, index, series);
        const value = this.figure.values[offset], half = this.figure.halfWidths[offset] ?? null;
        if (value === null || !this.yAxis.shows(value)) return null;
        return {
          x: this.xAxis.at(index) + this.shift(series, count),
          y: this.yAxis.at(value),
          index,
          offset,
          value,
          half
        };
      });
      return {series, points, ...seriesStyle(this.figure.series, series)};
    });
  }

  // How far beside the middle of a word's place the points of a series stand.
  shift(series, count) {
    if (!this.xAxis.isWords) return 0;
    const [from, to] = this.xAxis.cell(0);
    return (series - (count - 1) / 2) * Math.min(widestShift, 0.8 * (to - from) / count);
  }

  interval({points, color}) {
    const group = svg('g');
    const atEdge = (value) => this.yAxis.shows(value) ? Math.min(this.yAxis.at(value), this.bottom) : this.bottom;
    if (this.xAxis.isWords) {
      for (const point of points.filter((candidate) => candidate && candidate.half !== null)) {
        const [low, high] = [-1, 1].map((sign) => rounded(atEdge(point.value + sign * point.half)));
        const d =
            `M${rounded(point.x - 4)} ${low}h8M${rounded(point.x - 4)} ${high}h8M${rounded(point.x)} ${low}V${high}`;
        group.append(svg('path', {d, class: 'error-bar', stroke: color}));
      }
      return group;
    }
    for (const run of runsOf(points.map((point) => point && point.half !== null ? point : null))) {
      const upper = run.map((point) => `${rounded(point.x)} ${rounded(atEdge(point.value + point.half))}`);
      const lower = run.map((point) => `${rounded(point.x)} ${rounded(atEdge(point.value - point.half))}`).reverse();
      const path = run.length > 1 ? `M${upper.concat(lower).join('L')}Z` : `M${upper[0]}L${lower[0]}`;
      const style = run.length > 1 ? {fill: color} : {stroke: color, 'stroke-width': 6};
      group.append(svg('path', {d: path, class: 'band', ...style}));
    }
    return group;
  }

  curve({series, points, color, dashes}) {
    const group = svg('g', {class: 'curve'});
    if (!this.xAxis.isWords)
      group.append(svg('path', {d: pathOf(points), class: 'line', stroke: color, 'stroke-dasharray': dashes}));
    const drawn = points.filter((point) => point);
    if (this.xAxis.isWords || drawn.length <= mostMarkers && this.curves.length <= paletteSize) {
      for (const point of drawn) {
        group.append(svg('path', {
          d: markerPath(series),
          fill: color,
          class: 'marker',
          transform: `translate(${rounded(point.x)} ${rounded(point.y)})`
        }));
      }
    }
    return group;
  }

  // Each name stands right of the end of its curve, moved up or down where two would touch.
  nameEnds(names) {
    if (names.length === 0) return;
    const labels = [];
    for (const curve of this.curves) {
      const end = curve.points.findLast((point) => point);
      if (end) labels.push({...curve, end, y: end.y});
    }
    labels.sort((a, b) => a.y - b.y);
    for (let i = 1; i < labels.length; ++i) labels[i].y = Math.max(labels[i].y, labels[i - 1].y + labelStep);
    let limit = this.bottom;
    for (const label of labels.slice().reverse()) {
      label.y = Math.min(label.y, limit);
      limit = label.y - labelStep;
    }
    for (const {series, color, end, y, parts} of labels) {
      if (Math.abs(y - end.y) > 3 || this.right - end.x > 40) {
        const path = `M${rounded(end.x + 6)} ${rounded(end.y)}L${rounded(this.right + 6)} ${rounded(y)}`;
        parts.push(svg('path', {d: path, stroke: color, class: 'leader'}));
      }
      const place = {x: this.right + 10, y: y + 4.5};
      parts.push(svg('text', {...place, fill: color, class: 'series-name'}, names[series]));
      this.svg.append(...parts.slice(2));
    }
  }

  // Shows one curve before the others; null: all alike.
  pick(series) {
    for (const curve of this.curves ?? []) {
      curve.parts[1].classList.toggle('picked', curve.series === series);
      for (const part of curve.parts) part.classList.toggle('faded', series !== null && curve.series !== series);
    }
  }

  hide() {
    super.hide();
    this.pick(null);
  }

  // A cursor is an entry of x, and the curve that is nearest there.
  cursorAt(x, y) {
    const index = this.xAxis.indexAt(x);
    const at = (curve) => curve.points.find((point) => point?.index === index);
    let nearest = null;
    for (const curve of this.curves) {
      const distance = at(curve) ? Math.hypot(at(curve).x - x, at(curve).y - y) : Infinity;
      if (!nearest || distance < nearest.distance) nearest = {distance, series: curve.series};
    }
    return {index, series: nearest.series};
  }

  moved(cursor, key) {
    const last = this.curves.length - 1;
    if (key === 'ArrowLeft') return {...cursor, index: this.xAxis.moved(cursor.index, -1)};
    if (key === 'ArrowRight') return {...cursor, index: this.xAxis.moved(cursor.index, 1)};
    if (key === 'ArrowUp') return {...cursor, series: Math.max(cursor.series - 1, 0)};
    return {...cursor, series: Math.min(cursor.series + 1, last)};
  }

  show({index, series}) {
    const figure = this.figure, x = this.xAxis.at(index);
    this.cursorLayer.append(
        svg('path', {d: `M${rounded(x)} ${rounded(this.top)}V${rounded(this.bottom)}`, class: 'guide'}));
    const rows = figure.coordinates(this.panel).concat([[figure.x.label, entryText(figure.x.entries[index])]]);
    const described = this.curves.length <= mostDescribed ? this.curves : [this.curves[series]];
    let y = (this.top + this.bottom) / 2;
    if (this.curves.length > paletteSize) this.pick(series);
    for (const curve of described) {
      const point = curve.points.find((candidate) => candidate?.index === index);
      const isNearest = curve.series === series;
      const label = figure.series ? figure.entryLabel(figure.series, curve.series) : figure.valueLabel;
      const value = figure.valueText(figure.offset(this.panel, index, curve.series));
      rows.push([label, value, {color: figure.series && curve.color, strong: isNearest}]);
      if (!point) continue;
      this.cursorLayer.append(svg('circle', {cx: point.x, cy: point.y, r: isNearest ? 6 : 4, fill: curve.color}));
      if (isNearest) y = point.y;
    }
    return {x, y, rows};
  }
}

const labelStep = 17;  // pixels between the baselines of two names
