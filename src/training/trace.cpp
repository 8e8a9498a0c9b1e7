#include "training/trace.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <sstream>
#include <string>
#include <utility>

#include "core/block_formats.h"
#include "core/check.h"
#include "core/tensor_of.h"
#include "model_io/tensor_io.h"

namespace lacuna {
namespace {

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from, std::size_t begin, std::size_t end) {
  to.insert(to.end(), from.begin() + std::ptrdiff_t(begin), from.begin() + std::ptrdiff_t(end));
}

/// As datasets from number `first` on, in f32. `alone`: also what every rank of the tensor
/// parallel group holds.
void write_frozen(SharedFile& file, std::size_t first, const InferenceWeights& frozen, bool alone,
                  Ops& ops) {
  for (std::size_t i = 0; i < frozen.allocated().size(); ++i) {
    const InferenceWeights::Allocated& a = frozen.allocated()[i];
    if (a.weight.replicated() && !alone) continue;
    std::vector<std::uint8_t> bytes(std::size_t(a.bytes.count()));
    ops.copy(tensor_of(bytes).reshaped(a.bytes.shape), a.bytes);
    ops.synchronize();
    const MatrixFormatInfo& info = info_of(a.format);
    const std::int64_t rows = a.bytes.rows(),
                       cols = a.bytes.cols() / info.block_bytes * info.block_elements;
    std::vector<float> values(std::size_t(rows * cols));
    for (std::int64_t r = 0; r < rows; ++r)
      dequantise(a.format, bytes.data() + r * a.bytes.cols(), cols, values.data() + r * cols);
    file.write(first + i, a.weight.row, a.weight.col, tensor_of(values).reshaped({rows, cols}));
  }
}

}  // namespace

void Trace::add(const LossBatch& batch) {
  const std::size_t from = tokens_.clean.size();
  count_ += batch.sequences;
  length_ = batch.length;
  append(tokens_.clean, batch.tokens, 0, batch.tokens.size());
  append(tokens_.masked, batch.masked, 0, batch.masked.size());
  append(tokens_.response, batch.response, 0, batch.response.size());
  tokens_.weight.resize(tokens_.clean.size());
  append(tokens_.p_mask, batch.p_mask, 0, batch.p_mask.size());
  std::size_t begin = from;
  for (std::size_t b = 0; b < std::size_t(batch.sequences); ++b) {
    const bool ragged = !batch.offsets.empty();
    const std::int64_t length = ragged ? batch.offsets[b + 1] - batch.offsets[b] : batch.length;
    if (!batch.p.empty())
      tokens_.p_mask.insert(tokens_.p_mask.end(), std::size_t(length), batch.p[b]);
    if (ragged) sequences_.push_back({batch.samples[b], begin, begin + std::size_t(length)});
    begin += std::size_t(length);
  }
  add_block_texts(batch, from);
  for (std::size_t m = 0; m < batch.rows.size(); ++m) {
    const std::size_t token = from + std::size_t(batch.rows[m] + batch.shift);
    tokens_.clean[token] = batch.targets[m];
    tokens_.weight[token] = batch.weights[m];
  }
}

/// The clean tokens' own losses, with the first noisy view of each text.
void Trace::add_block_texts(const LossBatch& batch, std::size_t from) {
  if (batch.texts.empty()) return;
  tokens_.next_weight.resize(tokens_.clean.size());
  tokens_.block_size.resize(tokens_.clean.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < batch.texts.size(); ++i) {
    const LossBatch::CleanText& text = batch.texts[i];
    const std::int64_t end =
        i + 1 < batch.texts.size() ? batch.texts[i + 1].first : std::int64_t(batch.clean.size());
    for (; next < batch.clean_rows.size() && batch.clean_rows[next] < end; ++next)
      tokens_.next_weight[from + std::size_t(batch.clean_rows[next] + 1 - text.first)] =
          batch.clean_weights[next];
    const auto rows = std::size_t((end - text.first) * text.views);
    std::fill_n(tokens_.block_size.begin() + std::ptrdiff_t(from), rows,
                std::int32_t(text.block_size));
    from += rows;
  }
}

std::vector<Trace::Sequence> Trace::by_sample() const {
  std::vector<Sequence> order = sequences_;
  std::stable_sort(order.begin(), order.end(),
                   [](const Sequence& a, const Sequence& b) { return a.sample < b.sample; });
  return order;
}

Trace::Tokens Trace::in_order() const {
  if (sequences_.empty()) return tokens_;
  Tokens sorted;
  for (const Sequence& s : by_sample()) {
    append(sorted.clean, tokens_.clean, s.begin, s.end);
    append(sorted.masked, tokens_.masked, s.begin, s.end);
    append(sorted.response, tokens_.response, s.begin, s.end);
    append(sorted.p_mask, tokens_.p_mask, s.begin, s.end);
    append(sorted.weight, tokens_.weight, s.begin, s.end);
    if (tokens_.block_size.empty()) continue;
    append(sorted.block_size, tokens_.block_size, s.begin, s.end);
    append(sorted.next_weight, tokens_.next_weight, s.begin, s.end);
  }
  return sorted;
}

