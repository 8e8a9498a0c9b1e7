#include "training/trace.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <sstream>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/tensor_of.h"
#include "model_io/tensor_io.h"

namespace lacuna {
namespace {

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from, std::size_t begin, std::size_t end) {
  to.insert(to.end(), from.begin() + std::ptrdiff_t(begin), from.begin() + std::ptrdiff_t(end));
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
  for (std::size_t b = 0; b < batch.p.size(); ++b) {
    const bool ragged = !batch.offsets.empty();
    const std::int64_t length = ragged ? batch.offsets[b + 1] - batch.offsets[b] : batch.length;
    const std::size_t begin = tokens_.p_mask.size();
    tokens_.p_mask.insert(tokens_.p_mask.end(), std::size_t(length), batch.p[b]);
    if (ragged) sequences_.push_back({batch.samples[b], begin, tokens_.p_mask.size()});
  }
  for (std::size_t m = 0; m < batch.rows.size(); ++m) {
    const std::size_t token = from + std::size_t(batch.rows[m] + batch.shift);
    tokens_.clean[token] = batch.targets[m];
    tokens_.weight[token] = batch.weights[m];
  }
}

std::vector<Trace::Sequence> Trace::by_sample() const {
  std::vector<Sequence> order = sequences_;
  std::sort(order.begin(), order.end(),
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
  const Shape shape = ragged ? Shape{place.tokens} : Shape{config.train.batch_size, length_};
  std::vector<SharedFile::Dataset> datasets = {{"/clean", shape, DType::i32},
                                               {"/masked", shape, DType::u8},
                                               {"/p_mask", shape, DType::f32},
                                               {"/weight", shape, DType::f64}};
  if (ragged) {
    datasets.push_back({"/response", shape, DType::u8});
    datasets.push_back({"/offsets", {config.train.batch_size + 1}, DType::i32});
  }
  return datasets;
}

void Trace::write_batch(SharedFile& file, const Share& share, const Place& place) const {
  const Tokens tokens = in_order();
  const bool ragged = !sequences_.empty();
  const auto count = std::int64_t(tokens.clean.size());
  const Shape shape = ragged ? Shape{count} : Shape{count_, length_};
  const auto write = [&](std::size_t number, const auto& values) {
    file.write(number, ragged ? 0 : share.first, ragged ? place.first_token : 0,
               tensor_of(values).reshaped(shape));
  };
  write(0, tokens.clean);
  write(1, tokens.masked);
  write(2, tokens.p_mask);
  write(3, tokens.weight);
  if (!ragged) return;
  write(4, tokens.response);
  // Each rank writes where its sequences end, the first one also where the first begins.
  std::vector<std::int32_t> offsets;
  if (share.first == 0) offsets.push_back(0);
  std::int64_t end = place.first_token;
  for (const Sequence& s : by_sample())
    offsets.push_back(std::int32_t(end += std::int64_t(s.end - s.begin)));
  file.write(5, 0, share.first == 0 ? 0 : share.first + 1, tensor_of(offsets));
}

void Trace::write(const std::filesystem::path& path, const Config& config, const Result& result,
                  const Share& share, ProcessGroup& team, Ops& ops) const {
  SharedFile::Attributes attributes = {{"format", "lacuna-trace"},
                                       {"version", std::int64_t{1}},
                                       {"step", result.step},
                                       {"objective", word_of(config.train.objective)},
                                       {"mask_token_id", config.model.mask_token},
                                       {"config", to_toml(config)}};
  const TraceAdditions& added = result.additions;
  attributes.insert(attributes.end(), added.attributes.begin(), added.attributes.end());
  const Place place = this->place(share.first, team);
  std::vector<SharedFile::Dataset> datasets = batch_datasets(config, place);
  const std::size_t scalars = datasets.size();
  datasets.push_back({"/loss", {}, DType::f64});
  datasets.push_back({"/grad_norm", {}, DType::f64});
  for (const TraceAdditions::Named& tensor : added.tensors)
    datasets.push_back({tensor.dataset, tensor.shape, DType::f32});
  const std::size_t first_tensor = datasets.size();
  for (const auto& [group, tensors] :
       {std::pair{"/gradients/", &result.gradients}, {"/model/", &result.weights}})
    for (const NamedWeight& w : tensors->named())
      datasets.push_back({group + w.name, w.whole, w.tensor.dtype});

  SharedFile file(path, attributes, datasets, team);
  // Tensor-parallel ranks have the same sequences.
  if (result.weights.share().index == 0) write_batch(file, share, place);
  if (team.rank() == 0) {
    file.write(scalars, 0, 0, Tensor(const_cast<double*>(&result.loss), {}));
    file.write(scalars + 1, 0, 0, Tensor(const_cast<double*>(&result.grad_norm), {}));
    for (std::size_t i = 0; i < added.tensors.size(); ++i)
      file.write(scalars + 2 + i, 0, 0,
                 tensor_of(added.tensors[i].values).reshaped(added.tensors[i].shape));
  }
  std::size_t number = first_tensor;
  for (const ModelTensors* tensors : {&result.gradients, &result.weights}) {
    for (const WeightPiece& piece : pieces_within(*tensors, share.written)) {
      const NamedWeight& w = tensors->named()[piece.weight];
      if (w.replicated() && result.weights.share().index > 0) continue;
      for_host_boxes(w, piece, ops, [&](std::int64_t row, std::int64_t col, Tensor box) {
        file.write(number + piece.weight, row, col, box);
      });
    }
    number += tensors->named().size();
  }
  file.commit();
}

}  // namespace lacuna
