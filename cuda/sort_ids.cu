// A stable sort by counting, up to 10 bits of the ids at a time: tiles count their digits, a scan over digits and tiles
// says where each tile's ids of a digit begin, and every tile puts its ids there in their order.
#include "cuda/sort_ids.cuh"

#include <bit>

#include "cuda/launch.cuh"

namespace phasor::cuda {
namespace {

constexpr int threads = 256, warps = threads / warp, most_digits = 1024;

struct Pass {
  int count;  // of ids
  int tile;   // ids of a tile, a multiple of `threads`
  int tiles;
  int shift, digits;  // digit = (id >> shift) & (digits - 1)

  __device__ int digit(int id) const { return id >> shift & (digits - 1); }
};

// counts [digits, tiles]
__global__ void __launch_bounds__(threads) count_kernel(Pass pass, const int* ids, int* counts) {
  __shared__ int counted[most_digits];
  const int thread = static_cast<int>(threadIdx.x), tile = static_cast<int>(blockIdx.x);
  for (int d = thread; d < pass.digits; d += threads) counted[d] = 0;
  __syncthreads();
  const int begin = tile * pass.tile, end = pass.count - begin < pass.tile ? pass.count : begin + pass.tile;
  for (int i = begin + thread; i < end; i += threads) atomicAdd(&counted[pass.digit(ids[i])], 1);
  __syncthreads();
  for (int d = thread; d < pass.digits; d += threads) counts[d * pass.tiles + tile] = counted[d];
}

// counts[i] = the sum of counts[0 .. i-1], by one block: a run of them for each thread.
constexpr int scan_threads = 1024;
__global__ void __launch_bounds__(scan_threads) scan_kernel(int* counts, int size) {
  __shared__ int sums[scan_threads / warp];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp;
  const int run = (size + scan_threads - 1) / scan_threads;
  const int begin = thread * run, end = size - begin < run ? size : begin + run;
  int own = 0;
  for (int i = begin; i < end; ++i) own += counts[i];
  int up_to = own;  // with the lanes before
  for (int step = 1; step < warp; step *= 2) {
    const int before = __shfl_up_sync(all_lanes, up_to, static_cast<unsigned>(step));
    if (lane >= step) up_to += before;
  }
  if (lane == warp - 1) sums[thread / warp] = up_to;
  __syncthreads();
  int next = up_to - own;
  for (int w = 0; w < thread / warp; ++w) next += sums[w];
  for (int i = begin; i < end; ++i) {
    const int count = counts[i];
    counts[i] = next;
    next += count;
  }
}

// A warp has a part of the tile, 32 ids at a time. `places` may be null: then an id's place is its number.
__global__ void __launch_bounds__(threads)
    place_kernel(Pass pass, const int* ids, const int* places, const int* starts, int* sorted_ids, int* sorted_places) {
  __shared__ int next[warps][most_digits];
  const int thread = static_cast<int>(threadIdx.x), tile = static_cast<int>(blockIdx.x);
  const int lane = thread % warp, own_warp = thread / warp, part = pass.tile / warps;
  const int begin = tile * pass.tile + own_warp * part;
  const int left = pass.count - begin, count = left < 0 ? 0 : left < part ? left : part;
  for (int w = 0; w < warps; ++w)
    for (int d = thread; d < pass.digits; d += threads) next[w][d] = 0;
  __syncthreads();
  for (int i = lane; i < count; i += warp) atomicAdd(&next[own_warp][pass.digit(ids[begin + i])], 1);
  __syncthreads();
  for (int d = thread; d < pass.digits; d += threads) {
    int start = starts[d * pass.tiles + tile];
    for (int w = 0; w < warps; ++w) {
      const int own = next[w][d];
      next[w][d] = start;
      start += own;
    }
  }
  __syncthreads();
  for (int first = 0; first < part; first += warp) {
    const bool is_one = first + lane < count;
    const int id = is_one ? ids[begin + first + lane] : 0, digit = pass.digit(id);
    unsigned same = __ballot_sync(all_lanes, is_one);  // lanes with this digit
    for (int bit = 1; bit < pass.digits; bit *= 2) {
      const unsigned set = __ballot_sync(all_lanes, (digit & bit) != 0);
      same &= (digit & bit) != 0 ? set : ~set;
    }
    const int before = __popc(same & ((1u << lane) - 1));
    const int to = next[own_warp][digit] + before;
    __syncwarp();
    if (is_one) {
      if (before == 0) next[own_warp][digit] += __popc(same);
      sorted_ids[to] = id;
      sorted_places[to] = places ? places[begin + first + lane] : begin + first + lane;
    }
    __syncwarp();
  }
}

// starts[id] = how many ids are smaller
__global__ void __launch_bounds__(threads) start_kernel(const int* ids, int count, int* starts, int bound) {
  const int id = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (id > bound) return;
  int low = 0, high = count;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (ids[middle] < id)
      low = middle + 1;
    else
      high = middle;
  }
  starts[id] = low;
}

}  // namespace

SortedIds sorted_ids(const char* op, const Tensor& ids, int64_t bound) {
  constexpr int64_t most = int64_t{1} << 31;
  require<ResourceError>(ids.size() < most && bound < most - threads, op, ids.size(), " ids of ", bound,
                         " rows; the GPU sorts fewer than ", most);
  const int count = static_cast<int>(ids.size());
  const auto block = [](int64_t size) { return Tensor::empty({size}, Dtype::i32, Device::cuda); };
  SortedIds result{ids.to(Dtype::i32).contiguous(), {}, block(bound + 1)};
  const int bits =
      std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(bound - 1, 1)))));
  const int passes = (bits + 9) / 10, bits_of_pass = (bits + passes - 1) / passes;
  Pass pass;
  pass.count = count;
  // Small tiles, so that many multiprocessors have one; not so many that the scan over them takes long.
  pass.tile = static_cast<int>(std::max<int64_t>(2, pieces(count, 256 * threads)) * threads);
  pass.tiles = static_cast<int>(pieces(count, pass.tile));
  pass.digits = 1 << bits_of_pass;
  const Tensor counts = block(int64_t{pass.digits} * pass.tiles);
  for (int number = 0; number < passes && count > 0; ++number) {
    pass.shift = number * bits_of_pass;
    const Tensor next_ids = block(count), next_places = block(count);
    const int* const from = result.ids.data<int>();
    launch(op, count_kernel, Grid{pass.tiles}, threads, 0, pass, from, counts.data<int>());
    launch(op, scan_kernel, Grid{1}, scan_threads, 0, counts.data<int>(), pass.digits * pass.tiles);
    launch(op, place_kernel, Grid{pass.tiles}, threads, 0, pass, from,
           number == 0 ? nullptr : static_cast<const int*>(result.places.data<int>()),
           static_cast<const int*>(counts.data<int>()), next_ids.data<int>(), next_places.data<int>());
    result.ids = next_ids;
    result.places = next_places;
  }
  launch(op, start_kernel, Grid{pieces(bound + 1, threads)}, threads, 0,
         static_cast<const int*>(result.ids.data<int>()), count, result.starts.data<int>(), static_cast<int>(bound));
  return result;
}

}  // namespace phasor::cuda