Trace::Place Trace::place(std::int64_t first_sequence, ProcessGroup& team) const {
  std::map<std::int64_t, std::int64_t> tokens;  // by the first sequence of a share
  for (const std::string& of_rank : team.gather(str(first_sequence, ' ', tokens_.clean.size()))) {
    std::istringstream words(of_rank);
    std::int64_t first = 0, count = 0;
    words >> first >> count;
    tokens[first] = count;  // tensor-parallel ranks count the same
  }
  Place place;
  for (const auto& [first, count] : tokens) {
    if (first < first_sequence) place.first_token += count;
    place.tokens += count;
  }
  return place;
}

std::vector<SharedFile::Dataset> Trace::batch_datasets(const Config& config,
                                                       const Place& place) const {
  const bool ragged = !sequences_.empty();
  const std::int64_t sequences = config.train.batch_size * config.train.noisy_views;
  const Shape shape = ragged ? Shape{place.tokens} : Shape{sequences, length_};
  std::vector<SharedFile::Dataset> datasets = {{"/clean", shape, DType::i32},
                                               {"/masked", shape, DType::u8},
                                               {"/p_mask", shape, DType::f32},
                                               {"/weight", shape, DType::f64}};
  if (config.train.objective == Objective::block_diffusion) {
    datasets.push_back({"/block_size", shape, DType::i32});
    datasets.push_back({"/next_weight", shape, DType::f64});
  }
  if (ragged) {
    datasets.push_back({"/response", shape, DType::u8});
    datasets.push_back({"/offsets", {sequences + 1}, DType::i32});
  }
  return datasets;
}

void Trace::write_batch(SharedFile& file, const Share& share, const Place& place) const {
  const Tokens tokens = in_order();
  const bool ragged = !sequences_.empty();
  const auto count = std::int64_t(tokens.clean.size());
  const Shape shape = ragged ? Shape{count} : Shape{count_, length_};
  std::size_t number = 0;
  const std::int64_t first = share.first * share.views;
  const auto write = [&](const auto& values) {
    file.write(number++, ragged ? 0 : first, ragged ? place.first_token : 0,
               tensor_of(values).reshaped(shape));
  };
  write(tokens.clean);
  write(tokens.masked);
  write(tokens.p_mask);
  write(tokens.weight);
  if (!tokens.block_size.empty()) {
    write(tokens.block_size);
    write(tokens.next_weight);
  }
  if (!ragged) return;
  write(tokens.response);
  // Each rank writes where its sequences end, the first one also where the first begins.
  std::vector<std::int32_t> offsets;
  if (first == 0) offsets.push_back(0);
  std::int64_t end = place.first_token;
  for (const Sequence& s : by_sample())
    offsets.push_back(std::int32_t(end += std::int64_t(s.end - s.begin)));
  file.write(number, 0, first == 0 ? 0 : first + 1, tensor_of(offsets));
}

void Trace::write(const std::filesystem::path& path, const Config& config, const Result& result,
                  const Share& share, ProcessGroup& team, Ops& ops) const {
  SharedFile::Attributes attributes = {{"format", "lacuna-trace"},
                                       {"version", std::int64_t{1}},
                                       {"step", result.step},
                                       {"objective", word_of(config.train.objective)},
                                       {"mask_token_id", config.model.mask_token},
                                       {"config", to_toml(config)}};
  if (result.frozen) attributes.emplace_back("lora_scale", config.lora.scale());
  const Place place = this->place(share.first, team);
  std::vector<SharedFile::Dataset> datasets = batch_datasets(config, place);
  const std::size_t scalars = datasets.size();
  datasets.push_back({"/loss", {}, DType::f64});
  datasets.push_back({"/grad_norm", {}, DType::f64});
  const std::size_t first_tensor = datasets.size();
  const std::vector<NamedWeight>& named = result.weights.named();
  for (const auto& [group, dtype] :
       {std::pair{"/gradients/", result.gradients.dtype()}, {"/model/", result.weights.dtype()}})
    for (const NamedWeight& w : named) datasets.push_back({group + w.name, w.whole, dtype});
  const std::size_t first_frozen = datasets.size();
  if (result.frozen)
    for (const InferenceWeights::Allocated& a : result.frozen->allocated())
      datasets.push_back({"/frozen/" + a.weight.name, a.weight.whole, DType::f32});

  SharedFile file(path, attributes, datasets, team);
  // Tensor-parallel ranks have the same sequences.
  if (result.weights.share().index == 0) write_batch(file, share, place);
  if (team.rank() == 0) {
    file.write(scalars, 0, 0, Tensor(const_cast<double*>(&result.loss), {}));
    file.write(scalars + 1, 0, 0, Tensor(const_cast<double*>(&result.grad_norm), {}));
  }
  std::size_t number = first_tensor;
  for (const std::vector<WeightPiece>& pieces : {result.gradients.pieces_within(share.written),
                                                 result.values.pieces_within(share.written)}) {
    for (const WeightPiece& piece : pieces) {
      const NamedWeight& w = named[piece.weight];
      if (w.replicated() && result.weights.share().index > 0) continue;
      for_host_boxes(w, piece, ops, [&](std::int64_t row, std::int64_t col, Tensor box) {
        file.write(number + piece.weight, row, col, box);
      });
    }
    number += named.size();
  }
  // Data-parallel ranks have the same.
  if (result.frozen && share.first == 0)
    write_frozen(file, first_frozen, *result.frozen, result.weights.share().index == 0, ops);
  file.commit();
}

}  // namespace lacuna
