#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/arena.h"
#include "kernels/bench/noise.h"
#include "kernels/ops.h"

namespace lacuna {

/// What a training step runs the operations on; letters as in kernels/ops.h.
struct BenchShape {
  std::string name;
  std::int64_t vocab, dim, layers, heads, kv_heads, ffn, length, batch;

  std::int64_t tokens() const { return batch * length; }
  std::int64_t head_dim() const { return dim / heads; }
};

/// The shapes that `lacuna bench` and scripts/bench_vs_torch.py know, named by parameters.
const std::vector<BenchShape>& bench_shapes();
/// The shape called `name`; "8b-2@16384" is 8b-2 with one sequence of 16384 tokens. Throws
/// UsageError naming the shapes there are.
BenchShape bench_shape(std::string_view name);

/// One operation on one set of tensors.
struct OpCase {
  std::string name, shape;
  double flops;  // multiply-adds count 2; 0 for what memory limits
  double bytes;  // read and written at the least
  std::function<void()> run;
};

/// Every operation of Ops at the sizes a training step of `shape` gives it, and the memory for it.
class OpCases {
 public:
  /// Activations, weights and logits of `type`.
  OpCases(Ops& ops, const BenchShape& shape, DType type = DType::f32);
  const std::vector<OpCase>& all() const { return cases_; }

 private:
  void add_moves();
  void add_linear(const char* name, std::int64_t out, std::int64_t in, std::int64_t rows);
  void add_fp8(const char* name, std::int64_t out, std::int64_t in, std::int64_t rows);
  void add_norms();
  void add_attention();
  void add_decoding_attention(const Tensor& key_offsets);
  void add_feed_forward();
  void add_vocabulary();
  void add_diffusion();
  void add_optimizer();
  void add(std::string name, std::initializer_list<Tensor> shown, double flops, double bytes,
           std::function<void()> run);
  /// Random numbers in [-scale, scale): of the type that is computed in, or f32.
  Tensor floats(Shape shape, float scale = 1) { return random(shape, scale, type_); }
  Tensor singles(Shape shape) { return random(shape, 1, DType::f32); }
  Tensor random(Shape shape, float scale, DType type);
  Tensor ints(std::int64_t n, std::int64_t below);
  template <class T>
  Tensor values(const std::vector<T>& v);
  /// Zeros.
  Tensor memory(Shape shape, DType type);

  Ops& ops_;
  const BenchShape s_;
  const DType type_;
  Noise noise_{Noise::Distribution::uniform};
  std::vector<std::unique_ptr<Arena>> memory_;
  std::vector<OpCase> cases_;
};

struct OpTiming {
  double seconds;  // the median of the calls
  int calls;
};
/// After one call to warm up, as many as fit `budget` seconds, at least three. On a device, calls
/// that take less than a millisecond are timed ten or a hundred at once, so that the wait for the
/// last does not count.
OpTiming time_case(Ops& ops, const OpCase& c, double budget = 0.25);

}  // namespace lacuna
