// A device draws from the same tokens; the emulator runs its kernels.
#include <gtest/gtest.h>

#include "core/json.h"
#include "decoding/generate.h"
#include "kernels/cuda/cuda_ops.h"
#include "structured/json_skeleton.h"
#include "tests/structured/random_schema.h"
#include "tests/structured/untrained_model.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

TEST(JsonSkeletonOnADevice, AnswersAreThoseOfTheCpu) {
  const Tokenizer& tokenizer = trained();
  const UntrainedModel model(tokenizer, Attention::bidirectional, false);
  const SkeletonWriter writer(tokenizer, model.config);
  CudaOps ops;
  ModelTensors weights(ops.memory(), model.config, "weights");
  ops.copy(weights.flat(), model.weights->flat());
  const DecoderLimits limits{.tokens = 700, .sequences = 3, .guidance = true};
  Decoder device(ops, model.config, weights, limits),
      host(cpu(), model.config, *model.weights, limits);
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    RandomSchema random(seed);
    const SchemaText schema = random.object(1);
    const JsonSkeleton skeleton = writer.write(parse_json_schema(schema.dump()), 4);
    const DecodingOptions options{.temperature = double(seed % 2), .cfg_scale = double(seed / 2)};
    std::vector<DecodingRequest> requests;
    requests.push_back(request_of(skeleton, {4, 5}, options));
    requests.push_back({.tokens = {1, 2, 3}, .options = {.gen_length = 12, .temperature = 1}});
    const std::vector<DecodingResult> here = decode(host, requests),
                                      there = decode(device, requests);
    for (std::size_t i = 0; i < here.size(); ++i) EXPECT_EQ(here[i].tokens, there[i].tokens);
    const std::string text = answer_text(tokenizer, std::span(there[0].tokens).subspan(2));
    EXPECT_TRUE(conforms(parse_json<SchemaText>(text, "the answer"), schema)) << text;
  }
}

}  // namespace
}  // namespace lacuna
