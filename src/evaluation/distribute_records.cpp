#include "evaluation/distribute_records.h"

#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "core/log.h"
#include "core/packed_bytes.h"

namespace lacuna {
namespace {

void add_to(EvalCounts& sum, const EvalCounts& counts) {
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += counts[i];
}

void progress(const std::string& what, std::int64_t i, std::size_t records) {
  log_progress(str(what, ": record ", i + 1, " of ", records));
}

/// The numbers of the records, those of the longest lines first.
std::vector<std::size_t> longest_first(const std::vector<Record>& records) {
  std::vector<std::size_t> order(records.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return records[a].bytes() > records[b].bytes();
  });
  return order;
}

void check_same_records(const std::vector<Record>& records, Communicator& world) {
  std::size_t bytes = 0;
  for (const Record& record : records) bytes += record.bytes();
  check_same_on_all_ranks(world, str(records.size(), " records of ", bytes, " bytes"),
                          "the records of a task");
}

void pack_sample(std::string& to, std::size_t record, const EvalSample& sample) {
  pack(to, std::int64_t(record));
  for (const std::string* text : {&sample.place, &sample.prompt, &sample.output, &sample.wanted})
    pack(to, *text);
  pack(to, std::int64_t(sample.right));
}

EvalSample unpack(PackedReader& from) {
  EvalSample s;
  for (std::string* text : {&s.place, &s.prompt, &s.output, &s.wanted}) *text = from.text();
  s.right = from.number() != 0;
  return s;
}

/// Calls `observe` for the samples of all ranks, in the order of the records.
void observe_all(Communicator& data, const std::string& own, std::size_t records,
                 const std::function<void(const EvalSample&)>& observe) {
  std::vector<EvalSample> samples(records);
  for (std::string& bytes : gathered_texts(data, own)) {
    PackedReader reader(std::move(bytes));
    while (!reader.at_end()) {
      const auto record = std::size_t(reader.number());
      samples[record] = unpack(reader);
    }
  }
  for (const EvalSample& sample : samples) observe(sample);
}

EvalCounts evaluate_alone(const std::vector<Record>& records, const std::string& what,
                          const std::function<EvalOutcome(std::size_t)>& evaluate,
                          const std::function<void(const EvalSample&)>& observe) {
  EvalCounts sum{};
  for (std::size_t i = 0; i < records.size(); ++i) {
    progress(what, std::int64_t(i), records.size());
    const EvalOutcome outcome = evaluate(i);
    add_to(sum, outcome.counts);
    if (observe) observe(outcome.sample);
  }
  return sum;
}

}  // namespace

EvalCounts distribute_records(const EvalRanks& ranks, const std::vector<Record>& records,
                              const std::string& what,
                              const std::function<EvalOutcome(std::size_t record)>& evaluate,
                              const std::function<void(const EvalSample&)>& observe) {
  Communicator* const data = ranks.data();
  if (!data) return evaluate_alone(records, what, evaluate, observe);
  check_same_records(records, ranks.mesh->world());
  const std::vector<std::size_t> order = longest_first(records);
  EvalCounts sum{};
  std::string samples;
  ranks.queue->begin(std::int64_t(records.size()));
  while (const auto item = ranks.queue->next()) {
    progress(what, *item, records.size());
    const std::size_t record = order[std::size_t(*item)];
    const EvalOutcome outcome = evaluate(record);
    add_to(sum, outcome.counts);
    if (observe) pack_sample(samples, record, outcome.sample);
  }
  data->all_reduce(Tensor(sum.data(), Shape{std::int64_t(sum.size())}), Reduce::sum);
  data->wait();
  if (observe) observe_all(*data, samples, records.size(), observe);
  return sum;
}

}  // namespace lacuna
