#include "kernels/bench/op_cases.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "core/philox.h"
#include "core/stopwatch.h"
#include "core/tensor_of.h"
#include "kernels/bench/median.h"

namespace lacuna {

constexpr std::int64_t kMostTokens = 1 << 20;

const std::vector<BenchShape>& bench_shapes() {
  static const std::vector<BenchShape> shapes = {
      // name vocab dim layers heads kv_heads ffn length batch
      {"5m", 4096, 256, 4, 4, 4, 704, 256, 16},
      {"34m", 8192, 512, 8, 8, 8, 1408, 256, 8},
      {"52m", 32000, 512, 6, 8, 8, 1408, 256, 8},
      // Blocks of the 1B and 8B models with LLaDA's vocabulary, as many as fit beside the optimizer
      // on one GPU.
      {"1b-4", 126464, 2048, 4, 16, 16, 5632, 4096, 1},
      {"8b-2", 126464, 4096, 2, 32, 32, 12288, 4096, 1},
  };
  return shapes;
}

BenchShape bench_shape(std::string_view name) {
  const std::size_t at = std::min(name.find('@'), name.size());
  std::string known;
  for (BenchShape s : bench_shapes()) {
    if (s.name != name.substr(0, at)) {
      known += (known.empty() ? "" : ", ") + s.name;
      continue;
    }
    if (at == name.size()) return s;
    const std::string_view length = name.substr(at + 1);
    const auto [end, error] =
        std::from_chars(length.data(), length.data() + length.size(), s.length);
    if (error != std::errc() || end != length.data() + length.size() || s.length < 1 ||
        s.length > kMostTokens)
      fail_usage(
          str("the length of shape \"", name, "\" must be a number from 1 to ", kMostTokens));
    s.name = name;
    s.batch = 1;
    return s;
  }
  fail_usage(str("there is no shape \"", name.substr(0, at), "\"; there are ", known));
}

OpCases::OpCases(Ops& ops, const BenchShape& shape, DType type)
    : ops_(ops), s_(shape), type_(type) {
  const std::int64_t n = s_.tokens(), c = s_.dim, f = s_.ffn;
  add_linear("linear qkv", c + 2 * s_.kv_heads * s_.head_dim(), c, n);
  add_linear("linear out", c, c, n);
  add_linear("linear gate_up", 2 * f, c, n);
  add_linear("linear down", c, f, n);
  add_linear("linear head", s_.vocab, c, n / 2);  // about half of the tokens are masked
  if (type_ == DType::bf16 && ops_.has_fp8()) add_fp8("fp8 gate_up", 2 * f, c, n);
  add_attention();
  add_norms();
  add_feed_forward();
  add_vocabulary();
  add_diffusion();
  add_optimizer();
  add_moves();
}

Tensor OpCases::memory(Shape shape, DType type) {
  Plan plan;
  const Slot slot = plan.add("bench/tensor", shape, type);
  memory_.push_back(std::make_unique<Arena>(ops_.memory(), plan));
  return (*memory_.back())[slot];
}

template <class T>
Tensor OpCases::values(const std::vector<T>& v) {
  const Tensor t = memory({std::int64_t(v.size())}, dtype_of<T>);
  ops_.copy(t, tensor_of(v));
  return t;
}

Tensor OpCases::random(Shape shape, float scale, DType type) {
  const Tensor t = memory(shape, type);
  noise_.fill(ops_, t, scale);
  return t;
}

Tensor OpCases::ints(std::int64_t n, std::int64_t below) {
  const CounterRng rng{2, Purpose::benchmark, memory_.size()};
  std::vector<std::int32_t> v;
  for (std::int64_t i = 0; i < n; ++i)
    v.push_back(std::int32_t(rng.below(std::uint64_t(below), std::uint32_t(i))));
  return values(v);
}

void OpCases::add(std::string name, std::initializer_list<Tensor> shown, double flops, double bytes,
                  std::function<void()> run) {
  std::string shape;
  for (const Tensor& t : shown) shape += str(shape.empty() ? "" : " ", t.shape);
  cases_.push_back({std::move(name), std::move(shape), flops, bytes, std::move(run)});
}

void OpCases::add_linear(const char* name, std::int64_t out, std::int64_t in, std::int64_t rows) {
  const Tensor y = floats({rows, out}), x = floats({rows, in}), w = floats({out, in});
  const Tensor dw = type_ == DType::f32 ? w : singles({out, in});  // gradients of weights are f32
  const double flops = 2.0 * double(rows) * double(out) * double(in);
  const double bytes = double(y.bytes() + x.bytes() + w.bytes());
  Ops& ops = ops_;
  add(str(name, " forward"), {x, w}, flops, bytes, [=, &ops] { ops.linear_forward(y, x, w); });
  add(str(name, " dx"), {y, w}, flops, bytes,
      [=, &ops] { ops.linear_backward_input(x, y, w, GradMode::overwrite); });
  add(str(name, " dw"), {y, x}, flops, bytes, [=, &ops] { ops.linear_backward_weight(dw, y, x); });
}

/// The products of one linear layer, and the rounding of its gradients.
void OpCases::add_fp8(const char* name, std::int64_t out, std::int64_t in, std::int64_t rows) {
  Ops& ops = ops_;
  const Tensor y = floats({rows, out}), x = floats({rows, in}), w = floats({out, in}),
               dw = singles({out, in}), amax = singles({1});
  struct Rounded {
    Fp8Matrix stored, transposed;
  };
  const auto rounded = [&](const Tensor& t, DType type) {
    const Tensor factor = singles({1});
    const Rounded r{{memory({t.rows(), t.cols()}, type), factor},
                    {memory({t.cols(), padded_for_fp8(t.rows())}, type), factor}};
    ops.absolute_maximum(amax, t);
    ops.quantise_fp8(r.stored.codes, r.transposed.codes, factor, t, amax);
    return r;
  };
  const Rounded dy8 = rounded(y, DType::e5m2), x8 = rounded(x, DType::e4m3),
                w8 = rounded(w, DType::e4m3);
  const double flops = 2.0 * double(rows) * double(out) * double(in), codes = double(y.count());
  const auto bytes = [](const Fp8Matrix& a, const Fp8Matrix& b, const Tensor& result) {
    return double(a.codes.bytes() + b.codes.bytes() + result.bytes());
  };
  const auto overwrite = GradMode::overwrite, accumulate = GradMode::accumulate;
  add(str(name, " amax"), {y}, 0, double(y.bytes()), [=, &ops] { ops.absolute_maximum(amax, y); });
  add(str(name, " round"), {y}, 0, double(y.bytes()) + 2 * codes, [=, &ops] {
    ops.quantise_fp8(dy8.stored.codes, dy8.transposed.codes, dy8.stored.factor, y, amax);
  });
  add(str(name, " forward"), {x, w}, flops, bytes(x8.stored, w8.stored, y),
      [=, &ops] { ops.multiply_fp8(y, x8.stored, w8.stored, overwrite); });
  add(str(name, " dx"), {y, w}, flops, bytes(dy8.stored, w8.transposed, x),
      [=, &ops] { ops.multiply_fp8(x, dy8.stored, w8.transposed, overwrite); });
  add(str(name, " dw"), {y, x}, flops, bytes(dy8.transposed, x8.transposed, dw),
      [=, &ops] { ops.multiply_fp8(dw, dy8.transposed, x8.transposed, accumulate); });
}

void OpCases::add_attention() {
  const std::int64_t n = s_.tokens(), d = s_.head_dim(), q_cols = s_.heads * d,
                     kv_cols = s_.kv_heads * d;
  const Tensor qkv = floats({n, q_cols + 2 * kv_cols}), grads = floats({n, q_cols + 2 * kv_cols});
  const Tensor out = floats({n, q_cols}), dout = floats({n, q_cols}), lse = singles({n, s_.heads});
  const auto q = [=](Tensor t) { return t.column_range(0, q_cols); };
  const auto k = [=](Tensor t) { return t.column_range(q_cols, kv_cols); };
  const auto v = [=](Tensor t) { return t.column_range(q_cols + kv_cols, kv_cols); };
  std::vector<std::int32_t> starts, places;
  for (std::int64_t b = 0; b <= s_.batch; ++b) starts.push_back(std::int32_t(b * s_.length));
  for (std::int64_t i = 0; i < n; ++i) places.push_back(std::int32_t(i % s_.length));
  const Tensor offsets = values(starts), positions = values(places);
  Ops& ops = ops_;
  for (const bool causal : {false, true}) {
    std::vector<KeyIntervals> intervals;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t begin = i / s_.length * s_.length;
      intervals.push_back(causal ? causal_keys(begin, i - begin)
                                 : bidirectional_keys(begin, begin + s_.length));
    }
    const Tensor query_keys = memory({n, 4}, DType::i32);
    ops.copy(query_keys, tensor_of(intervals));
    ops.synchronize();
    AttentionShape shape;
    shape.heads = s_.heads;
    shape.kv_heads = s_.kv_heads;
    shape.head_dim = d;
    shape.query_offsets = shape.key_offsets = offsets;
    shape.query_keys = query_keys;
    // Two products per score forward; five backward, which computes the scores again. Half of the
    // scores exist in a causal attention.
    const double product =
        2.0 * double(n) * double(s_.length) * double(q_cols) * (causal ? 0.5 : 1.0);
    const std::string kind = causal ? "attention causal" : "attention";
    add(kind + " forward", {q(qkv), k(qkv)}, 2 * product, double(qkv.bytes() + out.bytes()),
        [=, &ops] { ops.attention_forward(out, lse, q(qkv), k(qkv), v(qkv), shape); });
    add(kind + " backward", {q(qkv), k(qkv)}, 5 * product, double(2 * qkv.bytes() + out.bytes()),
        [=, &ops] {
          ops.attention_backward(q(grads), k(grads), v(grads), dout, out, lse, q(qkv), k(qkv),
                                 v(qkv), shape);
        });
  }
  add_decoding_attention(offsets);
  const Tensor table = singles({s_.length, d});
  const Tensor rotated = qkv.column_range(0, q_cols + kv_cols);
  add("rope", {rotated}, 0, double(2 * rotated.bytes()),
      [=, &ops] { ops.rope(rotated, positions, table, Rotation::forward); });
}

