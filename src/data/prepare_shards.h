#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/input_list.h"
#include "data/prepare.h"

namespace lacuna {

struct ShardOptions {
  PrepareOptions each;  // of every input: without inputs, outputs and what it was prepared from
  std::vector<CorpusInput> inputs;
  std::string output;      // folder
  std::string validation;  // folder of what is held out, or empty
  // Of several processes, on one machine or many, which each do a part: the inputs `shard` - 1,
  // `shard` - 1 + `shards` …
  std::int64_t shard = 1, shards = 1;
};

struct ShardsResult {
  PrepareResult prepared;             // together, of the inputs that were prepared now
  std::int64_t inputs = 0, kept = 0;  // prepared now; done before
  std::int64_t missing = 0;           // of other shards, not done yet
};

/// Makes a token file of each input, in a folder: shard-00000.h5 of the first. Each appears under
/// its name when it is whole, and says what it was made of, so that a run that was killed goes on
/// with the first input that is not done. Once all are there, by whichever process, the manifest is
/// written (data/token_manifest.h), which makes them one source. The files depend on inputs and
/// options alone. Documents of JSONL, Parquet and Megatron inputs are held out each with the
/// probability validation_fraction; texts as whole files.
///
/// Errors as prepare()'s. UsageError when a file that is there was made of something else, for an
/// input that is a pipe, and for a shard number out of range.
ShardsResult prepare_shards(const ShardOptions& options);

}  // namespace lacuna
