#include "evaluation/distribute_records.h"

#include <algorithm>
#include <map>
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
void observe_all(Communicator& data, const std::string& own, const std::vector<Record>& records,
                 const RecordObserver& observe) {
  std::vector<EvalSample> samples(records.size());
  for (std::string& bytes : gathered_texts(data, own)) {
    PackedReader reader(std::move(bytes));
    while (!reader.at_end()) {
      const auto record = std::size_t(reader.number());
      samples[record] = unpack(reader);
    }
  }
  for (std::size_t i = 0; i < records.size(); ++i) observe(records[i], samples[i]);
}

/// Begins records while there is room, and works until all are done.
void evaluate_all(RecordEvaluation& evaluation, std::int64_t most_at_once,
                  const std::function<std::optional<std::size_t>()>& next,
                  const std::function<void(std::size_t, const EvalOutcome&)>& done) {
  std::int64_t under_way = 0;
  for (bool more = true; more || !evaluation.idle();) {
    while (more && under_way < most_at_once && evaluation.has_room()) {
      const std::optional<std::size_t> record = next();
      more = record.has_value();
      if (!more) break;
      evaluation.begin(*record);
      ++under_way;
    }
    if (evaluation.idle()) continue;
    for (const auto& [record, outcome] : evaluation.work()) {
      --under_way;
      done(record, outcome);
    }
  }
}

EvalCounts evaluate_alone(const std::vector<Record>& records, const std::string& what,
                          RecordEvaluation& evaluation, const RecordObserver& observe) {
  EvalCounts sum{};
  std::size_t begun = 0, observed = 0;
  std::map<std::size_t, EvalSample> waiting;  // for those before them
  const auto next = [&]() -> std::optional<std::size_t> {
    if (begun == records.size()) return std::nullopt;
    progress(what, std::int64_t(begun), records.size());
    return begun++;
  };
  const auto done = [&](std::size_t record, const EvalOutcome& outcome) {
    add_to(sum, outcome.counts);
    if (!observe) return;
    waiting.emplace(record, outcome.sample);
    for (auto first = waiting.find(observed); first != waiting.end();
         first = waiting.find(++observed)) {
      observe(records[observed], first->second);
      waiting.erase(first);
    }
  };
  evaluate_all(evaluation, std::int64_t(records.size()), next, done);
  return sum;
}

}  // namespace

EvalCounts distribute_records(const EvalRanks& ranks, const std::vector<Record>& records,
                              const std::string& what, RecordEvaluation& evaluation,
                              const RecordObserver& observe) {
  Communicator* const data = ranks.data();
  if (!data) return evaluate_alone(records, what, evaluation, observe);
  check_same_records(records, ranks.mesh->world());
  const std::vector<std::size_t> order = longest_first(records);
  const auto n = std::int64_t(records.size());
  EvalCounts sum{};
  std::string samples;
  const auto next = [&]() -> std::optional<std::size_t> {
    const auto item = ranks.queue->next();
    if (!item) return std::nullopt;
    progress(what, *item, records.size());
    return order[std::size_t(*item)];
  };
  const auto done = [&](std::size_t record, const EvalOutcome& outcome) {
    add_to(sum, outcome.counts);
    if (observe) pack_sample(samples, record, outcome.sample);
  };
  ranks.queue->begin(n);
  // No rank takes more at once than its share.
  evaluate_all(evaluation, (n + data->size() - 1) / data->size(), next, done);
  ranks.queue->finish();
  data->all_reduce(Tensor(sum.data(), Shape{std::int64_t(sum.size())}), Reduce::sum);
  data->wait();
  if (observe) observe_all(*data, samples, records, observe);
  return sum;
}

}  // namespace lacuna