/// A step of cached decoding: of each sequence the last rows alone, which see all of its keys.
void OpCases::add_decoding_attention(const Tensor& key_offsets) {
  const std::int64_t rows = std::min<std::int64_t>(32, s_.length), n = s_.batch * rows;
  const std::int64_t d = s_.head_dim(), q_cols = s_.heads * d, kv_cols = s_.kv_heads * d;
  std::vector<std::int32_t> starts;
  std::vector<KeyIntervals> intervals;
  for (std::int64_t b = 0; b <= s_.batch; ++b) starts.push_back(std::int32_t(b * rows));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t begin = i / rows * s_.length;
    intervals.push_back(bidirectional_keys(begin, begin + s_.length));
  }
  AttentionShape shape;
  shape.heads = s_.heads;
  shape.kv_heads = s_.kv_heads;
  shape.head_dim = d;
  shape.query_offsets = values(starts);
  shape.key_offsets = key_offsets;
  shape.query_keys = memory({n, 4}, DType::i32);
  Ops& ops = ops_;
  ops.copy(shape.query_keys, tensor_of(intervals));
  ops.synchronize();
  const Tensor q = floats({n, q_cols}), out = floats({n, q_cols}), lse = singles({n, s_.heads});
  const Tensor kv = floats({s_.tokens(), 2 * kv_cols});
  const Tensor k = kv.column_range(0, kv_cols), v = kv.column_range(kv_cols, kv_cols);
  add("attention cached forward", {q, k}, 4.0 * double(n) * double(s_.length) * double(q_cols),
      double(q.bytes() + kv.bytes() + out.bytes()),
      [=, &ops] { ops.attention_forward(out, lse, q, k, v, shape); });
}

