#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "core/text.h"
#include "decoding/generate.h"
#include "server/api_server.h"
#include "tests/server/client.h"
#include "tests/server/served_model.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::json;

/// What `lacuna sample` prints, made by a decoder of its own.
std::string alone(const LoadedModel& model, const std::string& prompt, const Json& fields) {
  GenerationFields request;
  DecodingOptions& o = request.options;
  o.gen_length = fields["max_tokens"];
  o.seed = fields["seed"];
  o.temperature = fields.value("temperature", 0.0);
  o.strategy = parse_word<StrategyKind>(fields.value("strategy", "auto")).value();
  o.cache = parse_word<CacheKind>(fields.value("cache", "auto")).value();
  request.given.insert("gen_length");
  const std::vector<std::int32_t> ids = model.source.tokenizer->encode(prompt);
  const PlannedLength plan = plan_length(request, std::int64_t(ids.size()), model.config());
  Decoder decoder(*model.ops, model.config(), model.weights,
                  limits_for(model.config(), plan.options, std::int64_t(ids.size())));
  const std::vector<std::int32_t> tokens = generate(decoder, {ids}, plan.options)[0];
  const std::span<const std::int32_t> answer = std::span(tokens).subspan(ids.size());
  return valid_utf8(answer_text(*model.source.tokenizer,
                                answer.first(std::min(answer.size(), std::size_t(plan.max_tokens))),
                                {kServedEnd}));
}

class Batching : public ::testing::TestWithParam<Attention> {};

// Requests of any length, strategy, temperature and seed share passes; each gets what it would get
// alone.
TEST_P(Batching, EachAnswerIsThatOfItsOwnRun) {
  const ServedModel model(GetParam());
  std::vector<Json> requests;
  const char* strategies[] = {"auto", "threshold", "entropy", "wino", "remdm", "fixed"};
  const char* caches[] = {"auto", "dual", "prefix", "vicinity"};
  for (int i = 0; i < 18; ++i) {
    Json fields = {{"prompt", std::string(std::size_t(1 + 7 * i % 40), char('a' + i))},
                   {"max_tokens", 1 + i * 37 % 130},
                   {"temperature", i % 3 * 0.5},
                   {"seed", 100 + i}};
    if (GetParam() != Attention::causal) fields["strategy"] = strategies[i % 6];
    if (GetParam() == Attention::bidirectional) fields["cache"] = caches[i % 4];
    requests.push_back(fields);
  }
  ApiServer server{ApiServerOptions{}};
  ServiceOptions service = model.service();
  service.engine.sequences = 5;  // some wait while others are in progress
  server.serve(*model, service);
  std::vector<std::string> texts(requests.size());
  std::vector<std::thread> clients;
  for (std::size_t i = 0; i < requests.size(); ++i)
    clients.emplace_back([&, i] {
      const Answer answer = Client(server.port()).post("/v1/completions", requests[i].dump());
      if (answer.status == 200) texts[i] = Json::parse(answer.body)["choices"][0]["text"];
    });
  for (std::thread& client : clients) client.join();
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(texts[i], alone(*model, requests[i]["prompt"], requests[i])) << requests[i];
}

INSTANTIATE_TEST_SUITE_P(Models, Batching,
                         ::testing::Values(Attention::bidirectional, Attention::block_causal,
                                           Attention::causal),
                         [](const auto& test) { return std::string(word_of(test.param)); });

TEST(PlannedLength, IsWholeBlocksWhereThereIsRoom) {
  ModelConfig config;
  config.max_seq_length = 256;
  config.mask_token = 1;
  config.vocab_size = 8;
  GenerationFields fields;
  fields.given.insert("gen_length");
  const auto plan = [&](std::int64_t length, std::int64_t prompt) {
    fields.options.gen_length = length;
    const PlannedLength p = plan_length(fields, prompt, config);
    EXPECT_EQ(p.max_tokens, length);
    return std::pair(p.options.gen_length, p.options.block_length);
  };
  EXPECT_EQ(plan(64, 0), (std::pair<std::int64_t, std::int64_t>(64, 32)));
  EXPECT_EQ(plan(65, 0), (std::pair<std::int64_t, std::int64_t>(96, 32)));
  EXPECT_EQ(plan(7, 0), (std::pair<std::int64_t, std::int64_t>(7, 7)));
  EXPECT_EQ(plan(250, 6), (std::pair<std::int64_t, std::int64_t>(250, 25)));
  fields.given.insert("block_length");
  fields.options.block_length = 0;
  EXPECT_EQ(plan(65, 0), (std::pair<std::int64_t, std::int64_t>(65, 65)));
}

}  // namespace
}  // namespace lacuna
