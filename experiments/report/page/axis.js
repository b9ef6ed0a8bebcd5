// Axes: where a value stands in a drawing, and the ticks a reader would choose.

const measures = {
  linear: (value) => value,
  log2: Math.log2,
  log10: Math.log10
};

// With 4 significant digits, as the page has them.
function numberText(value) {
  if (value === null || !Number.isFinite(value)) return '–';
  const rounded = Number(value.toPrecision(4)), size = Math.abs(rounded);
  return size >= 1e7 || size > 0 && size < 1e-6 ? rounded.toExponential().replace('+', '') : String(rounded);
}

const entryText = (entry) => typeof entry === 'number' ? String(entry) : entry;

class Axis {
  // From `low` to `high`, which are values; `whole`: ticks at whole numbers only.
  constructor(scale, low, high, whole = false) {
    this.scale = scale;
    this.whole = whole;
    this.measure = measures[scale];
    this.low = this.measure(low);
    this.high = this.measure(high);
  }

  // Around values, with a little room at both ends.
  static around(scale, values, whole = false) {
    const axis = new Axis(scale, 1, 1, whole);
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      if (!axis.shows(value)) continue;
      low = Math.min(low, axis.measure(value));
      high = Math.max(high, axis.measure(value));
    }
    if (low > high) return null;
    // One value, or values that differ by rounding only, get a range that ticks can divide.
    let room = 0.04 * (high - low);
    if (!(room > 1e-9 * Math.max(Math.abs(low), Math.abs(high), 1e-6))) {
      room = scale === 'linear' ? Math.max(Math.abs(high) * 0.1, 1e-6) : 0.5;
    }
    axis.low = low - room;
    axis.high = high + room;
    return axis;
  }

  // Between pixels; returns itself.
  place(from, to) {
    this.from = from;
    this.to = to;
    return this;
  }

  shows(value) { return Number.isFinite(value) && (this.scale === 'linear' || value > 0); }

  atMeasure(measure) { return this.from + (this.to - this.from) * (measure - this.low) / (this.high - this.low); }

  at(value) { return this.atMeasure(this.measure(value)); }

  contains(value) {
    if (!this.shows(value)) return false;
    const measure = this.measure(value);
    return measure >= this.low && measure <= this.high;
  }

  // At most about `count`, as {at: pixel, label}.
  ticks(count) {
    const ticks = this.scale === 'log2' ? this.powersOfTwo(count) :
        this.scale === 'log10'          ? this.decades(count) :
                                          this.steps(this.low, this.high, count);
    return ticks.map((tick) => ({at: this.at(tick.value), label: tick.label}));
  }

  // The smallest step of 1, 2 or 5 times a power of ten that gives no more.
  steps(low, high, count) {
    const rough = (high - low) / Math.max(count, 1);
    const magnitude = 10 ** Math.floor(Math.log10(rough));
    const enough = [1, 2, 5, 10].map((factor) => factor * magnitude).find((step) => step >= rough * (1 - 1e-9));
    const step = this.whole ? Math.max(1, enough) : enough;
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const ticks = [];
    for (let multiple = Math.ceil(low / step - 1e-9); multiple <= high / step + 1e-9; ++multiple) {
      const value = multiple === 0 ? 0 : multiple * step;
      const plain = decimals <= 6 && Math.abs(value) < 1e7;
      ticks.push({value, label: plain ? value.toFixed(decimals) : numberText(value)});
    }
    return ticks;
  }

  powersOfTwo(count) {
    const first = Math.ceil(this.low - 1e-9), last = Math.floor(this.high + 1e-9);
    if (last - first < 1) return this.steps(2 ** this.low, 2 ** this.high, count);
    const step = Math.ceil((last - first + 1) / Math.max(count, 2));
    const ticks = [];
    for (let power = Math.ceil(first / step) * step; power <= last; power += step) {
      ticks.push({value: 2 ** power, label: numberText(2 ** power)});
    }
    return ticks;
  }

  decades(count) {
    const first = Math.floor(this.low), last = Math.floor(this.high);
    for (const mantissas of [[1, 1.5, 2, 3, 4, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      const step = mantissas.length > 1 ? 1 : Math.ceil((last - first + 1) / Math.max(count, 1));
      const ticks = [];
      for (let decade = first; decade <= last; decade += step) {
        for (const mantissa of mantissas) {
          const value = mantissa * 10 ** decade;
          if (this.contains(value)) ticks.push({value, label: numberText(value)});
        }
      }
      if (ticks.length <= count && ticks.length >= 2) return ticks;
    }
    // A small part of a decade: even steps read better.
    return this.steps(10 ** this.low, 10 ** this.high, count);
  }
}

// The axis of a dimension. Words stand at 0, 1, 2, ... The cell of an entry reaches half way to its neighbours; with
// `cells` the axis ends where the outer cells do, else a little beyond the outer entries and the values `alsoAt`. Its
// `axis` is null where there is nothing to show.
class EntryAxis {
  constructor(dimension, {cells = false, alsoAt = []} = {}) {
    this.dimension = dimension;
    this.isWords = typeof dimension.entries[0] !== 'number';
    this.values = dimension.entries.map((entry, index) => this.isWords ? index : entry);
    const scale = dimension.logarithmic ? 'log2' : 'linear';
    const whole = this.values.every(Number.isInteger);
    this.axis = Axis.around(scale, this.values.concat(alsoAt), whole);
    if (!this.axis) return;
    this.indices = [...this.values.keys()].filter((index) => this.axis.shows(this.values[index]));
    const measures = this.indices.map((index) => this.axis.measure(this.values[index]));
    const gap = (i) => measures.length > 1 ? measures[i + 1] - measures[i] : 1;
    const last = measures.length - 1;
    this.edges = [measures[0] - gap(0) / 2];
    for (let i = 0; i < last; ++i) this.edges.push(measures[i] + gap(i) / 2);
    this.edges.push(measures[last] + gap(last - 1) / 2);
    if (cells || this.isWords) [this.axis.low, this.axis.high] = [this.edges[0], this.edges[last + 1]];
  }

  place(from, to) {
    this.axis.place(from, to);
    return this;
  }

  // Of the entry with this index.
  at(index) { return this.axis.at(this.values[index]); }

  // The index of the entry whose cell, or whose part of the axis, holds this pixel.
  indexAt(pixel) {
    const {from, to, low, high} = this.axis;
    const measure = low + (high - low) * (pixel - from) / (to - from);
    let first = 0, last = this.indices.length - 1;
    while (first < last) {
      const middle = (first + last) >> 1;
      if (measure < this.edges[middle + 1])
        last = middle;
      else
        first = middle + 1;
    }
    return this.indices[first];
  }

  // Pixels of the two ends of an entry's cell.
  cell(index) {
    const place = this.indices.indexOf(index);
    return [this.axis.atMeasure(this.edges[place]), this.axis.atMeasure(this.edges[place + 1])];
  }

  // The entry `by` places further, or the outermost.
  moved(index, by) {
    const place = this.indices.indexOf(index) + by;
    return this.indices[Math.min(Math.max(place, 0), this.indices.length - 1)];
  }

  // At the entries where their labels have room (extent(label) in pixels), else at round numbers; of words, every
  // second or third where not all fit.
  ticks(extent) {
    const own = this.indices.map((index) => ({at: this.at(index), label: entryText(this.dimension.entries[index])}));
    const room = Math.abs(this.axis.to - this.axis.from);
    const fits = (ticks) => ticks.every(
        (tick, i) => i === 0 ||
            Math.abs(tick.at - ticks[i - 1].at) >= (extent(tick.label) + extent(ticks[i - 1].label)) / 2 + 6);
    if (own.length <= 16 && fits(own)) return own;
    const round = (count) =>
        this.isWords ? own.filter((_, i) => i % Math.ceil(own.length / count) === 0) : this.axis.ticks(count);
    for (let count = Math.max(2, Math.floor(room / 30)); count > 2; --count) {
      const ticks = round(count);
      if (ticks.length <= 12 && fits(ticks)) return ticks;
    }
    return round(2);
  }
}