void OpCases::add_norms() {
  const std::int64_t n = s_.tokens(), c = s_.dim;
  const Tensor x = floats({n, c}), delta = floats({n, c}), y = floats({n, c}), w = floats({c});
  const Tensor sum = floats({n, c}), dx = floats({n, c}), rstd = singles({n}), dw = singles({c});
  const double row = double(x.bytes());
  Ops& ops = ops_;
  add("rmsnorm forward", {x}, 0, 2 * row, [=, &ops] { ops.rmsnorm_forward(y, rstd, x, w, 1e-5f); });
  add("add_rmsnorm forward", {x}, 0, 4 * row,
      [=, &ops] { ops.add_rmsnorm_forward(sum, y, rstd, x, delta, w, 1e-5f); });
  add("rmsnorm backward", {x}, 0, 4 * row,
      [=, &ops] { ops.rmsnorm_backward(dx, dw, y, x, rstd, w, GradMode::accumulate); });
}

void OpCases::add_feed_forward() {
  const std::int64_t n = s_.tokens(), f = s_.ffn;
  const Tensor gate_up = floats({n, 2 * f}, 4), grads = floats({n, 2 * f});
  const Tensor y = floats({n, f}), dy = floats({n, f});
  const double row = double(y.bytes());
  Ops& ops = ops_;
  add("swiglu forward", {gate_up}, 0, 3 * row, [=, &ops] { ops.swiglu_forward(y, gate_up); });
  add("swiglu backward", {gate_up}, 0, 6 * row,
      [=, &ops] { ops.swiglu_backward(grads, y, dy, gate_up); });
}

