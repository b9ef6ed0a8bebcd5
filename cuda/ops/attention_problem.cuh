// What attention.cu has prepared for the kernels of attention: one struct, passed by value.
//
// The kernels for any width and dtype stand in attention_general_*.cu, those of the tensor cores in
// attention_tensor_*.cu.
#pragma once

#include "core/dtype.hpp"
#include "cuda/launch.cuh"

namespace phasor::cuda {

// [batch, heads, length, width] in memory, or without data. Steps in elements; along the width it is 1.
struct AttentionRows {
  void* data = nullptr;
  int64_t batch_step = 0, head_step = 0, row_step = 0;
};

// Of f32, f64 or bf16; beside bf16 also f32.
struct DistanceBias {
  const void* data = nullptr;  // [heads or 1, k_length], without gaps along the distances; null: none
  int64_t head_step = 0;       // in elements; 0 if all heads share one row
  Dtype dtype = Dtype::f32;
};
struct PositionBias {
  const void* data = nullptr;                                           // null: none
  int64_t batch_step = 0, head_step = 0, query_step = 0, key_step = 0;  // in elements, 0 where it is broadcast
  Dtype dtype = Dtype::f32;
};

// Cosines and sines (core/ops/rotary.hpp) for the rows of q or k, f32, without gaps along the components.
struct AttentionTables {
  const float *cos = nullptr, *sin = nullptr;
  int64_t batch_step = 0, head_step = 0, row_step = 0;  // in elements, 0 where they are broadcast
};

// Query i stands at key index i + k_length - q_length. Head h reads kv head h / (heads / kv_heads). Every extent but
// v_dim is at least 1 and below 2^31. Sums, softmax and statistics: in f64 for f64, else in f32.
struct AttentionProblem {
  Dtype dtype = Dtype::f32;  // of q k v out dout dq dk dv
  int batches = 0, heads = 0, kv_heads = 0, q_length = 0, k_length = 0, qk_dim = 0, v_dim = 0;
  double scale = 1;
  bool is_causal = true;

  AttentionRows q, k, v;
  AttentionRows out;            // forward: to be written; backward: to be read
  void* log_sum_exp = nullptr;  // [batch, heads, q_length] without gaps, f64 for f64, else f32; as out
  // Of each key, [batch or 1, k_length]: the index of the first key of its segment, so that labels grow along packed
  // documents. Null: without segments. They are compared within one batch row only.
  const int32_t* segments = nullptr;
  int64_t segments_batch_step = 0;  // 0 if all batch rows share one
  DistanceBias by_distance;
  PositionBias by_position;
  // Turn q and k, and dq and dk back; nothing turns without components.
  AttentionTables q_tables, k_tables;
  int components = 0;
  bool is_interleaved = false;

  // Backward only.
  AttentionRows dout;                  // without data: zeros
  const void* dlog_sum_exp = nullptr;  // [batch, heads, q_length] without gaps, as log_sum_exp; null: zeros
  AttentionRows dq, dk, dv;            // every element is to be written
  // In the dtypes of the biases, filled with zeros before; null: not wanted.
  void* dby_distance = nullptr;        // [heads or 1, max_distance] without gaps; the first k_length of each row
  int64_t dby_distance_head_step = 0;  // max_distance; 0 if all heads share one row
  void* dby_position = nullptr;        // [batch, heads, q_length, k_length] without gaps
};

// By FMAs in any dtype, without tables; kernels of a block's tiles in shared memory.
void attention_general_forward(const AttentionProblem& problem);
void attention_general_backward(const AttentionProblem& problem);

// Whether the kernels of the tensor cores are made for it.
bool tensor_takes(const AttentionProblem& problem);
// Only where tensor_takes(problem).
void attention_tensor_forward(const AttentionProblem& problem);
void attention_tensor_backward(const AttentionProblem& problem);

}  // namespace phasor::cuda