void OpCases::add_vocabulary() {
  const std::int64_t n = s_.tokens(), m = n / 2, c = s_.dim, v = s_.vocab;
  const Tensor table = floats({v, c}), x = floats({n, c}), ids = ints(n, v), targets = ints(m, v);
  const Tensor gradient = type_ == DType::f32 ? table : singles({v, c});
  const Tensor logits = floats({m, v}, 4), loss = singles({m}), weights = singles({m});
  const Tensor start = floats({m, v}, 4);
  Ops& ops = ops_;
  add("embedding forward", {table, ids}, 0, double(2 * x.bytes()),
      [=, &ops] { ops.embedding_forward(x, ids, table); });
  add("embedding backward", {table, ids}, 0, double(3 * x.bytes()),
      [=, &ops] { ops.embedding_backward(gradient, x, ids); });
  add("cross_entropy forward", {logits}, 0, double(logits.bytes()),
      [=, &ops] { ops.cross_entropy_forward(loss, logits, targets); });
  // In place, so later calls see gradients for logits: as many numbers and the same time.
  add("cross_entropy backward", {logits}, 0, double(3 * logits.bytes()),
      [=, &ops] { ops.cross_entropy_backward(loss, logits, targets, weights); });
  add("apply_cfg", {start}, 0, double(3 * logits.bytes()),
      [=, &ops] { ops.apply_cfg(start, logits, 0.5f); });
  std::vector<std::int64_t> numbers(std::size_t(m), 0);
  std::iota(numbers.begin(), numbers.end(), 0);
  const Tensor keys = values(numbers), scores = floats({m, v}, 4);
  RowStats draws;
  draws.draw = ints(m, v);
  draws.p_draw = singles({m});
  RowStats all = draws;
  all.argmax = ints(m, v);
  for (Tensor* t : {&all.p_first, &all.p_second, &all.entropy, &all.p_current}) *t = singles({m});
  const auto add_stats = [&](const char* name, const RowStats& stats, double temperature) {
    const SamplingParameters parameters{temperature, 1, 2};
    add(str("row_stats ", name), {scores}, 0, double(scores.bytes()),
        [=, &ops] { ops.row_stats(stats, scores, keys, targets, parameters); });
  };
  add_stats("argmax", draws, 0);
  add_stats("noise", draws, 1);
  add_stats("all", all, 0);
}

void OpCases::add_diffusion() {
  Ops& ops = ops_;
  // Nothing is filled, so that every call finds all masked.
  const std::int64_t n = s_.tokens();
  std::vector<std::int32_t> starts, every(std::size_t(n), 0);
  for (std::int64_t b = 0; b <= s_.batch; ++b) starts.push_back(std::int32_t(b * s_.length));
  std::iota(every.begin(), every.end(), 0);
  const Tensor canvas = ints(n, 1), rows = values(every).reshaped({1, n}), step = ints(n, 1);
  std::vector<float> sure;
  for (std::int64_t i = 0; i < n; ++i) sure.push_back(float(i * 7919 % 1000) / 1000);
  RowStats found;
  found.draw = ints(n, 1);
  found.p_draw = values(sure);
  const Commits commits{canvas, step, singles({n}), ints(1, 1)};
  const auto of_each = [&](auto value) {
    return values(std::vector<decltype(value)>(std::size_t(s_.batch), value));
  };
  const Tensor offsets = values(starts);
  const CommitRules rules{of_each(std::int32_t(CommitRule::count)), of_each(0.0),
                          of_each(std::int32_t{16})};
  add("decide", {rows}, 0, double(canvas.bytes() + found.p_draw.bytes() + rows.bytes()),
      [=, &ops] { ops.decide(commits, found, rows, offsets, rules, 0, 1); });
}

void OpCases::add_optimizer() {
  // A layer's worth of weights at a time would come from cache; a whole model's does not.
  const std::int64_t layer = 4 * s_.dim * s_.dim + 3 * s_.dim * s_.ffn;
  const std::int64_t count = s_.layers * layer + 2 * s_.vocab * s_.dim;
  const Tensor w = singles({count}), g = singles({count}), m = singles({count}),
               v = singles({count});
  const Tensor scale = singles({1}), sum = memory({1}, DType::f64);
  Ops& ops = ops_;
  ops.fill(scale, 1.0f);
  ops.fill(v, 1.0f);
  const AdamWParameters parameters{1e-4, 0.9, 0.95, 1e-8, 0.1, 10};
  add("adamw", {w}, 0, double(7 * w.bytes()), [=, &ops] {
    ops.adamw({{w, m, v, g}}, scale, parameters);
  });
  add("add_squares", {g}, 0, double(g.bytes()), [=, &ops] { ops.add_squares(sum, {g}, 1); });
  add("clip_scale", {scale}, 0, 12, [=, &ops] { ops.clip_scale(scale, sum, 1.0f); });
}

void OpCases::add_moves() {
  const std::int64_t n = s_.tokens(), m = n / 2, c = s_.dim;
  std::vector<std::int32_t> every_second;
  for (std::int64_t i = 0; i < m; ++i) every_second.push_back(std::int32_t(2 * i));
  const Tensor x = floats({n, c}), y = floats({n, c}), part = floats({m, c});
  const Tensor rows = values(every_second);
  const double size = double(x.bytes());
  Ops& ops = ops_;
  add("copy", {x}, 0, 2 * size, [=, &ops] { ops.copy(y, x); });
  add("fill", {x}, 0, size, [=, &ops] { ops.fill(y, 1.0f); });
  add("add", {x}, 0, 3 * size, [=, &ops] { ops.add(y, x); });
  add("gather_rows", {part}, 0, size, [=, &ops] { ops.gather_rows(part, x, rows); });
  add("scatter_add_rows", {part}, 0, 1.5 * size,
      [=, &ops] { ops.scatter_add_rows(x, part, rows); });
}

OpTiming time_case(Ops& ops, const OpCase& c, double budget) {
  const auto seconds_of = [&](int calls) {
    ops.synchronize();
    const Stopwatch stopwatch;
    for (int i = 0; i < calls; ++i) c.run();
    ops.synchronize();
    return stopwatch.seconds() / calls;
  };
  ops.tune_gemms(c.run);
  int together = 1;
  if (ops.place() == Place::device) {
    const double once = seconds_of(1);
    together = once < 1e-4 ? 100 : once < 1e-3 ? 10 : 1;
  }
  std::vector<double> seconds;
  for (double spent = 0; seconds.size() < 3 || (spent < budget && seconds.size() < 10000);) {
    seconds.push_back(seconds_of(together));
    spent += seconds.back() * together;
  }
  return {median(seconds), int(seconds.size()) * together};
}

}  // namespace lacuna
